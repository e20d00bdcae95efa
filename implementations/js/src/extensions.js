/** Payloads of the extension types of a tree (section 8.2). */

import { DTYPE_NAME } from './dtypes.js';
import { ScfError } from './errors.js';
import { FORMAT } from './limits.js';
import * as nodes from './nodes.js';
import { compareText } from './text.js';

const NO_ZONE = -2147483648;
const CANONICAL_NAN = 0x7ff8000000000000n;

/** Whether a value is one that a plain integer can have. */
const isPlain = (value) => value >= -(2n ** 63n) && value < 2n ** 64n;

const refuse = (message) => {
  throw new ScfError('tree.schema', message);
};

function exactly(size, wanted, name) {
  if (size !== wanted) refuse(`a ${name} has a payload of ${size} bytes`);
}

function tensor(reader, size) {
  exactly(size, 4, 'tensor reference');
  return new nodes.TensorRef(reader.view.getUint32(reader.at, true));
}

/** The one value of a payload, which has to be an array or a map. */
function container(reader, depth, isArray, name) {
  const byte = reader.peek();
  const extension = (byte >= 0xc7 && byte <= 0xc9) || (byte >= 0xd4 && byte <= 0xd8);
  // an extension directly in an extension is refused unread: it would nest without a level
  const value = extension ? undefined : reader.payload(depth);
  const right = isArray ? Array.isArray(value) : value instanceof nodes.MapNode;
  return right ? value : refuse(`a ${name} has a payload of another type`);
}

function tuple(reader, size, depth) {
  return new nodes.Tuple(container(reader, depth, true, 'tuple'));
}

function binary64(view, at) {
  const value = view.getFloat64(at, true);
  if (!Number.isNaN(value)) return value;
  const bits = view.getBigUint64(at, true);
  return bits === CANONICAL_NAN ? NaN : new nodes.NanBits(bits);
}

function complex(reader, size) {
  exactly(size, 16, 'complex number');
  return new nodes.Complex(binary64(reader.view, reader.at), binary64(reader.view, reader.at + 8));
}

function bigint(reader, size) {
  if (size < 9 || size > FORMAT.bigintBytes) refuse(`a bigint has a payload of ${size} bytes`);
  const bytes = reader.bytes.subarray(reader.at, reader.at + size);
  const top = bytes[size - 1];
  const below = bytes[size - 2];
  if ((top === 0 && below < 0x80) || (top === 0xff && below >= 0x80)) refuse('a bigint is not the shortest');
  let digits = '0x';
  for (let i = size - 1; i >= 0; i -= 1) digits += bytes[i].toString(16).padStart(2, '0');
  const value = BigInt.asIntN(8 * size, BigInt(digits));
  if (isPlain(value)) refuse('a bigint has a value that is a plain integer');
  return value;
}

function timestamp(reader, size) {
  exactly(size, 16, 'timestamp');
  const nanoseconds = reader.view.getUint32(reader.at + 8, true);
  const offset = reader.view.getInt32(reader.at + 12, true);
  if (nanoseconds > 999999999) refuse('a timestamp has a second or more of nanoseconds');
  if (offset !== NO_ZONE && Math.abs(offset) > 86399) refuse('a timestamp has an offset of a day or more');
  return new nodes.Timestamp(reader.view.getBigInt64(reader.at, true), nanoseconds, offset === NO_ZONE ? null : offset);
}

/** Refuses a map with other keys than these. */
function exactKeys(map, keys, name) {
  if (map.size !== keys.length || !keys.every((key) => map.has(key))) refuse(`a node ${name} has other keys than it has to`);
}

function indexed(reader, size, depth) {
  const map = container(reader, depth, false, 'node indexed');
  exactKeys(map, ['axis', 'size', 'values'], 'indexed');
  const axis = map.get('axis');
  const count = map.get('size');
  const values = map.get('values');
  if (typeof axis !== 'string') refuse('the axis of a node indexed is not text');
  if (typeof count !== 'bigint' || count < 1n || count > 2n ** 32n - 2n) refuse('the size of a node indexed is out of range');
  if (!(values instanceof nodes.MapNode)) refuse('the values of a node indexed are not a map');
  if (BigInt(values.size) !== count) refuse('a node indexed lacks an index, or has too many');
  const list = new Array(values.size);
  for (const [index, value] of values) {
    if (typeof index !== 'bigint' || index < 0n || index >= count) refuse('an index of a node indexed is out of range');
    list[Number(index)] = value;
  }
  return new nodes.Indexed(axis, list);
}

function set(reader, size, depth) {
  const elements = container(reader, depth, true, 'set');
  const kind = typeof elements[0];
  elements.forEach((element, i) => {
    if ((kind !== 'string' && kind !== 'bigint') || typeof element !== kind) {
      refuse('a set has elements that are neither all text nor all integers');
    }
    if (kind === 'bigint' && !isPlain(element)) refuse('a set has an element that is a bigint');
    const ascending = !i || (kind === 'string' ? compareText(elements[i - 1], element) < 0 : elements[i - 1] < element);
    if (!ascending) refuse('the elements of a set are not in ascending order');
  });
  return new nodes.SetNode(elements);
}

function flattened(reader, size, depth) {
  const map = container(reader, depth, false, 'node flattened');
  exactKeys(map, ['inner', 'attributes'], 'flattened');
  const inner = map.get('inner');
  if (!(inner instanceof nodes.MapNode) || inner.keys.some((key) => typeof key !== 'string')) {
    refuse('inner of a node flattened is not a map with keys of text');
  }
  return new nodes.Flattened(inner, map.get('attributes'));
}

function dtype(reader, size) {
  if (size < 1 || size > 64) refuse(`a dtype has a payload of ${size} bytes`);
  const name = String.fromCharCode(...reader.bytes.subarray(reader.at, reader.at + size));
  return DTYPE_NAME.test(name) ? new nodes.DtypeNode(name) : refuse('a dtype has a name outside the grammar');
}

const KINDS = [null, tensor, tuple, complex, bigint, timestamp, indexed, set, flattened, dtype];

/** Refuses an extension code that is not in the registry. */
function requireRegistered(code) {
  if (!(code >= 1 && code < KINDS.length)) refuse(`extension code ${code} is not one of the format`);
}

/** Node of an extension within the tree. */
export function treeExtension(reader, code, size, depth) {
  requireRegistered(code);
  return KINDS[code](reader, size, depth);
}

/** Refuses an extension outside the tree. */
export function noExtension(reader, code) {
  requireRegistered(code);
  throw new ScfError('manifest.schema', `the manifest has an extension of code ${code} outside its tree`);
}
