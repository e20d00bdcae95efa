/** A store in memory. */

import { tooLarge } from '../store.js';

/** @implements {import('../store.js').Store} */
export class MemoryStore {
  /** @param {Iterable<[string, Uint8Array]>} [objects] */
  constructor(objects = []) {
    this.objects = new Map(objects);
  }

  async get(key, limit) {
    const bytes = this.objects.get(key);
    if (bytes && bytes.length > limit) throw tooLarge(key, bytes.length, limit);
    return bytes ?? null;
  }

  async getRange(key, start, end) {
    return this.objects.get(key)?.subarray(start, end) ?? null;
  }

  async stat(key) {
    const bytes = this.objects.get(key);
    return bytes ? { size: bytes.length } : null;
  }

  async listNames(prefix) {
    const below = [...this.objects.keys()].filter((key) => key.startsWith(prefix));
    return [...new Set(below.map((key) => key.slice(prefix.length).split('/', 1)[0]))];
  }
}
