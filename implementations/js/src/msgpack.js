/**
 * MessagePack by the profile of section 7.2: no equal keys, valid UTF-8, bounded depth, lengths within the bytes.
 *
 * Integers become BigInt, floats Number (a NaN of other bits than the usual ones: NanBits), bin a view of the bytes.
 */

import { ScfError, beyond } from './errors.js';
import { FORMAT } from './limits.js';
import { MapNode, NanBits } from './nodes.js';
import { decodeUtf8 } from './text.js';

const SMALL = Array.from({ length: 256 }, (_, value) => BigInt(value));
const CANONICAL_NAN = 0x7ff8000000000000n;

const syntax = (message) => {
  throw new ScfError('manifest.syntax', `the manifest is not MessagePack of the profile: ${message}`);
};

/** Reads values from bytes, one after the other. */
export class MessagePackReader {
  /**
   * @param {Uint8Array} bytes
   * @param {{maxValues: number, extension: (reader: MessagePackReader, code: number, size: number, depth: number) => unknown}} options
   *   `extension` has to read the payload, which begins at `reader.at`
   */
  constructor(bytes, { maxValues, extension }) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.end = bytes.length;
    this.values = 0;
    this.pending = 0;
    this.maxValues = maxValues;
    this.extension = extension;
  }

  /** Steps over `size` bytes, which have to be there; gives where they begin. */
  take(size) {
    const start = this.at;
    if (size > this.end - start) syntax('it ends too early');
    this.at = start + size;
    return start;
  }

  uint(size) {
    const at = this.take(size);
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /**
   * Takes note of values before they are read: each takes a byte, those that are still to come around it too. So
   * memory for all of them is in proportion to the bytes, whatever is declared.
   */
  declare(values) {
    if (values > this.end - this.at - this.pending) syntax('it declares more elements than there are bytes');
    this.pending += values;
    this.values += values;
    if (this.values > this.maxValues) {
      throw beyond('max_values', this.values, this.maxValues, { phase: 'manifest' });
    }
  }

  /** The value that comes next; an array or map in it is at level `depth`. */
  value(depth) {
    const byte = this.uint(1);
    if (byte < 0x80) return SMALL[byte];
    if (byte < 0x90) return this.map(byte & 15, depth);
    if (byte < 0xa0) return this.array(byte & 15, depth);
    if (byte < 0xc0) return this.string(byte & 31);
    if (byte >= 0xe0) return BigInt(byte - 256);
    switch (byte) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.bin(this.uint(1 << (byte - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.ext(this.uint(1 << (byte - 0xc7)), depth);
      case 0xca:
        return this.float32();
      case 0xcb:
        return this.float64();
      case 0xcc:
        return SMALL[this.uint(1)];
      case 0xcd:
      case 0xce:
        return BigInt(this.uint(1 << (byte - 0xcc)));
      case 0xcf:
        return this.view.getBigUint64(this.take(8));
      case 0xd0:
        return BigInt(this.view.getInt8(this.take(1)));
      case 0xd1:
        return BigInt(this.view.getInt16(this.take(2)));
      case 0xd2:
        return BigInt(this.view.getInt32(this.take(4)));
      case 0xd3:
        return this.view.getBigInt64(this.take(8));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.ext(1 << (byte - 0xd4), depth);
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.string(this.uint(1 << (byte - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.array(this.uint(byte === 0xdc ? 2 : 4), depth);
      case 0xde:
      case 0xdf:
        return this.map(this.uint(byte === 0xde ? 2 : 4), depth);
      default:
        return syntax('it has the byte c1');
    }
  }

  bin(size) {
    const start = this.take(size);
    return this.bytes.subarray(start, this.at);
  }

  string(size) {
    const start = this.take(size);
    const { bytes } = this;
    if (size <= 24) {
      let text = '';
      let at = start;
      while (at < this.at && bytes[at] < 0x80) {
        text += String.fromCharCode(bytes[at]);
        at += 1;
      }
      if (at === this.at) return text;
    }
    return decodeUtf8(bytes.subarray(start, this.at)) ?? syntax('it has a text that is not UTF-8');
  }

  float32() {
    const at = this.take(4);
    const value = this.view.getFloat32(at);
    if (!Number.isNaN(value)) return value;
    const bits = BigInt(this.view.getUint32(at));
    // the same sign and fraction, in a wider field
    return nan(((bits >> 31n) << 63n) | (0x7ffn << 52n) | ((bits & 0x7fffffn) << 29n));
  }

  float64() {
    const at = this.take(8);
    const value = this.view.getFloat64(at);
    return Number.isNaN(value) ? nan(this.view.getBigUint64(at)) : value;
  }

  ext(size, depth) {
    const code = this.view.getInt8(this.take(1));
    const { end, pending } = this;
    const start = this.take(size);
    const stop = this.at;
    this.at = start;
    this.end = stop;
    this.pending = 0;
    const value = this.extension(this, code, size, depth);
    this.at = stop;
    this.end = end;
    this.pending = pending;
    return value;
  }

  /** The one value that makes up the payload of an extension. */
  payload(depth) {
    const value = this.value(depth);
    if (this.at !== this.end) syntax('it has bytes after the value in an extension');
    return value;
  }

  /** First byte of the value that comes next, or −1. */
  peek() {
    return this.at < this.end ? this.bytes[this.at] : -1;
  }

  enter(depth) {
    if (depth > FORMAT.manifestDepth) syntax('it is nested too deeply');
  }

  array(count, depth) {
    this.enter(depth);
    this.declare(count);
    const elements = sized(count);
    for (let i = 0; i < count; i += 1) {
      this.pending -= 1;
      elements[i] = this.value(depth + 1);
    }
    return elements;
  }

  map(count, depth) {
    const keys = sized(count);
    const values = sized(count);
    this.entries(count, depth, (key, i) => {
      keys[i] = key;
      values[i] = this.value(depth + 1);
    });
    return count ? new MapNode(keys, values) : MapNode.EMPTY;
  }

  /** Reads the entries of a map; `entry(key, position)` has to read each value. */
  entries(count, depth, entry) {
    this.enter(depth);
    this.declare(2 * count);
    const few = count <= 8 ? [] : null;
    const many = few ? null : new Set();
    for (let i = 0; i < count; i += 1) {
      this.pending -= 1;
      const key = this.key();
      if (few ? few.includes(key) : many.has(key)) syntax('a map has two equal keys');
      if (few) few.push(key);
      else many.add(key);
      this.pending -= 1;
      entry(key, i);
    }
  }

  key() {
    const byte = this.peek();
    const isText = (byte >= 0xa0 && byte < 0xc0) || (byte >= 0xd9 && byte <= 0xdb);
    const isInteger = (byte >= 0 && byte < 0x80) || byte >= 0xe0 || (byte >= 0xcc && byte <= 0xd3);
    if (!isText && !isInteger) syntax('a map has a key that is neither text nor integer');
    return this.value(FORMAT.manifestDepth);
  }

  /** Number of entries of the map that comes next; null if something else does. */
  mapSize() {
    const byte = this.peek();
    if (byte >= 0x80 && byte < 0x90) return this.uint(1) & 15;
    if (byte !== 0xde && byte !== 0xdf) return null;
    this.at += 1;
    return this.uint(byte === 0xde ? 2 : 4);
  }
}

/** An array for that many elements; a long one grows as they come, as an engine may keep long empty ones badly. */
function sized(count) {
  return count <= 1024 ? new Array(count) : [];
}

function nan(bits) {
  return bits === CANONICAL_NAN ? NaN : new NanBits(bits);
}
