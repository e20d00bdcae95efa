/** Bit streams of Zstandard, and the one error of its decoder. */

/** Bytes that are no valid Zstandard data; the caller turns it into an error of its own code. */
export class ZstdError extends Error {}

/** Throws the error of the decoder unless the condition holds. */
export function need(condition, what) {
  if (!condition) throw new ZstdError(what);
}

/** Position of the highest bit that is set, of an integer from 1 to 2^31. */
export const highestBit = (value) => 31 - Math.clz32(value);

/** A stream of bits that is read from its end to its start, as entropy coded data is. */
export class BackwardBits {
  /** The bytes [start, end); the highest bit that is set in the last one marks the end of the bits. */
  constructor(bytes, start, end) {
    need(end > start && bytes[end - 1] !== 0, 'a bit stream without an end mark');
    this.bytes = bytes;
    this.start = start;
    /** Number of bits that are left; negative after reading more than there were. */
    this.left = (end - start - 1) * 8 + highestBit(bytes[end - 1]);
  }

  /** The next `count` bits, at most 25, without taking them; bits before the start are 0. */
  peek(count) {
    const low = this.left - count;
    const at = this.start + (low >> 3);
    const { bytes } = this;
    if (low >= 0) {
      const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      return (word >>> (low & 7)) & ((1 << count) - 1);
    }
    if (this.left <= 0) return 0;
    const { start } = this;
    const word = bytes[start] | (bytes[start + 1] << 8) | (bytes[start + 2] << 16) | (bytes[start + 3] << 24);
    return (word & ((1 << this.left) - 1)) << -low;
  }

  /** Takes the next `count` bits, at most 25. */
  read(count) {
    const value = this.peek(count);
    this.left -= count;
    return value;
  }

  /** Takes the next `count` bits, at most 31. */
  readLong(count) {
    if (count <= 25) return this.read(count);
    const high = this.read(count - 16);
    return high * 65536 + this.read(16);
  }
}
