/** Plain frames of Zstandard: exactly one, of a size that is known before (section 11.3). */

import { FORMAT } from '../limits.js';
import { need } from './bits.js';
import { decodeBlock, History } from './block.js';

export { ZstdError } from './bits.js';

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const MAX_BLOCK = 131072;

const littleEndian = (bytes, at, count) => {
  let value = 0;
  for (let i = 0; i < count; i += 1) value += bytes[at + i] * 2 ** (8 * i);
  return value;
};

/** What the header of a frame says; refused unless it is that of a plain frame for `size` bytes. */
function readHeader(bytes, size) {
  need(bytes.length >= 5 && MAGIC.every((byte, i) => bytes[i] === byte), 'no Zstandard frame');
  const flags = bytes[4];
  need((flags & 8) === 0, 'a reserved bit of the frame');
  const single = (flags & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][flags & 3];
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][flags >> 6];
  need(sizeBytes > 0, 'a frame that does not state its content size');
  const dictionaryAt = single ? 5 : 6;
  const sizeAt = dictionaryAt + dictionaryBytes;
  need(sizeAt + sizeBytes <= bytes.length, 'a frame that is cut off');
  need(littleEndian(bytes, dictionaryAt, dictionaryBytes) === 0, 'a frame with a dictionary');
  need(littleEndian(bytes, sizeAt, sizeBytes) + (sizeBytes === 2 ? 256 : 0) === size, 'a frame of another content size');
  const base = 2 ** (10 + (bytes[5] >> 3));
  const window = single ? size : base + (base / 8) * (bytes[5] & 7);
  need(window <= FORMAT.zstdWindow, 'a frame with too large a window');
  return { window, checksum: (flags & 4) !== 0, at: sizeAt + sizeBytes };
}

/** Type, size and place of each block; refused unless the frame ends with the bytes. */
function listBlocks(bytes, { at: start, checksum, window }, size) {
  const most = Math.min(window, MAX_BLOCK);
  const blocks = [];
  let at = start;
  let least = 0;
  let greatest = 0;
  for (let last = false; !last; ) {
    need(at + 3 <= bytes.length, 'a frame that is cut off');
    const word = littleEndian(bytes, at, 3);
    const type = (word >> 1) & 3;
    const length = word >> 3;
    last = (word & 1) === 1;
    at += 3;
    need(type !== 3, 'a block of a reserved type');
    need(length <= most, 'a block that is too large');
    const end = at + (type === 1 ? 1 : length);
    need(end <= bytes.length, 'a frame that is cut off');
    least += type === 2 ? 0 : length;
    greatest += type === 2 ? most : length;
    blocks.push(type, length, at);
    at = end;
  }
  need(at + (checksum ? 4 : 0) === bytes.length, 'bytes left over after the frame');
  need(least <= size && size <= greatest, 'a frame that gives another size');
  return { blocks, most };
}

/**
 * The content of bytes that are exactly one plain frame for `size` bytes; throws ZstdError for all others.
 * Nothing is allocated before the blocks of the frame have been found able to give that size.
 * @param {Uint8Array} bytes
 * @param {number} size
 * @returns {Uint8Array}
 */
export function decodePlainFrame(bytes, size) {
  const header = readHeader(bytes, size);
  const { blocks, most } = listBlocks(bytes, header, size);
  const out = new Uint8Array(size);
  const history = new History();
  let at = 0;
  for (let i = 0; i < blocks.length; i += 3) {
    const [type, length, start] = [blocks[i], blocks[i + 1], blocks[i + 2]];
    const stop = Math.min(size, at + most);
    if (type === 2) {
      at = decodeBlock(bytes, start, start + length, history, out, at, stop, header.window);
    } else {
      need(length <= stop - at, 'a frame that gives too much');
      if (type === 0) out.set(bytes.subarray(start, start + length), at);
      else out.fill(bytes[start], at, at + length);
      at += length;
    }
  }
  need(at === size, 'a frame that gives too little');
  return out;
}
