/** Reading regions of tensors (chapter 15). */

import { batches, ShardBlocks } from './blocks.js';
import { ScfError, beyond, withinEngine } from './errors.js';
import { alignedRegion } from './manifest/shards.js';
import { sharedPieces } from './regions.js';
import { eachLimited } from './tasks.js';
import { tiles } from './tiling.js';

const BATCH = 8 * 2 ** 20;
const product = (sizes) => sizes.reduce((all, size) => all * size, 1n);

/** Ranges of bytes that a shard and the result share, one after the other, in rising order on both sides. */
class Rows {
  constructor(pieces, bits) {
    this.pieces = pieces;
    this.bits = bits;
    this.piece = -1;
    this.left = 0;
    this.#nextPiece();
  }

  #bytes(elements) {
    return Number((elements * this.bits) / 8n);
  }

  #nextPiece() {
    this.piece += 1;
    const piece = this.pieces[this.piece];
    this.done = piece === undefined;
    if (this.done) return;
    this.from = this.#bytes(piece.from);
    this.to = this.#bytes(piece.to);
    this.length = this.#bytes(piece.length);
    this.loops = piece.loops.map(({ count, from, to }) => {
      return { count: Number(count), from: this.#bytes(from), to: this.#bytes(to), at: 0 };
    });
  }

  /** Goes to the next row; `done` tells that there is none. */
  next() {
    for (let d = this.loops.length - 1; d >= 0; d -= 1) {
      const loop = this.loops[d];
      loop.at += 1;
      this.from += loop.from;
      this.to += loop.to;
      if (loop.at < loop.count) return;
      this.from -= loop.count * loop.from;
      this.to -= loop.count * loop.to;
      loop.at = 0;
    }
    this.#nextPiece();
  }
}

/** Ranges [first, last] of the blocks that hold a byte of the rows. */
function neededBlocks(rows, blockSize) {
  const ranges = [];
  let last = null;
  for (; !rows.done; rows.next()) {
    const first = Math.floor(rows.from / blockSize);
    const end = Math.floor((rows.from + rows.length - 1) / blockSize);
    if (last !== null && end <= last[1]) continue;
    if (last !== null && first <= last[1] + 1) {
      last[1] = end;
    } else {
      last = [first, end];
      ranges.push(last);
    }
  }
  return ranges;
}

/** Copies what the rows want of the decoded bytes of one block, which begin at `start` in the shard. */
function copyRows(rows, bytes, start, out) {
  const stop = start + bytes.length;
  while (!rows.done && rows.from < stop) {
    const from = Math.max(rows.from, start);
    const end = Math.min(rows.from + rows.length, stop);
    const to = rows.to + (from - rows.from);
    if (end - from > 32) out.set(bytes.subarray(from - start, end - start), to);
    else for (let i = from - start, j = to; i < end - start; i += 1, j += 1) out[j] = bytes[i];
    if (end < rows.from + rows.length) return;
    rows.next();
  }
}

/** Reads tensors of one item. */
export class TensorReader {
  /**
   * @param {import('./manifest/manifest.js').Manifest} manifest
   * @param {{store: object, digests: object, limits: object, concurrency: number}} context
   */
  constructor(manifest, context) {
    this.manifest = manifest;
    this.context = context;
    /** @type {Map<number, boolean>} */
    this.tiled = new Map();
    this.latest = null;
  }

  /** The shards of a tensor, in their order; those of the last tensor are kept for its next region. */
  shardsOf(number) {
    if (this.latest?.number !== number) {
      const [first, last] = this.manifest.shards.rangeOf(number);
      const shards = [];
      for (let i = first; i < last; i += 1) shards.push(this.manifest.shards.get(i));
      this.latest = { number, shards };
    }
    return this.latest.shards;
  }

  /** Refuses a tensor whose shards do not tile it. */
  checkTiling(number, shards = this.shardsOf(number)) {
    const { tensors } = this.manifest;
    if (!this.tiled.has(number)) this.tiled.set(number, tiles(shards, tensors.shape(number), this.context.limits.max_box_numbers));
    if (!this.tiled.get(number)) {
      const subject = tensors.names[number];
      throw new ScfError('tiling.inexact', `the shards of tensor ${subject} do not tile it exactly`, { subject });
    }
  }

