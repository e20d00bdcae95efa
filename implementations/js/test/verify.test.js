import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { verify } from '../src/index.js';
import { DirectoryStore } from '../src/node.js';
import { build, bytesOf, column, concat, dataObject, example, MANIFEST_KEY, OBJECT_KEY, refused, sha256, utf8 } from './build.js';

const codes = async ({ store }, options) => (await verify(store, 'c', options)).findings.map(({ code }) => code).sort();
const OBJECT = `c/${OBJECT_KEY}`;

test('sound checkpoints', async () => {
  const store = new DirectoryStore(fileURLToPath(new URL('../../../spec/example', import.meta.url)));
  assert.deepEqual(await verify(store, 'step_2'), { sound: true, findings: [] });
  assert.deepEqual(await verify(build().store, 'c'), { sound: true, findings: [] });
  assert.deepEqual(await verify(build().store, 'c', { deep: false }), { sound: true, findings: [] });
});

test('a name that is none', async () => refused(assert, verify(build().store, '../c'), 'key.invalid'));

test('roots and manifests', async () => {
  const missing = build();
  missing.store.objects.delete('c/checkpoint.json');
  assert.deepEqual(await codes(missing), ['checkpoint.missing']);
  const damaged = build();
  damaged.store.objects.get('c/checkpoint.json')[300] ^= 1;
  assert.deepEqual(await codes(damaged), ['root.digest']);
  const gone = build();
  gone.store.objects.delete(`c/${MANIFEST_KEY}`);
  gone.store.objects.delete('c/model/config.json');
  assert.deepEqual(await codes(gone), ['asset.missing', 'manifest.missing']);
});

test('all of the damage at once', async () => {
  const broken = build();
  const object = broken.store.objects.get(OBJECT);
  object[100] ^= 1;
  object[4096] ^= 1;
  object[4125] ^= 1;
  broken.store.objects.set('c/model/config.json', utf8('[]'));
  const { findings } = await verify(broken.store, 'c');
  assert.deepEqual(findings.map(({ code }) => code).sort(), ['asset.digest', 'block.digest', 'block.digest', 'object.header_digest']);
  assert.deepEqual(await codes(broken, { deep: false }), []);
  assert.ok(findings.filter(({ code }) => code === 'block.digest').every(({ subject }) => subject.includes(OBJECT_KEY)));
});

test('presence and sizes are checked in both depths', async () => {
  const broken = build();
  broken.store.objects.set(OBJECT, broken.store.objects.get(OBJECT).subarray(1));
  broken.store.objects.set('c/model/config.json', utf8('{} '));
  assert.deepEqual(await codes(broken, { deep: false }), ['asset.size', 'object.size']);
  broken.store.objects.delete(OBJECT);
  assert.deepEqual(await codes(broken), ['asset.size', 'object.missing']);
});

test('counts', async () => {
  assert.deepEqual(await codes(build({ edit: ({ root }) => { root.items.model.counts.bytes = 31; } })), ['manifest.schema']);
});

test('bytes that no shard covers', async () => {
  const hole = build({
    edit: (parts) => {
      parts.object = concat(parts.object, Uint8Array.of(0));
      parts.manifest.objects[0].size = parts.object.length;
    },
  });
  assert.deepEqual(await codes(hole, { deep: false }), ['manifest.schema']);
});

test('two shards with one entry name', async () => {
  const twice = build({
    edit: ({ manifest }) => {
      manifest.shards.columns.entry_size = column(2, [1, 1, 0]);
      manifest.shards.columns.entry = utf8('xx');
    },
  });
  assert.ok((await codes(twice, { deep: false })).includes('manifest.schema'));
});

test('what is not known is not sound', async () => {
  const dtype = build({ edit: ({ manifest }) => { manifest.dtypes = ['F31', 'BF16']; manifest.dtype_bits = [32, 16]; } });
  assert.deepEqual(await codes(dtype), ['dtype.unsupported']);
  const digest = build({ edit: ({ manifest }) => { manifest.objects[0].digest = 'md5'; } });
  assert.deepEqual(await codes(digest), ['digest.unsupported']);
  const outage = build();
  outage.store.getRange = async () => { throw new Error('outage'); };
  assert.ok((await codes(outage)).includes('store.io'));
});

/** The example with another header. */
function withHeader(header, edit = () => {}) {
  return build({
    edit: (parts) => {
      parts.object = dataObject(header, parts.object.subarray(4096));
      parts.manifest.objects[0].header_digest = sha256(parts.object.subarray(0, 4096));
      edit(parts);
    },
  });
}

const ROW = '"w@[0:1,0:3]":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}';
const NEXT = '"w@[1:2,0:3]":{"dtype":"F32","shape":[1,3],"data_offsets":[12,24]}';
const LAST = '"b":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]}';

test('headers that are accepted', async () => {
  assert.deepEqual(await codes(withHeader(`{${ROW},${NEXT},${LAST}}`)), []);
  assert.deepEqual(await codes(withHeader(`{${ROW}, ${NEXT},\n${LAST},"__metadata__":{"a":"b"}}`)), []);
});

