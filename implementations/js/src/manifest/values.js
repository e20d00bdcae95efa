/** Values of a manifest with the types that its tables state. */

import { ScfError } from '../errors.js';
import { MAXINT } from '../limits.js';
import { MapNode } from '../nodes.js';

/** Refuses the manifest. @returns {never} */
export function refuse(message) {
  throw new ScfError('manifest.schema', message);
}

export function text(value, what) {
  return typeof value === 'string' ? value : refuse(`${what} is not text`);
}

export function array(value, what) {
  return Array.isArray(value) ? value : refuse(`${what} is not an array`);
}

export function map(value, what) {
  return value instanceof MapNode ? value : refuse(`${what} is not a map`);
}

export function integer(value, what, least = 0n, greatest = MAXINT) {
  if (typeof value !== 'bigint') refuse(`${what} is not an integer`);
  return value >= least && value <= greatest ? value : refuse(`${what} is out of range`);
}

/** A column of unsigned integers of `width` bytes, read where they lie. */
class Column {
  constructor(bytes, width) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.width = width;
    this.length = bytes.length / width;
  }

  /** Entry `i`: Number of up to 4 bytes, BigInt of 8. */
  at(i) {
    switch (this.width) {
      case 1:
        return this.view.getUint8(i);
      case 2:
        return this.view.getUint16(2 * i, true);
      case 4:
        return this.view.getUint32(4 * i, true);
      default:
        return this.view.getBigUint64(8 * i, true);
    }
  }
}

/** A table: the number of its rows, and its columns as bytes. */
export class Table {
  constructor(value, name, greatest) {
    const members = map(value, name);
    this.name = name;
    this.count = Number(integer(members.get('count'), `${name}: count`, 0n, greatest));
    this.columns = map(members.get('columns'), `${name}: columns`);
    for (const [key, bytes] of this.columns) {
      if (typeof key !== 'string' || !(bytes instanceof Uint8Array)) refuse(`${name} has a column that is not text → bin`);
    }
  }

  has(name) {
    return this.columns.has(name);
  }

  /** Bytes of a column that is there, of exactly this length. */
  bytes(name, length) {
    const bytes = this.columns.get(name);
    if (!bytes) refuse(`${this.name} has no column ${name}`);
    if (bytes.length !== length) refuse(`${this.name}: ${name} has ${bytes.length} bytes, not ${length}`);
    return bytes;
  }

  /** A column of `count` integers of `width` bytes. */
  integers(name, count, width) {
    const bytes = this.bytes(name, count * width);
    if (width === 8) {
      for (let top = 7; top < bytes.length; top += 8) {
        if (bytes[top] & 0x80) refuse(`${this.name}: ${name} has a number above the greatest`);
      }
    }
    return new Column(bytes, width);
  }

  /** The same, or null if the column is absent. */
  optional(name, count, width) {
    return this.has(name) ? this.integers(name, count, width) : null;
  }
}

/** Where each of the pieces of a column begins, and at the end their sum. */
export function starts(count, sizeOf) {
  const result = new Float64Array(count + 1);
  for (let i = 0; i < count; i += 1) result[i + 1] = result[i] + sizeOf(i);
  return result;
}
