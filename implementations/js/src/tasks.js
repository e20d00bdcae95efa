/** Tasks that run side by side. */

/** Calls `task` for each element, no more than `most` at a time; the first failure is that of all. */
export async function eachLimited(elements, most, task) {
  const iterator = elements[Symbol.iterator]();
  let failed = false;
  const worker = async () => {
    for (;;) {
      const { done, value } = iterator.next();
      if (done || failed) return;
      try {
        await task(value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: most }, worker));
}