const HEADERS = {
  'a leading space': ` {${ROW},${NEXT},${LAST}}`,
  'a line feed at the end': `{${ROW},${NEXT},${LAST}}\n`,
  'a name twice': `{${ROW},${NEXT},${LAST},"b":{"dtype":"BF16","shape":[0],"data_offsets":[30,30]}}`,
  'entries out of order': `{${NEXT},${ROW},${LAST}}`,
  'an unknown member': `{${ROW},${NEXT},${LAST.replace('}', ',"more":1}')}}`,
  'a member that is absent': `{${ROW},${NEXT},${LAST.replace('"shape":[3],', '')}}`,
  'metadata that is no text': `{"__metadata__":{"a":1},${ROW},${NEXT},${LAST}}`,
  'metadata that is no map': `{"__metadata__":[],${ROW},${NEXT},${LAST}}`,
  'a float in a shape': `{${ROW},${NEXT},${LAST.replace('[3]', '[3.0]')}}`,
  'a shape of other bytes': `{${ROW},${NEXT},${LAST.replace('[3]', '[2]')}}`,
  'another shape of the same bytes': `{${ROW},${NEXT},${LAST.replace('[3]', '[3,1]')}}`,
  'another dtype of the same bytes': `{${ROW},${NEXT},${LAST.replace('BF16', 'F16')}}`,
  'an unknown dtype': `{${ROW},${NEXT},${LAST.replace('BF16', 'F17')}}`,
  'a hole': `{${ROW},${NEXT},${LAST.replace('24,30', '25,31')}}`,
  'bytes that no entry has': `{${ROW},${NEXT}}`,
  'an entry more': `{${ROW},${NEXT},${LAST},"x":{"dtype":"U8","shape":[0],"data_offsets":[30,30]}}`,
  'another name': `{${ROW},${NEXT},${LAST.replace('"b"', '"c"')}}`,
  'a huge shape': `{${ROW},${NEXT},${LAST.replace('[3]', `[${new Array(100).fill('9223372036854775807')}]`)}}`,
  'no object': '[]',
};

for (const [what, header] of Object.entries(HEADERS)) {
  test(`a header with ${what}`, async () => {
    const found = await codes(withHeader(header));
    assert.ok(found.length > 0 && found.every((code) => code === 'object.header'), String(found));
  });
}

test('digests of decoded bytes', async () => {
  // `b` as one frame of one raw block
  const data = example().object.subarray(4120);
  const stored = concat(bytesOf('28b52ffd 20 06 310000'), data);
  const encoded = (decoded) => {
    const entry = `"b@[0:3]+enc":{"dtype":"U8","shape":[${stored.length}],"data_offsets":[24,${24 + stored.length}]}`;
    return withHeader(`{${ROW},${NEXT},${entry}}`, (parts) => {
      parts.object = concat(parts.object.subarray(0, 4120), stored);
      parts.manifest.codecs = [[], [{ id: 'zstd' }]];
      parts.manifest.objects[0].size = parts.object.length;
      const { columns } = parts.manifest.shards;
      columns.codec = column(2, [0, 0, 1]);
      columns.stored_size = column(8, [12, 12, stored.length]);
      columns.block_stored_size = column(8, [stored.length]);
      columns.block_digest = concat(columns.block_digest.subarray(0, 64), sha256(stored));
      columns.decoded_digest = decoded;
    });
  };
  assert.deepEqual(await codes(encoded(sha256(data))), []);
  assert.deepEqual(await codes(encoded(new Uint8Array(32))), ['block.digest']);
  assert.deepEqual(await codes(encoded(new Uint8Array(32)), { deep: false }), []);
});

test('an explicit entry name is the one that counts', async () => {
  const named = withHeader(`{${ROW},${NEXT},${LAST.replace('"b"', '"other"')}}`, ({ manifest }) => {
    manifest.shards.columns.entry_size = column(2, [0, 0, 5]);
    manifest.shards.columns.entry = utf8('other');
  });
  assert.deepEqual(await codes(named), []);
});

test('objects of another checkpoint', async () => {
  const carried = (more = new Uint8Array(0)) => {
    const built = build({
      edit: ({ manifest, root }) => {
        const [object] = manifest.objects;
        object.store_key = `a/${object.key}`;
        delete object.key;
        object.size += more.length;
        root.external = [{ checkpoint: 'a', digest: '0'.repeat(64) }];
      },
    });
    built.store.objects.set(`a/${OBJECT_KEY}`, concat(example().object, more));
    built.store.objects.delete(OBJECT);
    return built;
  };
  assert.deepEqual(await codes(carried()), []);
  assert.deepEqual(await codes(carried(Uint8Array.of(1))), ['object.header']);
  const gone = carried();
  gone.store.objects.clear();
  for (const [key, bytes] of carried().store.objects) if (key !== `a/${OBJECT_KEY}`) gone.store.objects.set(key, bytes);
  assert.deepEqual(await codes(gone), ['external.missing']);
});

test('an item of another checkpoint', async () => {
  const carried = (edit = () => {}) => {
    const built = build({
      edit: ({ manifest, root }) => {
        root.external = [{ checkpoint: 'a', digest: '0'.repeat(64) }];
        edit(manifest);
      },
      text: (json) => json.replace(`"key":"${MANIFEST_KEY}"`, `"store_key":"a/${MANIFEST_KEY}"`),
    });
    for (const key of [MANIFEST_KEY, OBJECT_KEY]) {
      built.store.objects.set(`a/${key}`, built.store.objects.get(`c/${key}`));
      built.store.objects.delete(`c/${key}`);
    }
    return built;
  };
  assert.deepEqual(await codes(carried()), []);
  const byBase = carried(({ objects: [object] }) => {
    object.store_key = `a/${object.key}`;
    delete object.key;
  });
  assert.deepEqual(await codes(byBase), ['manifest.schema']);
});
