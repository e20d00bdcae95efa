/**
 * What a reader needs of a store (chapter 4), and a guard around it.
 *
 * @typedef {object} Store
 * @property {(key: string, limit: number) => Promise<Uint8Array | null>} get all bytes, null if there is no such key; an
 *   error with code `limit.exceeded` if there are more than `limit`
 * @property {(key: string, start: number, end: number) => Promise<Uint8Array | null>} getRange the bytes [start, end)
 * @property {(key: string) => Promise<{size: number} | null>} stat
 * @property {(prefix: string) => Promise<string[]>} listNames first segments below a prefix, which is empty or ends in `/`
 */

import { ScfError } from './errors.js';

/** Calls a store; whatever goes wrong in it is an error of the registry. */
export class GuardedStore {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
  }

  async #call(key, operation) {
    try {
      return await operation();
    } catch (error) {
      if (error instanceof ScfError) throw error;
      throw new ScfError('store.io', `the store failed at ${key}: ${error?.message ?? error}`, { subject: key, cause: error });
    }
  }

  get(key, limit) {
    return this.#call(key, () => this.store.get(key, limit));
  }

  stat(key) {
    return this.#call(key, () => this.store.stat(key));
  }

  listNames(prefix) {
    return this.#call(prefix, () => this.store.listNames(prefix));
  }

  /** The bytes of a range of an object that has been seen: it is a failure if they are not all there. */
  async getRange(key, start, end) {
    const bytes = await this.#call(key, () => this.store.getRange(key, start, end));
    if (bytes?.length !== end - start) {
      throw new ScfError('store.io', `the store does not give the bytes ${start} to ${end} of ${key}`, { subject: key });
    }
    return bytes;
  }
}

/** Error of an object that is larger than a get allows. */
export function tooLarge(key, size, limit) {
  return new ScfError('limit.exceeded', `${key} has ${size} bytes, allowed are ${limit}`, { phase: 'store', subject: key });
}
