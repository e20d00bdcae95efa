/** Metadata of a root (section 6.8): integers are BigInt, floats Number, objects Map. */

import { MAXJSON } from './limits.js';

const DECIMAL = /^-?[1-9][0-9]*$/;
const FLOATS = new Map([['nan', NaN], ['inf', Infinity], ['-inf', -Infinity]]);

const outside = (value) => value > MAXJSON || value < -MAXJSON;

function tagged(name, value, fail) {
  if (name === '$int' && typeof value === 'string' && value.length <= 4096 && DECIMAL.test(value)) {
    const integer = BigInt(value);
    if (outside(integer)) return integer;
  }
  if (name === '$float' && FLOATS.has(value)) return FLOATS.get(value);
  return fail(`metadata has a tag that is not one of the format: ${name}`);
}

/** The object with its values decoded: the same Map, unless it is a tag or has names that lose a `$`. */
function decodeObject(members, fail, top) {
  let escaped = false;
  for (const [name, value] of members) {
    if (name.startsWith('$') && !name.startsWith('$$')) {
      if (top || members.size > 1) fail(`metadata has a tag where there can be none: ${name}`);
      return tagged(name, value, fail);
    }
    escaped ||= name.startsWith('$');
    members.set(name, decode(value, fail));
  }
  return escaped ? new Map([...members].map(([name, value]) => [name.startsWith('$') ? name.slice(1) : name, value])) : members;
}

function decode(value, fail) {
  if (typeof value === 'bigint') return outside(value) ? fail('metadata has an integer that needs a tag') : value;
  if (value instanceof Map) return decodeObject(value, fail, false);
  if (Array.isArray(value)) value.forEach((element, i) => { value[i] = decode(element, fail); });
  return value;
}

/**
 * The user's values of the member `metadata`, decoded in place.
 * @param {Map<string, unknown>} members the JSON object as it was read
 * @param {(what: string) => never} fail
 */
export function decodeMetadata(members, fail) {
  return decodeObject(members, fail, true);
}
