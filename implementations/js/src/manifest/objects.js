/** The data objects of a manifest (section 7.6). */

import { ScfError } from '../errors.js';
import { FORMAT } from '../limits.js';
import * as names from '../names.js';
import { array, integer, map, refuse, text } from './values.js';

function missing(what) {
  throw new ScfError('digest.missing', `an element of objects has no ${what}`);
}

/** Where an object lies: the key is checked before it becomes part of any path. */
function readPlace(members, { item, base, external }) {
  if (members.has('key') === members.has('store_key')) refuse('an element of objects has not exactly one of key and store_key');
  if (members.has('key')) {
    const key = text(members.get('key'), 'objects: key');
    if (names.parseObjectKey(key)?.item !== item) refuse(`not a data object key of this item: ${key}`);
    return { own: true, storeKey: `${base}/${key}` };
  }
  const storeKey = text(members.get('store_key'), 'objects: store_key');
  const place = names.parseStoreKey(storeKey);
  if (!place || !names.parseObjectKey(place.key)) refuse(`not a data object key of a checkpoint: ${storeKey}`);
  if (place.checkpoint === base) refuse(`a store_key is in the item's own base: ${storeKey}`);
  if (!external.has(place.checkpoint)) refuse(`a store_key is in a checkpoint that external does not list: ${storeKey}`);
  return { own: false, storeKey };
}

function readObject(value, context) {
  const members = map(value, 'an element of objects');
  const place = readPlace(members, context);
  const size = integer(members.get('size'), 'objects: size');
  const dataStart = integer(members.get('data_start'), 'objects: data_start', FORMAT.alignment, FORMAT.headerBytes + 8n);
  if (dataStart % FORMAT.alignment !== 0n || dataStart > size) refuse('the data start of an object is not at a place where it can be');
  const block = integer(members.get('block'), 'objects: block', FORMAT.minBlock, FORMAT.maxBlock);
  if ((block & (block - 1n)) !== 0n) refuse('the block size of an object is not a power of two');
  if (!members.has('header_digest')) missing('header_digest');
  if (!members.has('digest')) missing('digest');
  const headerDigest = members.get('header_digest');
  if (!(headerDigest instanceof Uint8Array) || headerDigest.length !== 32) refuse('a header_digest is not 32 bytes');
  return { ...place, size, dataStart, block, headerDigest, digest: text(members.get('digest'), 'objects: digest') };
}

/**
 * The data objects by object number; `storeKey` is relative to the store, of own objects too.
 * @typedef {ReturnType<typeof readObject>} DataObject
 * @returns {DataObject[]}
 */
export function readObjects(top, context) {
  const objects = array(top.get('objects'), 'objects').map((value) => readObject(value, context));
  if (new Set(objects.map((object) => object.storeKey)).size !== objects.length) refuse('two elements of objects are one object');
  return objects;
}