  /** Refuses a region of the caller that is not one of the tensor; gives its size in bytes. */
  #checkRegion(number, { box, run }) {
    const { tensors } = this.manifest;
    const subject = tensors.names[number];
    const shape = tensors.shape(number);
    const { bits } = tensors.dtype(number);
    const refuse = (message) => {
      throw new ScfError('state.layout', `${message} of tensor ${subject}`, { subject });
    };
    if (box.offset.length !== shape.length || box.size.length !== shape.length) refuse('not as many dimensions as those');
    const inside = shape.every((size, d) => box.offset[d] >= 0n && box.size[d] >= 0n && box.offset[d] + box.size[d] <= size);
    if (!inside) refuse('a box outside');
    if (run[0] < 0n || run[0] > run[1] || run[1] > product(box.size)) refuse('a run outside its box');
    const whole = box.size.every((size, d) => size === shape[d]);
    if (!alignedRegion(box, run, whole, shape, bits)) refuse('a region that does not begin and end at whole bytes');
    return ((run[1] - run[0]) * bits) / 8n;
  }

  /** Everything that can be checked before a byte is read; gives the shards and what of them is wanted. */
  #plan(number, region, verify) {
    const { tensors, codecs } = this.manifest;
    const subject = tensors.names[number];
    const dtype = tensors.dtype(number);
    if (!dtype.known) throw new ScfError('dtype.unsupported', `tensor ${subject} has the dtype ${dtype.name}`, { subject });
    const size = this.#checkRegion(number, region);
    const shards = this.shardsOf(number);
    this.checkTiling(number, shards);
    for (const shard of shards) {
      if (codecs[shard.codec].decode === undefined) {
        throw new ScfError('codec.unsupported', `tensor ${subject} has the codecs ${codecs[shard.codec].name}`, { subject });
      }
    }
    const wanted = [];
    for (const shard of size === 0n ? [] : shards) {
      const pieces = [...sharedPieces(shard, region)];
      if (pieces.length === 0) continue;
      if (verify && !this.context.digests[shard.object.digest]) {
        const about = { subject: `${shard.object.storeKey} ${subject}` };
        throw new ScfError('digest.unsupported', `${about.subject} has the digest ${shard.object.digest}`, about);
      }
      wanted.push({ shard, pieces });
    }
    return { size, wanted, bits: dtype.bits };
  }

  /** Refuses data objects that are not there, or not of their size. */
  async checkObjects(objects) {
    const { store, concurrency } = this.context;
    await eachLimited(new Set(objects), concurrency, async ({ storeKey, own, size }) => {
      const found = await store.stat(storeKey);
      if (found === null) {
        const code = own ? 'object.missing' : 'external.missing';
        throw new ScfError(code, `the store does not have ${storeKey}`, { phase: 'read', subject: storeKey });
      }
      if (BigInt(found.size) !== size) {
        const message = `${storeKey} has ${found.size} bytes, not ${size}`;
        throw new ScfError('object.size', message, { subject: storeKey });
      }
    });
  }

  #allocate(size, number) {
    const { max_read_bytes: limit } = this.context.limits;
    const about = { phase: 'plan', subject: this.manifest.tensors.names[number] };
    if (size > limit) throw beyond('max_read_bytes', size, limit, about);
    return withinEngine(() => new Uint8Array(Number(size)), about);
  }

  /** Decoded blocks [first, last] of a shard, checked. */
  async #fetch(blocks, first, last, verify) {
    const { store, digests } = this.context;
    const { object } = blocks.shard;
    const start = blocks.storedStart(first);
    const stored = await store.getRange(object.storeKey, start, blocks.storedEnd(last));
    const decoded = [];
    for (let k = first; k <= last; k += 1) {
      const bytes = stored.subarray(blocks.storedStart(k) - start, blocks.storedEnd(k) - start);
      if (verify) blocks.check(k, bytes, digests[object.digest]);
      decoded.push(blocks.decoded(k, bytes));
    }
    return decoded;
  }

  async #readShard({ shard, pieces }, bits, out, verify) {
    const blocks = new ShardBlocks(this.manifest, shard);
    const ranges = neededBlocks(new Rows(pieces, bits), blocks.blockSize);
    const rows = new Rows(pieces, bits);
    for (const [first, last] of batches(blocks, ranges, BATCH)) {
      const decoded = await this.#fetch(blocks, first, last, verify);
      decoded.forEach((bytes, i) => copyRows(rows, bytes, (first + i) * blocks.blockSize, out));
    }
  }

  /**
   * The bytes of a region.
   * @param {number} number tensor number
   * @param {import('./regions.js').Region} region
   * @param {boolean} verify
   * @returns {Promise<Uint8Array>}
   */
  async read(number, region, verify) {
    const { size, wanted, bits } = this.#plan(number, region, verify);
    await this.checkObjects(wanted.map(({ shard }) => shard.object));
    const out = this.#allocate(size, number);
    await eachLimited(wanted, this.context.concurrency, (part) => this.#readShard(part, bits, out, verify));
    return out;
  }
}
