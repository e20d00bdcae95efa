/** Codecs of a block (chapter 11). */

import { ScfError } from './errors.js';
import { decodePlainFrame, ZstdError } from './zstd/frame.js';

/** Ids of the codecs that this reader implements. */
export const CODECS = Object.freeze(['zstd', 'planes']);

const broken = (message) => {
  throw new ScfError('block.codec', message);
};

function decodeZstd(stored, size) {
  try {
    return decodePlainFrame(stored, size);
  } catch (error) {
    if (error instanceof ZstdError) broken(`not one plain frame for ${size} bytes: ${error.message}`);
    throw error;
  }
}

/** Places of the planes, with all lengths checked before any of them is decoded. */
function listPlanes(stored, size, item) {
  const count = Math.floor(size / item);
  let at = 9 * item;
  if (stored.length < at) broken('a block of planes ends in its headers');
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  const planes = [];
  for (let p = 0; p < item; p += 1) {
    const mode = stored[9 * p];
    const length = view.getBigUint64(9 * p + 1, true);
    if (length > BigInt(stored.length - at)) broken('a plane is longer than its block');
    if (mode > 1) broken('a plane has an unknown mode');
    if (mode === 0 && length !== BigInt(count)) broken('a raw plane has another length than it has to');
    if (mode === 1 && count === 0) broken('a plane of no bytes is compressed');
    planes.push({ mode, bytes: stored.subarray(at, at + Number(length)) });
    at += Number(length);
  }
  const tail = stored.subarray(at);
  if (tail.length !== size - count * item) broken('the parts of a block of planes do not add up to its size');
  return { planes, tail, count };
}

function decodePlanes(stored, size, item) {
  const { planes, tail, count } = listPlanes(stored, size, item);
  const out = new Uint8Array(size);
  planes.forEach(({ mode, bytes }, p) => {
    const plane = mode === 0 ? bytes : decodeZstd(bytes, count);
    for (let i = 0, at = p; i < count; i += 1, at += item) out[at] = plane[i];
  });
  out.set(tail, count * item);
  return out;
}

/**
 * The function that decodes a block of `size` bytes, for a chain of `{id, parameters}`; undefined for a chain that
 * this reader does not implement.
 * @returns {((stored: Uint8Array, size: number) => Uint8Array) | undefined}
 */
export function chainDecoder(chain) {
  if (chain.length !== 1) return undefined;
  const [{ id, parameters }] = chain;
  if (id === 'zstd') return decodeZstd;
  const item = parameters.get('item');
  if (id !== 'planes' || (item !== 2n && item !== 4n && item !== 8n)) return undefined;
  return (stored, size) => decodePlanes(stored, size, Number(item));
}
