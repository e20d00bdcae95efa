/** The root of a checkpoint (chapter 6): its first bytes, its digest, its members. */

import { ScfError } from './errors.js';
import { JsonError, JsonReader } from './json.js';
import { FORMAT, MAXJSON } from './limits.js';
import { decodeMetadata } from './metadata.js';
import * as names from './names.js';
import { compareText, toHex } from './text.js';

const HEX64 = /^[0-9a-f]{64}$/;
const CREATED = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?Z$/;
const KINDS = new Set(['model', 'optimizer', 'scheduler', 'rng', 'dataloader', 'other']);
const KNOWN = new Set(['scf', 'digest', 'spec', 'attempt', 'created', 'writer', 'features', 'sequence', 'parent']
  .concat(['metadata', 'items', 'external']));
/** Features of `features.read` that this reader implements: 1.0 has none. */
const FEATURES = new Set();

const START = '{"scf":';
const DIGEST_AT = 19;
const DIGEST_END = 83;

const schema = (message) => {
  throw new ScfError('root.schema', message, { subject: names.ROOT_KEY });
};
const syntax = (message) => {
  throw new ScfError('root.syntax', message, { subject: names.ROOT_KEY });
};

/** @typedef {ReturnType<typeof readDescriptor>} Descriptor */

/** Steps 3 and 4 of section 6.1: the bytes before byte 85. Gives the digest that the root states. */
function checkFirstBytes(bytes) {
  const latin = (start, end) => String.fromCharCode(...bytes.subarray(start, end));
  if (latin(0, START.length) === START) {
    let at = START.length;
    while (bytes[at] >= 0x30 && bytes[at] <= 0x39) at += 1;
    const digits = at - START.length;
    if (digits > 0 && bytes[at] === 0x2c && !(digits === 1 && bytes[START.length] === 0x31)) {
      throw new ScfError('version.unsupported', 'the checkpoint is of another major version', { subject: names.ROOT_KEY });
    }
  }
  const stated = latin(DIGEST_AT, DIGEST_END);
  if (latin(0, DIGEST_AT) !== '{"scf":1,"digest":"' || !HEX64.test(stated) || latin(DIGEST_END, 85) !== '",') {
    syntax('the root does not begin as a root does');
  }
  return stated;
}

function checkDigest(bytes, stated, expected, digests) {
  const zeroed = bytes.slice();
  zeroed.fill(0x30, DIGEST_AT, DIGEST_END);
  if (toHex(digests.sha256(zeroed)) !== stated) {
    throw new ScfError('root.digest', 'the root does not have the digest that it states', { subject: names.ROOT_KEY });
  }
  if (expected !== undefined && expected !== null && expected !== stated) {
    throw new ScfError('root.digest', `the root has digest ${stated}, expected was ${expected}`, { subject: names.ROOT_KEY });
  }
}

/** The members that the format knows; all others are checked as JSON and dropped. */
function parse(bytes) {
  try {
    const reader = new JsonReader(bytes);
    const members = new Map();
    reader.object((name) => {
      const value = reader.value(KNOWN.has(name));
      if (KNOWN.has(name)) members.set(name, value);
    });
    reader.end();
    return members;
  } catch (error) {
    if (error instanceof JsonError) syntax(`the root is not JSON of the profile: ${error.message}`);
    throw error;
  }
}

const isTextArray = (value) => Array.isArray(value) && value.every((element) => typeof element === 'string');

function checkFeatures(features) {
  const read = features instanceof Map ? features.get('read') : null;
  for (const name of isTextArray(read) ? read : []) {
    if (!FEATURES.has(name)) {
      throw new ScfError('feature.unsupported', `the checkpoint needs the feature ${JSON.stringify(name)}`, { subject: name });
    }
  }
}

// --- members and their types -------------------------------------------------------------------

function text(value, what) {
  return typeof value === 'string' ? value : schema(`${what} is not a string`);
}

function object(value, what) {
  return value instanceof Map ? value : schema(`${what} is not an object`);
}

function integer(value, what, least = 0n) {
  if (typeof value !== 'bigint') schema(`${what} is not an integer`);
  return value >= least && value <= MAXJSON ? value : schema(`${what} is out of range`);
}

function hex64(value, what) {
  return HEX64.test(text(value, what)) ? value : schema(`${what} is not 64 lower-case hexadecimal digits`);
}

function createdTime(value) {
  const parts = CREATED.exec(text(value, 'created'));
  if (!parts) return schema('created is not a time of the form that the format has');
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number);
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
  const exists = year >= 1 && days !== undefined && day >= 1 && day <= days && hour < 24 && minute < 60 && second < 60;
  return exists ? value : schema('created is a time that does not exist');
}

function featureNames(value, what) {
  if (!isTextArray(value)) schema(`${what} is not an array of strings`);
  value.forEach((name, i) => {
    if (i && compareText(value[i - 1], name) >= 0) schema(`${what} is not sorted, or has a repetition`);
  });
  return value;
}

function readFeatures(value) {
  const features = object(value, 'features');
  const read = featureNames(features.get('read'), 'features.read');
  const write = featureNames(features.get('write'), 'features.write');
  const known = new Set(write);
  if (!read.every((name) => known.has(name))) schema('features.read has a name that features.write lacks');
  return { read, write };
}

