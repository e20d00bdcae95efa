/** The table of shards (sections 7.7 and 7.8). */

import { ScfError } from '../errors.js';
import { FORMAT } from '../limits.js';
import { nameAt, volume } from './tensors.js';
import { Table, refuse, starts } from './values.js';

const UNASSIGNED = 0xffffffff;
const DIGEST = 32;

const ceilDiv = (a, b) => (a + b - 1n) / b;

/** Regions, places and blocks by shard number. Everything that section 7.7 states is checked when it is made. */
export class Shards {
  /**
   * @param {unknown} value
   * @param {import('./tensors.js').Tensors} tensors
   * @param {import('./objects.js').DataObject[]} objects
   * @param {number} codecCount
   */
  constructor(value, tensors, objects, codecCount) {
    const table = new Table(value, 'shards', FORMAT.shards);
    this.count = table.count;
    this.tensors = tensors;
    this.objects = objects;
    this.#readColumns(table);
    this.#readEntries(table);
    this.#readBlocks(table);
    this.#check(codecCount);
    this.#checkOverlaps();
  }

  #readColumns(table) {
    const { count } = this;
    this.tensorColumn = table.integers('tensor', count, 4);
    this.objectColumn = table.integers('object', count, 4);
    this.codecColumn = table.optional('codec', count, 2);
    for (const [one, other] of [['box_offset', 'box_size'], ['run_start', 'run_stop'], ['entry_size', 'entry']]) {
      if (table.has(one) !== table.has(other)) refuse(`shards: of ${one} and ${other} one is absent`);
    }
    this.boxStarts = starts(count, (i) => this.#boxNumbers(i));
    const numbers = this.boxStarts[count];
    this.boxOffset = table.optional('box_offset', numbers, 8);
    this.boxSize = table.optional('box_size', numbers, 8);
    this.runStart = table.optional('run_start', count, 8);
    this.runStop = table.optional('run_stop', count, 8);
    this.offset = table.integers('offset', count, 8);
    this.statedSizes = table.optional('stored_size', count, 8);
  }

