/** Checkpoints of a store, and the newest of them (section 13.3). */

import { openRoot } from './checkpoint.js';
import { loadDigests } from './digest.js';
import { ScfError } from './errors.js';
import { isCheckpointName } from './names.js';
import { GuardedStore } from './store.js';

/**
 * @typedef {{name: string, root: ReturnType<typeof import('./root.js').readRoot> | null, error: ScfError | null}} Listed
 */

/**
 * Every checkpoint of a store, those with a root that is refused too, by name.
 * @param {import('./store.js').Store} store
 * @returns {Promise<Listed[]>}
 */
export async function list(store) {
  const digests = await loadDigests();
  const guarded = new GuardedStore(store);
  const listed = [];
  for (const name of (await guarded.listNames('')).filter(isCheckpointName).sort()) {
    try {
      listed.push({ name, root: await openRoot(guarded, name, null, digests), error: null });
    } catch (error) {
      if (!(error instanceof ScfError)) throw error;
      if (error.code !== 'checkpoint.missing') listed.push({ name, root: null, error });
    }
  }
  return listed;
}

/**
 * The newest checkpoint of a list: the highest sequence, among equals the greatest digest. `unreadable` are those that
 * could not be judged, which a program should warn about.
 * @param {Listed[]} listed
 * @returns {{newest: Listed | null, unreadable: Listed[]}}
 */
export function newest(listed) {
  let best = null;
  for (const entry of listed) {
    if (!entry.root) continue;
    const higher = best && (entry.root.sequence > best.root.sequence
      || (entry.root.sequence === best.root.sequence && entry.root.digest > best.root.digest));
    if (!best || higher) best = entry;
  }
  return { newest: best, unreadable: listed.filter((entry) => entry.error) };
}
