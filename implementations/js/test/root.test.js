import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Checkpoint, list, MemoryStore, newest } from '../src/index.js';
import { build, bytesOf, concat, digestOf, refused, rootOf, utf8 } from './build.js';

const open = (bytes, options) => Checkpoint.open(new MemoryStore([['c/checkpoint.json', bytes]]), 'c', options);
const edited = (edit, text) => build({ edit: ({ root }) => edit(root), text }).store;

test('gives what the root says', async () => {
  const { store, digest } = build();
  const { root } = await Checkpoint.open(store, 'c', { expect: digest });
  assert.equal(root.digest, digest);
  assert.equal(root.sequence, 1n);
  assert.equal(root.items.get('model').kind, 'model');
  assert.equal(root.items.get('model').counts.bytes, 30n);
});

test('metadata keeps its types', async () => {
  const json = '{"a":1,"b":1.0,"c":{"$int":"18446744073709551615"},"d":{"$float":"-inf"},"$$price":3,"e":{"$$$x":[null,true,"t"]},"z":-0.0}';
  const store = edited((root) => { root.metadata = 0; }, (text) => text.replace('"metadata":0', () => `"metadata":${json}`));
  const { metadata } = (await Checkpoint.open(store, 'c')).root;
  assert.equal(metadata.get('a'), 1n);
  assert.equal(metadata.get('b'), 1);
  assert.equal(metadata.get('c'), 2n ** 64n - 1n);
  assert.equal(metadata.get('d'), -Infinity);
  assert.equal(metadata.get('$price'), 3n);
  assert.deepEqual(metadata.get('e').get('$$x'), [null, true, 't']);
  assert.ok(Object.is(metadata.get('z'), -0));
});

test('metadata that is refused', async () => {
  const bad = [
    '{"a":9007199254740992}', '{"a":{"$int":"5"}}', '{"a":{"$int":"018446744073709551616"}}', '{"a":{"$int":5}}',
    '{"a":{"$float":"NaN"}}', '{"a":{"$what":1}}', '{"a":{"$int":"18446744073709551616","b":1}}', '{"$int":"18446744073709551616"}',
    '{"a":{"$":1}}', `{"a":{"$int":"1${'0'.repeat(4096)}"}}`, '[]',
  ];
  for (const json of bad) {
    const store = edited((root) => { root.metadata = 0; }, (text) => text.replace('"metadata":0', () => `"metadata":${json}`));
    await refused(assert, Checkpoint.open(store, 'c'), 'root.schema');
  }
});

test('the order of the first checks', async () => {
  const { store } = build();
  const bytes = store.objects.get('c/checkpoint.json');
  await refused(assert, Checkpoint.open(store, 'other'), 'checkpoint.missing');
  await refused(assert, open(utf8('{"scf":2,')), 'version.unsupported');
  await refused(assert, open(utf8('{"scf":01,')), 'version.unsupported');
  await refused(assert, open(utf8('{"scf":1 ,')), 'root.syntax');
  await refused(assert, open(utf8('')), 'root.syntax');
  await refused(assert, open(utf8('{"scf":,')), 'root.syntax');
  await refused(assert, open(concat(bytesOf('efbbbf'), bytes)), 'root.syntax');
  await refused(assert, open(bytes.subarray(0, bytes.length - 1)), 'root.digest');
  await refused(assert, Checkpoint.open(store, 'c', { expect: '0'.repeat(64) }), 'root.digest');
  await refused(assert, Checkpoint.open(store, 'c', { expect: 'no digest' }), 'usage.invalid');
  await refused(assert, open(rootOf('"x":}')), 'root.syntax');
  await refused(assert, open(rootOf('"features":{"read":["new-thing"]}} ')), 'feature.unsupported');
  await refused(assert, open(rootOf('"features":{"read":["new-thing",1]}} ')), 'root.schema');
  const upper = bytes.slice();
  upper.set(utf8(digestOf(bytes).toUpperCase()), 19);
  await refused(assert, open(upper), 'root.syntax');
});

test('a root that is too large is not read', async () => {
  let asked = 0;
  const store = { get: async (key, limit) => { asked = limit; throw Object.assign(new Error('large'), { code: 'x' }); } };
  await refused(assert, Checkpoint.open(store, 'c'), 'store.io');
  assert.equal(asked, 67108864);
  await refused(assert, open(new Uint8Array(67108865)), 'limit.exceeded');
});

