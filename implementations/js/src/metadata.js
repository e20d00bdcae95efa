/** Metadata of a root (section 6.8): integers are BigInt, floats Number, objects Map. */

import { MAXJSON } from './limits.js';

const DECIMAL = /^-?[1-9][0-9]*$/;
const FLOATS = new Map([['nan', NaN], ['inf', Infinity], ['-inf', -Infinity]]);
const EMPTY = Object.freeze(new Map());

const outside = (value) => value > MAXJSON || value < -MAXJSON;

function tagged(name, value, fail) {
  if (name === '$int' && typeof value === 'string' && value.length <= 4096 && DECIMAL.test(value)) {
    const integer = BigInt(value);
    if (outside(integer)) return integer;
  }
  if (name === '$float' && FLOATS.has(value)) return FLOATS.get(value);
  return fail(`metadata has a tag that is not one of the format: ${name}`);
}

function decodeObject(members, fail, top) {
  const result = new Map();
  for (const [name, value] of members) {
    if (!name.startsWith('$')) {
      result.set(name, decode(value, fail));
    } else if (name.startsWith('$$')) {
      result.set(name.slice(1), decode(value, fail));
    } else if (top || members.size > 1) {
      fail(`metadata has a tag where there can be none: ${name}`);
    } else {
      return tagged(name, value, fail);
    }
  }
  return result.size ? result : EMPTY;
}

function decode(value, fail) {
  if (typeof value === 'bigint') return outside(value) ? fail('metadata has an integer that needs a tag') : value;
  if (Array.isArray(value)) return value.map((element) => decode(element, fail));
  return value instanceof Map ? decodeObject(value, fail, false) : value;
}

/**
 * The user's values of the member `metadata`.
 * @param {Map<string, unknown>} members the JSON object as it was read
 * @param {(what: string) => never} fail
 */
export function decodeMetadata(members, fail) {
  return decodeObject(members, fail, true);
}