function readExternal(value, own) {
  if (!Array.isArray(value)) schema('external is not an array');
  let last = null;
  return value.map((element) => {
    const entry = object(element, 'an element of external');
    const checkpoint = text(entry.get('checkpoint'), 'external: checkpoint');
    const digest = hex64(entry.get('digest'), 'external: digest');
    if (!names.isCheckpointName(checkpoint)) schema('external has a name that is no checkpoint name');
    if (checkpoint === own) schema('external lists the checkpoint itself');
    if (last !== null && compareText(last, checkpoint) >= 0) schema('external is not sorted, or has a repetition');
    last = checkpoint;
    return { checkpoint, digest };
  });
}

/**
 * A descriptor as what it says: `checkpoint` is the one whose object it is, `key` is relative to that one.
 * `parseKey` gives the item and more of a key, or null if it has not the form.
 */
function readDescriptor(value, what, context, item, parseKey) {
  const members = object(value, what);
  if (members.has('key') === members.has('store_key')) schema(`${what} has not exactly one of key and store_key`);
  const external = members.has('store_key');
  const stated = text(members.get(external ? 'store_key' : 'key'), `${what}: key`);
  const size = integer(members.get('size'), `${what}: size`);
  const sha256 = hex64(members.get('sha256'), `${what}: sha256`);
  const place = external ? names.parseStoreKey(stated) : { checkpoint: context.checkpoint, key: stated };
  const parsed = place && parseKey(place.key);
  if (!parsed || (!external && parsed.item !== item)) schema(`${what} has a key of another form: ${stated}`);
  if (external && !context.external.has(place.checkpoint)) schema(`${what} is in a checkpoint that external does not list`);
  return { ...place, ...parsed, external, storeKey: `${place.checkpoint}/${place.key}`, size, sha256 };
}

function readAssets(value, what, context, item) {
  const assets = new Map();
  for (const [name, descriptor] of object(value, what)) {
    if (!names.isAssetName(name)) schema(`${what} has a name that is no asset name: ${name}`);
    assets.set(name, readDescriptor(descriptor, `asset ${name}`, context, item, (key) => names.parseAssetKey(key, name)));
  }
  const directory = names.assetThatIsDirectory(assets.keys());
  if (directory !== null) schema(`${what} has a name that is a directory of another: ${directory}`);
  return assets;
}

function readItem(value, name, context) {
  if (!names.isItemName(name)) schema(`not an item name: ${name}`);
  const members = object(value, `item ${name}`);
  const kind = text(members.get('kind'), `item ${name}: kind`);
  const counts = object(members.get('counts'), `item ${name}: counts`);
  const count = (which) => integer(counts.get(which), `item ${name}: counts.${which}`);
  return {
    kind: KINDS.has(kind) ? kind : 'other',
    manifest: readDescriptor(members.get('manifest'), `item ${name}: manifest`, context, name, names.parseManifestKey),
    rawSize: integer(members.get('raw_size'), `item ${name}: raw_size`),
    counts: { tensors: count('tensors'), shards: count('shards'), objects: count('objects'), bytes: count('bytes') },
    assets: readAssets(members.get('assets'), `item ${name}: assets`, context, name),
  };
}

function readItems(value, context) {
  const members = object(value, 'items');
  if (members.size > FORMAT.items) schema(`items has more than ${FORMAT.items} members`);
  return new Map([...members].map(([name, item]) => [name, readItem(item, name, context)]));
}

/**
 * Checks the bytes of a root in the order of section 6.1, from step 3 on.
 * @param {Uint8Array} bytes all bytes of the object, at most 64 MiB
 * @param {{checkpoint: string, expect?: string | null, digests: Record<string, (bytes: Uint8Array) => Uint8Array>}} options
 */
export function readRoot(bytes, { checkpoint, expect, digests }) {
  const digest = checkFirstBytes(bytes);
  checkDigest(bytes, digest, expect, digests);
  const members = parse(bytes);
  checkFeatures(members.get('features'));
  if (members.get('scf') !== 1n) schema('scf is not 1');
  const attempt = text(members.get('attempt'), 'attempt');
  if (!names.isAttempt(attempt)) schema('attempt is not 16 lower-case hexadecimal digits');
  const writer = object(members.get('writer'), 'writer');
  const parent = members.get('parent');
  const external = readExternal(members.get('external'), checkpoint);
  const context = { checkpoint, external: new Set(external.map((entry) => entry.checkpoint)) };
  return {
    checkpoint,
    digest,
    spec: text(members.get('spec'), 'spec'),
    attempt,
    created: createdTime(members.get('created')),
    writer: { name: text(writer.get('name'), 'writer.name'), version: text(writer.get('version'), 'writer.version') },
    features: readFeatures(members.get('features')),
    sequence: integer(members.get('sequence'), 'sequence', 1n),
    parent: parent === null ? null : hex64(parent, 'parent'),
    metadata: decodeMetadata(object(members.get('metadata'), 'metadata'), schema),
    items: readItems(members.get('items'), context),
    external,
  };
}
