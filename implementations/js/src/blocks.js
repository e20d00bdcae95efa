/** Blocks of shards: where they lie, that they have their digests, what they hold when decoded (sections 7.8, 15.2). */

import { ScfError } from './errors.js';
import { sameBytes } from './text.js';

const LARGEST = BigInt(Number.MAX_SAFE_INTEGER);

/** The blocks of one shard. Their positions are Numbers: an object of that size has been seen in the store. */
export class ShardBlocks {
  /**
   * @param {import('./manifest/manifest.js').Manifest} manifest
   * @param {ReturnType<import('./manifest/shards.js').Shards['get']>} shard
   */
  constructor(manifest, shard) {
    const { bits } = shard.tensor === null ? { bits: 8n } : manifest.tensors.dtype(shard.tensor);
    const decoded = shard.tensor === null ? shard.storedSize : ((shard.run[1] - shard.run[0]) * bits) / 8n;
    if (decoded > LARGEST) throw new ScfError('limit.exceeded', `shard ${shard.index} is larger than this reader can address`);
    this.shards = manifest.shards;
    this.shard = shard;
    this.name = shard.tensor === null ? shard.entry : manifest.tensors.names[shard.tensor];
    this.decode = manifest.codecs[shard.codec].decode;
    this.decodedSize = Number(decoded);
    this.blockSize = Number(shard.object.block);
    this.count = this.shards.blockCount(shard.index);
    this.start = Number(shard.offset);
    this.ends = this.decode === null ? null : this.#storedEnds();
  }

  #storedEnds() {
    const ends = new Float64Array(this.count);
    let at = this.start;
    for (let k = 0; k < this.count; k += 1) {
      at += Number(this.shards.blockStoredSize(this.shard.index, k));
      ends[k] = at;
    }
    return ends;
  }

  /** First stored byte of block `k`, in its object. */
  storedStart(k) {
    if (this.ends) return k === 0 ? this.start : this.ends[k - 1];
    return this.start + k * this.blockSize;
  }

  /** End of the stored bytes of block `k`. */
  storedEnd(k) {
    return this.ends ? this.ends[k] : this.start + Math.min((k + 1) * this.blockSize, this.decodedSize);
  }

  /** Decoded bytes of block `k`. */
  sizeOf(k) {
    return Math.min(this.blockSize, this.decodedSize - k * this.blockSize);
  }

  subject(k) {
    return `${this.shard.object.storeKey} ${this.name} block ${k}`;
  }

  /** Refuses stored bytes that are not those of block `k`. */
  check(k, stored, digest) {
    if (!sameBytes(digest(stored), this.shards.blockDigest(this.shard.index, k))) {
      throw new ScfError('block.digest', `the bytes of ${this.subject(k)} do not have their digest`, { subject: this.subject(k) });
    }
  }

  /** Decoded bytes of block `k`. */
  decoded(k, stored) {
    if (this.decode === null) return stored;
    try {
      return this.decode(stored, this.sizeOf(k));
    } catch (error) {
      if (!(error instanceof ScfError)) throw error;
      throw new ScfError(error.code, `${this.subject(k)}: ${error.message}`, { subject: this.subject(k), cause: error });
    }
  }
}

/**
 * Cuts blocks, given as ranges [first, last], into batches that are fetched at once: they follow each other, and hold no
 * more than `most` bytes, stored or decoded, if they are more than one.
 */
export function* batches(blocks, ranges, most) {
  for (const [first, last] of ranges) {
    for (let k = first; k <= last; ) {
      const from = k;
      let decoded = 0;
      do {
        decoded += blocks.sizeOf(k);
        k += 1;
      } while (k <= last && blocks.storedEnd(k) - blocks.storedStart(from) <= most && decoded + blocks.sizeOf(k) <= most);
      yield [from, k - 1];
    }
  }
}