  #boxNumbers(i) {
    const tensor = this.tensorColumn.at(i);
    if (tensor === UNASSIGNED) return 0;
    if (tensor >= this.tensors.count) refuse(`shard ${i} has a tensor number out of range`);
    return this.tensors.ndim(tensor);
  }

  #readEntries(table) {
    this.entryStarts = null;
    if (!table.has('entry_size')) return;
    const sizes = table.integers('entry_size', this.count, 2);
    this.entryStarts = starts(this.count, (i) => sizes.at(i));
    this.entryBytes = table.bytes('entry', this.entryStarts[this.count]);
    for (let i = 0; i < this.count; i += 1) this.entry(i);
  }

  #readBlocks(table) {
    let encoded = false;
    let unassigned = false;
    for (let i = 0; i < this.count; i += 1) {
      encoded ||= this.codec(i) !== 0;
      unassigned ||= this.tensorColumn.at(i) === UNASSIGNED;
    }
    if ((encoded || unassigned) && !this.statedSizes) refuse('shards: stored_size is absent');
    if (encoded !== table.has('block_stored_size')) refuse('shards: block_stored_size is present or absent against its rule');
    if (!encoded && table.has('decoded_digest')) refuse('shards: decoded_digest is present without a codec');
    const sizes = table.columns.get('block_stored_size');
    this.encodedBlocks = encoded ? Math.floor(sizes.length / 8) : 0;
    this.blockSizes = table.optional('block_stored_size', this.encodedBlocks, 8);
    this.blockDigests = table.columns.get('block_digest') ?? new Uint8Array(0);
    this.decodedDigests = table.columns.get('decoded_digest') ?? null;
  }

  codec(i) {
    return this.codecColumn ? this.codecColumn.at(i) : 0;
  }

  /** The entry name that the manifest states, or null if it is to be derived. */
  entry(i) {
    if (!this.entryStarts || this.entryStarts[i] === this.entryStarts[i + 1]) return null;
    return nameAt(this.entryBytes, this.entryStarts[i], this.entryStarts[i + 1], 'shard');
  }

  #check(codecCount) {
    this.firstBlocks = new Float64Array(this.count + 1);
    this.firstEncoded = new Float64Array(this.count + 1);
    this.storedSizes = new BigUint64Array(this.count);
    const digests = this.blockDigests.length / DIGEST;
    let last = null;
    for (let i = 0; i < this.count; i += 1) {
      if (this.objectColumn.at(i) >= this.objects.length) refuse(`shard ${i} has an object number out of range`);
      if (this.codec(i) >= codecCount) refuse(`shard ${i} has a codec number out of range`);
      const shard = this.get(i);
      const decoded = shard.tensor === null ? this.#checkUnassigned(shard) : this.#checkRegion(shard);
      const blocks = ceilDiv(decoded, shard.object.block);
      if (blocks > 0n && digests === 0) throw new ScfError('digest.missing', `shard ${i} has no block digests`);
      this.firstBlocks[i + 1] = this.firstBlocks[i] + Number(blocks);
      if (this.firstBlocks[i + 1] > digests) refuse('shards: block_digest has too few digests');
      this.firstEncoded[i + 1] = this.firstEncoded[i] + (shard.codec === 0 ? 0 : Number(blocks));
      this.#checkStored(shard, decoded, Number(blocks));
      if (last) checkOrder(last, shard);
      last = shard;
    }
    const encoded = this.firstEncoded[this.count];
    if (this.firstBlocks[this.count] !== digests) refuse('shards: block_digest has another length than it has to');
    if (this.blockSizes && encoded !== this.encodedBlocks) refuse('shards: block_stored_size has another length than it has to');
    if (this.decodedDigests && this.decodedDigests.length !== DIGEST * encoded) {
      refuse('shards: decoded_digest has another length than it has to');
    }
  }

  #checkUnassigned(shard) {
    const { index, object, run, codec } = shard;
    const plain = object.own && codec === 0 && run[0] === 0n && run[1] === 0n && shard.entry !== null;
    return plain ? this.statedSizes.at(index) : refuse(`the unassigned shard ${index} is not of the form that it has to have`);
  }

  /** Checks that the region of an assigned shard lies in its tensor; gives its decoded size. */
  #checkRegion({ index, tensor, box, run, whole, shape }) {
    const what = `shard ${index} of tensor ${this.tensors.names[tensor]}`;
    const { bits } = this.tensors.dtype(tensor);
    if (box.offset.some((offset, d) => offset + box.size[d] > shape[d])) refuse(`the box of ${what} leaves the tensor`);
    if (run[0] > run[1] || run[1] > volume(box.size)) refuse(`the run of ${what} leaves its box`);
    if (run[0] === run[1] && !(whole && run[1] === 0n && shape.includes(0n))) refuse(`${what} has no elements`);
    if (!alignedRegion(box, run, whole, shape, bits)) refuse(`${what} does not begin and end at whole bytes`);
    return ((run[1] - run[0]) * bits) / 8n;
  }

  #checkStored(shard, decoded, blocks) {
    const { index, object, codec, offset } = shard;
    let stored = decoded;
    if (codec !== 0) {
      if (this.firstEncoded[index + 1] > this.encodedBlocks) refuse('shards: block_stored_size has too few sizes');
      stored = 0n;
      for (let k = 0; k < blocks; k += 1) {
        const size = this.blockSizes.at(this.firstEncoded[index] + k);
        const whole = k === blocks - 1 ? decoded - BigInt(k) * object.block : object.block;
        if (size < 1n || size > whole + ceilDiv(whole, 128n) + 1024n) refuse(`shard ${index} has a block of a size that cannot be`);
        stored += size;
      }
    }
    if (this.statedSizes && this.statedSizes.at(index) !== stored) refuse(`shard ${index} has another stored size than it states`);
    if (offset < object.dataStart || offset + stored > object.size) refuse(`shard ${index} lies outside the data of its object`);
    this.storedSizes[index] = stored;
  }

  #checkOverlaps() {
    let last = null;
    for (const i of this.byPlace()) {
      const object = this.objectColumn.at(i);
      const offset = this.offset.at(i);
      if (last && last.object === object && offset < last.end) refuse(`shard ${i} has bytes in common with shard ${last.index}`);
      last = { index: i, object, end: offset + this.storedSizes[i] };
    }
  }

  /** Numbers of the shards that have bytes, by object and by offset. */
  byPlace() {
    const order = [];
    const near = new Float64Array(this.count);
    for (let i = 0; i < this.count; i += 1) {
      near[i] = Number(this.offset.at(i));
      if (this.storedSizes[i] > 0n) order.push(i);
    }
    const exact = (a, b) => (this.offset.at(a) < this.offset.at(b) ? -1 : 1);
    return order.sort((a, b) => this.objectColumn.at(a) - this.objectColumn.at(b) || near[a] - near[b] || exact(a, b));
  }

  /** Everything about one shard. `tensor` and `entry` are null where there is none. */
  get(i) {
    const tensor = this.tensorColumn.at(i) === UNASSIGNED ? null : this.tensorColumn.at(i);
    const shape = tensor === null ? [] : this.tensors.shape(tensor);
    const box = { offset: shape.map(() => 0n), size: shape };
    if (this.boxOffset) {
      const from = this.boxStarts[i];
      box.offset = shape.map((_, d) => this.boxOffset.at(from + d));
      box.size = shape.map((_, d) => this.boxSize.at(from + d));
    }
    const all = tensor === null ? 0n : volume(box.size);
    return {
      index: i,
      tensor,
      shape,
      box,
      whole: box.size.every((size, d) => size === shape[d]),
      run: this.runStart ? [this.runStart.at(i), this.runStop.at(i)] : [0n, all],
      objectNumber: this.objectColumn.at(i),
      object: this.objects[this.objectColumn.at(i)],
      offset: this.offset.at(i),
      storedSize: this.storedSizes[i],
      codec: this.codec(i),
      entry: this.entry(i),
    };
  }

  /** Number of blocks of a shard. */
  blockCount(i) {
    return this.firstBlocks[i + 1] - this.firstBlocks[i];
  }

  /** Digest of the stored bytes of block `k` of shard `i`. */
  blockDigest(i, k) {
    const at = (this.firstBlocks[i] + k) * DIGEST;
    return this.blockDigests.subarray(at, at + DIGEST);
  }

  /** Digest of the decoded bytes of an encoded block, or null if it is not known. */
  decodedDigest(i, k) {
    if (!this.decodedDigests || this.codec(i) === 0) return null;
    const at = (this.firstEncoded[i] + k) * DIGEST;
    return this.decodedDigests.subarray(at, at + DIGEST);
  }

  /** Stored bytes of block `k` of an encoded shard. */
  blockStoredSize(i, k) {
    return this.blockSizes.at(this.firstEncoded[i] + k);
  }

  /** Numbers [first, last) of the shards of a tensor. */
  rangeOf(tensor) {
    const firstAtLeast = (wanted) => {
      let low = 0;
      let high = this.count;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        if (this.tensorColumn.at(middle) < wanted) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return [firstAtLeast(tensor), firstAtLeast(tensor + 1)];
  }
}

