/** The table of tensors (section 7.5). */

import { FORMAT, MAXINT } from '../limits.js';
import { decodeUtf8 } from '../text.js';
import { Table, refuse, starts } from './values.js';

/** Product of sizes, 1 of none. */
export const volume = (sizes) => sizes.reduce((product, size) => product * size, 1n);

/** Dtypes, shapes and names by tensor number. */
export class Tensors {
  /**
   * @param {unknown} value
   * @param {{name: string, bits: bigint}[]} dtypes
   */
  constructor(value, dtypes) {
    const table = new Table(value, 'tensors', FORMAT.tensors);
    this.count = table.count;
    this.dtypes = dtypes;
    this.dtypeColumn = table.integers('dtype', this.count, 2);
    const ndim = table.integers('ndim', this.count, 1);
    this.shapeStarts = starts(this.count, (i) => ndim.at(i));
    this.shapeColumn = table.integers('shape', this.shapeStarts[this.count], 8);
    this.names = readNames(table, this.count);
    for (let i = 0; i < this.count; i += 1) this.#check(i, ndim.at(i));
  }

  #check(i, ndim) {
    const what = `tensor ${this.names[i]}`;
    if (this.dtypeColumn.at(i) >= this.dtypes.length) refuse(`${what} has a dtype number out of range`);
    if (ndim > FORMAT.dims) refuse(`${what} has too many dimensions`);
    const { bits } = this.dtype(i);
    let bound = bits;
    let empty = false;
    for (const size of this.shape(i)) {
      if (size === 0n) empty = true;
      else bound *= size;
      if (bound > MAXINT) refuse(`${what} is too large`);
    }
    if (!empty && bound % 8n !== 0n) refuse(`${what} does not end at a whole byte`);
  }

  dtype(i) {
    return this.dtypes[this.dtypeColumn.at(i)];
  }

  ndim(i) {
    return this.shapeStarts[i + 1] - this.shapeStarts[i];
  }

  /** Sizes of the dimensions, outermost first. */
  shape(i) {
    const sizes = [];
    for (let k = this.shapeStarts[i]; k < this.shapeStarts[i + 1]; k += 1) sizes.push(this.shapeColumn.at(k));
    return sizes;
  }

  /** Decoded bytes of the whole tensor. */
  byteSize(i) {
    return (volume(this.shape(i)) * this.dtype(i).bits) / 8n;
  }
}

function readNames(table, count) {
  const sizes = table.integers('name_size', count, 2);
  const from = starts(count, (i) => sizes.at(i));
  const bytes = table.bytes('name', from[count]);
  const names = [];
  for (let i = 0; i < count; i += 1) names.push(nameAt(bytes, from[i], from[i + 1], 'tensor'));
  if (names.includes('')) refuse('a tensor has an empty name');
  if (new Set(names).size !== count) refuse('two tensors have one name');
  return names;
}

/** One name of a column of text. */
export function nameAt(bytes, start, stop, what) {
  const name = decodeUtf8(bytes.subarray(start, stop));
  if (name === null) refuse(`a name of a ${what} is not UTF-8`);
  if (name === '__metadata__') refuse(`a ${what} has the name __metadata__`);
  return name;
}