const EDITS = {
  'a missing member': (root) => { delete root.spec; },
  'an attempt outside the grammar': (root) => { root.attempt = 'ABC'; },
  'a time that does not exist': (root) => { root.created = '2026-02-29T00:00:00Z'; },
  'the year 0': (root) => { root.created = '0000-01-01T00:00:00Z'; },
  'a leap second': (root) => { root.created = '2026-06-30T23:59:60Z'; },
  'an hour that does not exist': (root) => { root.created = '2026-01-01T24:00:00Z'; },
  'a minute that does not exist': (root) => { root.created = '2026-01-01T00:60:00Z'; },
  'sequence 0': (root) => { root.sequence = 0; },
  'a parent that is no digest': (root) => { root.parent = 'F'.repeat(64); },
  'features out of order': (root) => { root.features.write = ['b', 'a']; },
  'features twice': (root) => { root.features.write = ['a', 'a']; },
  'an item name outside the grammar': (root) => { root.items['.x'] = root.items.model; },
  'the item checkpoint.json': (root) => { root.items['checkpoint.json'] = root.items.model; },
  'external with its own name': (root) => { root.external = [{ checkpoint: 'c', digest: '0'.repeat(64) }]; },
  'external out of order': (root) => { root.external = ['b', 'a'].map((checkpoint) => ({ checkpoint, digest: '0'.repeat(64) })); },
  'both keys': (root) => { root.items.model.assets['config.json'].store_key = 'a/model/config.json'; },
  'a store_key that is not listed': (root) => {
    const asset = root.items.model.assets['config.json'];
    delete asset.key;
    asset.store_key = 'a/model/config.json';
  },
  'a key that climbs': (root) => { root.items.model.assets['config.json'].key = 'model/../config.json'; },
  'a key of another item': (root) => { root.items.model.assets['config.json'].key = 'other/config.json'; },
  'an asset name that climbs': (root) => { root.items.model.assets = { '../x': { ...root.items.model.assets['config.json'], key: 'model/../x' } }; },
  'an asset with the name of a manifest': (root) => {
    const name = 'manifest-3f9c2a71d0b84e55.msgpack.zst';
    root.items.model.assets = { [name]: { ...root.items.model.assets['config.json'], key: `model/${name}` } };
  },
  'an asset in a directory for displaced ones': (root) => {
    const name = '0123456789abcdef.d/x';
    root.items.model.assets = { [name]: { ...root.items.model.assets['config.json'], key: `model/${name}` } };
  },
  'an asset that is a directory of another': (root) => {
    const asset = root.items.model.assets['config.json'];
    root.items.model.assets = { 'a/b': { ...asset, key: 'model/a/b' }, a: { ...asset, key: 'model/a' } };
  },
  'counts that lack one': (root) => { delete root.items.model.counts.bytes; },
  'a float where an integer has to be': (root) => { root.items.model.counts.bytes = 1.5; },
};

for (const [what, edit] of Object.entries(EDITS)) {
  test(`refuses ${what}`, async () => refused(assert, Checkpoint.open(edited(edit), 'c'), 'root.schema'));
}

test('accepts what it does not know', async () => {
  const store = edited((root) => {
    root.later = { deep: [1, { x: null }] };
    root.encryption = {};
    root.features.write = ['something'];
    root.items.model.kind = 'new';
    root.items.model.assets['config.json'].extra = 1;
    root.spec = '7.3';
  });
  const { root } = await Checkpoint.open(store, 'c');
  assert.equal(root.items.get('model').kind, 'other');
});

test('names of the caller', async () => {
  const { store } = build();
  for (const name of ['..', '.', '', 'a/b', '.tombstones', 'x'.repeat(129), 'ä']) {
    await refused(assert, Checkpoint.open(store, name), 'key.invalid');
  }
  const checkpoint = await Checkpoint.open(store, 'c');
  await refused(assert, checkpoint.item('../x'), 'key.invalid');
  await refused(assert, checkpoint.item('optimizer'), 'item.missing');
  await refused(assert, checkpoint.asset('model', 'nothing'), 'asset.missing');
});

test('the newest has the highest sequence, then the greatest digest', async () => {
  const store = new MemoryStore();
  const roots = [[3, 'a'], [7, 'b'], [7, 'c'], [7, 'd'], [7, 'e'], [7, 'f'], [5, 'g']].map(([sequence, name]) => {
    const root = edited((own) => { own.sequence = sequence; own.metadata = { name }; }).objects.get('c/checkpoint.json');
    store.objects.set(`${name}/checkpoint.json`, root);
    return { name, sequence, digest: digestOf(root) };
  });
  store.objects.set('broken/checkpoint.json', utf8('{'));
  store.objects.set('leftover/model/x', utf8('{'));
  store.objects.set('.tombstones/a.0000000000000000.json', utf8('{'));
  const listed = await list(store);
  assert.deepEqual(listed.map(({ name }) => name), ['a', 'b', 'broken', 'c', 'd', 'e', 'f', 'g']);
  const { newest: best, unreadable } = newest(listed);
  const greatest = roots.filter(({ sequence }) => sequence === 7).map(({ digest }) => digest).sort().at(-1);
  assert.equal(best.root.digest, greatest);
  assert.equal(newest([...listed].reverse()).newest.root.digest, greatest);
  assert.deepEqual(unreadable.map(({ name, error }) => [name, error.code]), [['broken', 'root.syntax']]);
});
