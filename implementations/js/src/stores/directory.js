/** A store in a directory, for Node.js. Nothing outside the directory is reached, whatever links lie in it. */

import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import path from 'node:path';

import { ScfError } from '../errors.js';
import { tooLarge } from '../store.js';

const ABSENT = new Set(['ENOENT', 'ENOTDIR']);

/** @implements {import('../store.js').Store} */
export class DirectoryStore {
  /** @param {string} directory */
  constructor(directory) {
    this.directory = path.resolve(directory);
  }

  /** The file of a key with all links resolved, or null if there is none. */
  async #locate(key) {
    const segments = key.split('/');
    if (segments.some((segment) => segment === '' || segment === '.' || segment === '..' || segment.includes(path.sep))) {
      throw new ScfError('key.invalid', `not a key: ${key}`, { phase: 'store', subject: key });
    }
    const named = path.join(this.directory, ...segments);
    let real;
    try {
      real = await realpath(named);
    } catch (error) {
      if (!ABSENT.has(error.code) || (await this.#isLinked(segments))) throw error;
      return null;
    }
    const root = await realpath(this.directory);
    if (!real.startsWith(root.endsWith(path.sep) ? root : root + path.sep)) {
      throw new ScfError('store.io', `a link leads out of the store: ${key}`, { subject: key });
    }
    return real;
  }

  /** Whether a link is among the segments of a key, so that what is absent is the link's target and not the key. */
  async #isLinked(segments) {
    let at = this.directory;
    for (const segment of segments) {
      at = path.join(at, segment);
      try {
        if ((await lstat(at)).isSymbolicLink()) return true;
      } catch (error) {
        if (ABSENT.has(error.code)) return false;
        throw error;
      }
    }
    return false;
  }

  /** Opens the file of a key and gives what `use` makes of it and its size; null if there is no such key. */
  async #with(key, use) {
    const file = await this.#locate(key);
    if (file === null) return null;
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const status = await handle.stat();
      if (status.isDirectory()) return null;
      if (!status.isFile()) throw new ScfError('store.io', `not a file: ${key}`, { subject: key });
      return await use(handle, status.size);
    } finally {
      await handle.close();
    }
  }

  async #read(handle, start, end) {
    const bytes = new Uint8Array(end - start);
    let at = 0;
    while (at < bytes.length) {
      const { bytesRead } = await handle.read(bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) return bytes.subarray(0, at);
      at += bytesRead;
    }
    return bytes;
  }

  async get(key, limit) {
    return this.#with(key, (handle, size) => {
      if (size > limit) throw tooLarge(key, size, limit);
      return this.#read(handle, 0, size);
    });
  }

  async getRange(key, start, end) {
    return this.#with(key, (handle, size) => this.#read(handle, start, Math.min(end, size)));
  }

  async stat(key) {
    return this.#with(key, async (handle, size) => ({ size }));
  }

  /** First segments below a prefix. A directory without objects may be among them. */
  async listNames(prefix) {
    const directory = prefix === '' ? await realpath(this.directory) : await this.#locate(prefix.replace(/\/$/, ''));
    return directory === null ? [] : readdir(directory);
  }
}
