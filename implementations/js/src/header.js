/** Headers of data objects: the safetensors profile of chapter 9, and whether a header says what the shards do. */

import { CONTAINER_BITS } from './dtypes.js';
import { ScfError } from './errors.js';
import { JsonError, JsonReader } from './json.js';
import { FORMAT, MAXINT } from './limits.js';

const ENTRY = new Set(['dtype', 'shape', 'data_offsets']);

class Wrong extends Error {}

const wrong = (message) => {
  throw new Wrong(message);
};

const isSize = (value) => typeof value === 'bigint' && value >= 0n && value <= MAXINT;

/** Bits of a shape of elements; null if there are more than the format allows. */
function bitsOf(shape, bits) {
  if (shape.includes(0n)) return 0n;
  let all = bits;
  for (const size of shape) {
    all *= size;
    if (all > 8n * MAXINT) return null;
  }
  return all;
}

/** Reads the value of an entry's member. */
function readEntry(reader) {
  const entry = new Map();
  reader.object((member) => {
    if (!ENTRY.has(member)) wrong(`an entry has the member ${member}`);
    entry.set(member, reader.value());
  });
  const dtype = entry.get('dtype');
  const shape = entry.get('shape');
  const offsets = entry.get('data_offsets');
  if (typeof dtype !== 'string') wrong('an entry has no dtype');
  if (!Array.isArray(shape) || !shape.every(isSize)) wrong('an entry has no shape, or one that cannot be');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) wrong('an entry has no data_offsets');
  return { dtype, shape, begin: offsets[0], end: offsets[1] };
}

function readMetadata(reader) {
  if (reader.text[reader.at] !== '{') wrong('__metadata__ is not an object');
  reader.object(() => {
    if (reader.text[reader.at] !== '"') wrong('__metadata__ has a value that is not text');
    reader.value(false);
  });
}

/** Entries of the JSON of a header, name → entry, in order. */
function readJson(bytes) {
  if (bytes[0] !== 0x7b) wrong('it does not begin with {');
  const reader = new JsonReader(bytes);
  const entries = new Map();
  reader.object((name) => {
    if (name === '__metadata__') readMetadata(reader);
    else if (reader.text[reader.at] === '{') entries.set(name, readEntry(reader));
    else wrong(`the entry ${name} is not an object`);
  });
  reader.end(' ');
  return entries;
}

function checkEntry(name, { dtype, shape, begin, end }, at, foreign) {
  if (begin !== at || end < begin) wrong(`the entry ${name} does not begin where the one before ends`);
  const bits = CONTAINER_BITS.get(dtype);
  if (bits === undefined) {
    if (!foreign.has(name)) wrong(`the entry ${name} has the dtype ${dtype}`);
  } else if (bitsOf(shape, bits) !== 8n * (end - begin)) {
    wrong(`the entry ${name} has not the bytes of its dtype and shape`);
  }
}

/**
 * Entries of the header of a data object; refused unless it is one of the profile.
 * @param {Uint8Array} bytes the bytes [0, data_start) of the object
 * @param {import('./manifest/objects.js').DataObject} object
 * @param {Set<string>} foreign names of entries whose dtype this reader does not know
 */
export function readHeader(bytes, { storeKey, size, dataStart }, foreign) {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const n = view.getBigUint64(0, true);
    if (n < 2n || n > FORMAT.headerBytes || n + 8n !== dataStart) wrong('its size is not the one that the manifest states');
    const entries = readJson(bytes.subarray(8));
    let at = 0n;
    for (const [name, entry] of entries) {
      checkEntry(name, entry, at, foreign);
      at = entry.end;
    }
    if (at !== size - dataStart) wrong('its entries do not cover the data');
    return entries;
  } catch (error) {
    if (!(error instanceof Wrong || error instanceof JsonError)) throw error;
    throw new ScfError('object.header', `the header of ${storeKey}: ${error.message}`, { subject: storeKey });
  }
}

const range = (offset, size) => size.map((length, d) => `${offset[d]}:${offset[d] + length}`).join();

/** The entry name of a shard: the stated one, or the one that section 9.4 derives. */
export function entryName(manifest, shard) {
  if (shard.entry !== null) return shard.entry;
  const { box, run, whole, codec } = shard;
  const complete = run[0] === 0n && run[1] === box.size.reduce((all, size) => all * size, 1n);
  const name = manifest.tensors.names[shard.tensor];
  if (codec === 0 && whole && complete) return name;
  return `${name}@[${range(box.offset, box.size)}]${complete ? '' : `(${run[0]}:${run[1]})`}${codec === 0 ? '' : '+enc'}`;
}

/** Dtype and shape that the entry of a shard has to have; null where they are free or not known. */
function container(manifest, shard) {
  if (shard.tensor === null) return null;
  if (shard.codec !== 0) return { dtype: 'U8', shape: [shard.storedSize] };
  const { known } = manifest.tensors.dtype(shard.tensor);
  if (!known) return null;
  const elements = shard.run[1] - shard.run[0];
  const complete = shard.run[0] === 0n && elements === shard.box.size.reduce((all, size) => all * size, 1n);
  const shape = complete ? [...shard.box.size] : [elements];
  if (known.lanes > 1n) shape.push(known.lanes);
  return { dtype: known.container, shape };
}

/** Whether the dtype of a shard's entry is one that this reader cannot judge. */
export function isForeign(manifest, shard) {
  return shard.tensor === null || (shard.codec === 0 && !manifest.tensors.dtype(shard.tensor).known);
}

/** What is wrong with the entry of a shard, or null. */
export function compareEntry(manifest, shard, entry) {
  const { object, offset, storedSize } = shard;
  if (!entry) return 'there is no such entry';
  const begin = offset - object.dataStart;
  if (entry.begin !== begin || entry.end !== begin + storedSize) return 'the entry is at another place';
  const wanted = container(manifest, shard);
  if (!wanted) return null;
  if (entry.dtype !== wanted.dtype) return `the entry has the dtype ${entry.dtype}, not ${wanted.dtype}`;
  const same = entry.shape.length === wanted.shape.length && entry.shape.every((size, d) => size === wanted.shape[d]);
  return same ? null : `the entry has the shape [${entry.shape}], not [${wanted.shape}]`;
}