/** Whether a region of elements of so many bits begins and ends at whole bytes (section 10.5). */
export function alignedRegion(box, run, whole, shape, bits) {
  const aligned = (count) => (count * bits) % 8n === 0n;
  if (bits % 8n === 0n) return true;
  if (!aligned(run[0]) || !aligned(run[1])) return false;
  const d = shape.length - 1;
  return whole || (aligned(box.offset[d]) && aligned(box.size[d]) && aligned(shape[d]));
}

/** Refuses two shards that stand in the wrong order. */
function checkOrder(a, b) {
  const wrong = () => refuse(`shard ${b.index} is out of order`);
  if (a.tensor === null && b.tensor === null) {
    if (a.objectNumber !== b.objectNumber) return a.objectNumber > b.objectNumber ? wrong() : undefined;
    return a.offset > b.offset ? wrong() : undefined;
  }
  if (a.tensor === null) return wrong();
  if (b.tensor === null || a.tensor < b.tensor) return undefined;
  if (a.tensor > b.tensor) return wrong();
  for (let d = 0; d < a.shape.length; d += 1) {
    if (a.box.offset[d] !== b.box.offset[d]) return a.box.offset[d] > b.box.offset[d] ? wrong() : undefined;
  }
  return a.run[0] > b.run[0] ? wrong() : undefined;
}
