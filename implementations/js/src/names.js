/** Grammars of keys and names (chapter 5 of the specification). */

import { ScfError } from './errors.js';
import { utf8Length } from './text.js';

const CHECKPOINT = /^(?!\.{1,2}$)(?!\.tombstones$)[A-Za-z0-9._-]{1,128}$/;
const ITEM = /^(?!checkpoint\.json$)[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const ATTEMPT = /^[0-9a-f]{16}$/;
const MANIFEST = /^manifest-([0-9a-f]{16})\.msgpack\.zst$/;
const OBJECT = /^[0-9a-f]{16}-([0-9]{5}|[1-9][0-9]{5,18})\.safetensors$/;
const DISPLACED = /^[0-9a-f]{16}\.d$/;
const RESERVED_ASSET = /^(?:manifest-[0-9a-f]{16}\.msgpack\.zst|[0-9a-f]{16}-[0-9]+\.safetensors)$/;
const TEMPORARY = /^\.(?:tmp|probe)-[0-9a-f]{16}$/;
const ASSET_SEGMENT = /^[^\u0000-\u001f\u007f\\:*?"<>|/]+$/;
const MAX_NUMBER = '9223372036854775807';

export const ROOT_KEY = 'checkpoint.json';

export const isCheckpointName = (text) => CHECKPOINT.test(text);
export const isItemName = (text) => ITEM.test(text);
export const isAttempt = (text) => ATTEMPT.test(text);

/** Whether a text is an asset name by itself; that none is a directory of another is checked for a whole item. */
export function isAssetName(text) {
  if (utf8Length(text) > 900 || RESERVED_ASSET.test(text)) return false;
  const segments = text.split('/');
  if (segments.length > 8 || DISPLACED.test(segments[0]) || TEMPORARY.test(segments[segments.length - 1])) return false;
  return segments.every((part) => ASSET_SEGMENT.test(part) && part !== '.' && part !== '..' && utf8Length(part) <= 255);
}

/** The name among an item's asset names that is at once a directory of another one, or null. */
export function assetThatIsDirectory(names) {
  const all = new Set(names);
  for (const name of all) {
    for (let at = name.indexOf('/'); at !== -1; at = name.indexOf('/', at + 1)) {
      if (all.has(name.slice(0, at))) return name.slice(0, at);
    }
  }
  return null;
}

function split(key) {
  const slash = key.indexOf('/');
  return slash === -1 ? [key, ''] : [key.slice(0, slash), key.slice(slash + 1)];
}

/** Item and attempt of a manifest key, or null. */
export function parseManifestKey(key) {
  const [item, rest] = split(key);
  const match = MANIFEST.exec(rest);
  return match && isItemName(item) ? { item, attempt: match[1] } : null;
}

/** Item of a data object key, or null. */
export function parseObjectKey(key) {
  const [item, rest] = split(key);
  const match = OBJECT.exec(rest);
  if (!match || !isItemName(item)) return null;
  return match[1].length === MAX_NUMBER.length && match[1] > MAX_NUMBER ? null : { item };
}

/** Item of a key under which the asset of this name can lie, or null. */
export function parseAssetKey(key, name) {
  const [item, rest] = split(key);
  if (!isItemName(item)) return null;
  const [first, displaced] = split(rest);
  return rest === name || (DISPLACED.test(first) && displaced === name) ? { item } : null;
}

/** Checkpoint and the key relative to it, of a key relative to the store; null if the first segment is no name. */
export function parseStoreKey(storeKey) {
  const [checkpoint, key] = split(storeKey);
  return isCheckpointName(checkpoint) ? { checkpoint, key } : null;
}

/** Refuses a checkpoint name of the caller that is outside the grammar. */
export function requireCheckpointName(name) {
  if (typeof name !== 'string' || !isCheckpointName(name)) {
    throw new ScfError('key.invalid', `not a checkpoint name: ${JSON.stringify(name)}`, { subject: String(name) });
  }
}

/** Refuses an item name of the caller that is outside the grammar. */
export function requireItemName(name) {
  if (typeof name !== 'string' || !isItemName(name)) {
    throw new ScfError('key.invalid', `not an item name: ${JSON.stringify(name)}`, { subject: String(name) });
  }
}
