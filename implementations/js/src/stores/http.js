/** A store behind plain HTTP: objects are got with range requests below a base address. It cannot list. */

import { ScfError } from '../errors.js';
import { tooLarge } from '../store.js';

const ABSENT = new Set([404, 410]);
/** Status of a range that begins at or after the end: from 0 on, the object is empty. */
const EMPTY = 416;

/** @implements {import('../store.js').Store} */
export class HttpStore {
  /**
   * @param {string | URL} base address of the store; keys are appended to its path
   * @param {{fetch?: typeof fetch, headers?: Record<string, string>}} [options]
   */
  constructor(base, { fetch: own, headers = {} } = {}) {
    const text = String(base);
    this.base = text.endsWith('/') ? text : `${text}/`;
    this.fetch = own ?? ((...request) => fetch(...request));
    this.headers = headers;
  }

  async #request(key, method, headers = {}, accepted = []) {
    const address = this.base + key.split('/').map(encodeURIComponent).join('/');
    // a compressing server would give other bytes than it stores; browsers do not let this header be set
    // a browser's cache lets only one request for an address through at a time, and may give a root that has been replaced
    const cache = headers.Range ? 'no-store' : 'no-cache';
    const request = { method, cache, headers: { ...this.headers, 'Accept-Encoding': 'identity', ...headers } };
    const response = await this.fetch(address, request);
    if (ABSENT.has(response.status)) {
      await response.body?.cancel();
      return null;
    }
    if (!response.ok && !accepted.includes(response.status)) {
      await response.body?.cancel();
      throw new ScfError('store.io', `the server answers ${response.status} for ${key}`, { subject: key });
    }
    return response;
  }

  /** Bytes of a body, of which no more than `limit` are ever kept; what is beyond is cut off or refused. */
  async #body(key, response, limit, cutOff = false) {
    const pieces = [];
    let size = 0;
    for (const reader = response.body?.getReader(); reader; ) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(cutOff ? value.subarray(0, limit - size) : value);
      size += pieces[pieces.length - 1].length;
      if (size > limit || (cutOff && size === limit)) {
        await reader.cancel();
        if (cutOff) break;
        throw tooLarge(key, `at least ${size}`, limit);
      }
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  async get(key, limit) {
    const response = await this.#request(key, 'GET');
    return response && this.#body(key, response, limit);
  }

  async getRange(key, start, end) {
    if (start === end) return new Uint8Array(0);
    const response = await this.#request(key, 'GET', { Range: `bytes=${start}-${end - 1}` });
    if (response === null) return null;
    if (response.status === 206) {
      const range = /^bytes ([0-9]+)-/.exec(response.headers.get('content-range') ?? '');
      if (range && Number(range[1]) !== start) {
        await response.body?.cancel();
        throw new ScfError('store.io', `the server gives another range of ${key}`, { subject: key });
      }
      return this.#body(key, response, end - start);
    }
    if (start !== 0) {
      await response.body?.cancel();
      throw new ScfError('store.io', `the server does not give ranges of ${key}`, { subject: key });
    }
    return this.#body(key, response, end, true);
  }

  async stat(key) {
    // with a range, which here is all, a browser asks for what is stored; without, it may be told the size of a compressed body
    const response = await this.#request(key, 'HEAD', { Range: 'bytes=0-' }, [EMPTY]);
    if (response === null) return null;
    const size = response.status === EMPTY ? 0 : Number(response.headers.get('content-length') ?? NaN);
    if (!Number.isSafeInteger(size)) throw new ScfError('store.io', `the server does not state the size of ${key}`, { subject: key });
    return { size };
  }

  async listNames() {
    throw new ScfError('usage.invalid', 'a store behind plain HTTP cannot be listed', { phase: 'store' });
  }
}
