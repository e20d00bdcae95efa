/** Dtypes and codec chains of a manifest (section 7.4). */

import { chainDecoder } from '../codecs.js';
import { DTYPES, DTYPE_NAME } from '../dtypes.js';
import { FORMAT } from '../limits.js';
import { MapNode, NanBits } from '../nodes.js';
import { compareText, toHex } from '../text.js';
import { array, integer, map, refuse, text } from './values.js';

/** Name, bits and, if the dtype is known, its row of the registry, of each dtype number. */
export function readDtypes(top) {
  const names = array(top.get('dtypes'), 'dtypes');
  if (names.length > FORMAT.dtypes) refuse('there are too many dtypes');
  names.forEach((name) => {
    if (!DTYPE_NAME.test(text(name, 'a dtype'))) refuse(`not a dtype name: ${name}`);
  });
  if (new Set(names).size !== names.length) refuse('dtypes has a name twice');
  const bits = top.has('dtype_bits') ? array(top.get('dtype_bits'), 'dtype_bits') : null;
  if (bits && bits.length !== names.length) refuse('dtype_bits has another length than dtypes');
  return names.map((name, i) => {
    const known = DTYPES.get(name) ?? null;
    if (!bits && !known) refuse(`the bits of dtype ${name} are not stated`);
    const stated = bits ? integer(bits[i], 'dtype_bits', 1n, FORMAT.dtypeBits) : known.bits;
    if (known && known.bits !== stated) refuse(`dtype_bits contradicts the registry for ${name}`);
    return { name, bits: stated, known };
  });
}

const scratch = new DataView(new ArrayBuffer(8));

/** A text that is equal for two values exactly if they are equal in kind and value. */
function canonical(value) {
  if (typeof value === 'string') return `s${JSON.stringify(value)}`;
  if (typeof value === 'bigint') return `i${value}`;
  if (typeof value === 'number') {
    scratch.setFloat64(0, value);
    return `f${scratch.getBigUint64(0)}`;
  }
  if (value instanceof NanBits) return `f${value.bits}`;
  if (value instanceof Uint8Array) return `b${toHex(value)}`;
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!(value instanceof MapNode)) return String(value);
  const members = [...value].map(([key, own]) => `${canonical(key)}:${canonical(own)}`);
  return `{${members.sort(compareText).join()}}`;
}

function readChain(value, number) {
  const codecs = array(value, 'a codec chain');
  if (codecs.length > FORMAT.chain) refuse('a codec chain is too long');
  if ((codecs.length === 0) !== (number === 0)) refuse('the first codec chain, and no other, is empty');
  const chain = codecs.map((codec) => {
    const id = text(map(codec, 'a codec').get('id'), 'the id of a codec');
    if (id === '') refuse('the id of a codec is empty');
    return { id, parameters: codec };
  });
  return { name: chain.map(({ id }) => id).join('+'), decode: number === 0 ? null : chainDecoder(chain) };
}

/** The chains; `decode` is null of chain 0, and undefined of those that this reader does not implement. */
export function readCodecs(top) {
  const chains = array(top.get('codecs'), 'codecs');
  if (chains.length < 1 || chains.length > FORMAT.codecs) refuse('there are no codec chains, or too many');
  const read = chains.map(readChain);
  if (new Set(chains.map(canonical)).size !== chains.length) refuse('two codec chains are equal');
  return read;
}
