import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { Checkpoint, MemoryStore } from '../src/index.js';
import { build, bytesOf, column, concat, example, Ext, Float, frame, hex, MANIFEST_KEY, OBJECT_KEY, pack, Raw, refused, tensor, utf8 } from './build.js';

const opened = async ({ store }, options) => (await Checkpoint.open(store, 'c', options)).item('model');
const withManifest = (edit) => build({ edit: (parts) => edit(parts.manifest, parts) });

test('the raw bytes are those of section 7.9', { skip: !(await readFile(new URL('../../../spec/07-manifest.md', import.meta.url)).catch(() => null)) }, async () => {
  const chapter = await readFile(new URL('../../../spec/07-manifest.md', import.meta.url), 'utf8');
  const printed = /All raw bytes:\s+```\n([0-9a-f\n]+)```/.exec(chapter)[1].replace(/\s/g, '');
  assert.equal(hex(pack(example().manifest)), printed);
});

test('gives tensors and tree', async () => {
  const item = await opened(build());
  assert.deepEqual(item.tensor(0), { number: 0, name: 'w', dtype: 'F32', bits: 32n, shape: [2n, 3n] });
  assert.equal(item.tree.get('step'), 2n);
  assert.deepEqual(item.tensorLeaves(), [{ path: ['w'], number: 0 }, { path: ['b'], number: 1 }]);
});

test('size, digest and presence, in this order', async () => {
  const missing = build();
  missing.store.objects.delete(`c/${MANIFEST_KEY}`);
  await refused(assert, opened(missing), 'manifest.missing');
  const longer = build();
  longer.store.objects.set(`c/${MANIFEST_KEY}`, concat(longer.store.objects.get(`c/${MANIFEST_KEY}`), Uint8Array.of(0)));
  await refused(assert, opened(longer), 'manifest.size');
  const damaged = build();
  damaged.store.objects.get(`c/${MANIFEST_KEY}`)[20] ^= 1;
  await refused(assert, opened(damaged), 'manifest.digest');
});

test('limits', async () => {
  await refused(assert, opened(build(), { limits: { max_manifest_raw_bytes: 663 } }), 'limit.exceeded');
  await refused(assert, opened(build(), { limits: { max_manifest_bytes: 663 } }), 'limit.exceeded');
  await refused(assert, opened(build(), { limits: { max_values: 50 } }), 'limit.exceeded');
  await opened(build(), { limits: { max_manifest_raw_bytes: 664 } });
});

test('the frame', async () => {
  await refused(assert, opened(build({ stored: (bytes) => concat(bytes, frame(new Uint8Array(0))) })), 'manifest.frame');
  await refused(assert, opened(build({ stored: (bytes) => bytes.subarray(0, bytes.length - 1) })), 'manifest.frame');
  await refused(assert, opened(build({ edit: ({ root }) => { root.items.model.raw_size = 663; } })), 'manifest.frame');
});

test('syntax', async () => {
  await refused(assert, opened(build({ raw: (bytes) => concat(bytes, Uint8Array.of(0xc0)) })), 'manifest.syntax');
  await refused(assert, opened(build({ raw: () => pack([]) })), 'manifest.syntax');
  await refused(assert, opened(build({ raw: () => new Uint8Array(0) })), 'manifest.syntax');
  await refused(assert, opened(build({ raw: (bytes) => concat(bytes.subarray(0, 1), pack('item'), pack(1), bytes.subarray(1)) })), 'manifest.syntax', 'manifest.schema');
});

const u64 = (...values) => column(8, values);

const SCHEMA = {
  'scf 2': (m) => { m.scf = 2; },
  'scf 1.0': (m) => { m.scf = new Float(1); },
  'another attempt': (m) => { m.attempt = '0000000000000000'; },
  'another item': (m) => { m.item = 'optimizer'; },
  'no tree': (m) => { delete m.tree; },
  'no dtypes': (m) => { delete m.dtypes; },
  'a dtype twice': (m) => { m.dtypes = ['F32', 'BF16', 'F32']; },
  'a dtype name outside the grammar': (m) => { m.dtypes.push('9F'); },
  'an unknown dtype without bits': (m) => { m.dtypes.push('F128'); },
  'bits that contradict the registry': (m) => { m.dtype_bits = [32, 32]; },
  'bits of another number': (m) => { m.dtype_bits = [32]; },
  'no chain': (m) => { m.codecs = []; },
  'a first chain that is not empty': (m) => { m.codecs = [[{ id: 'zstd' }]]; },
  'two empty chains': (m) => { m.codecs = [[], []]; },
  'two equal chains': (m) => { m.codecs = [[], [{ id: 'x', a: 1, b: [true] }], [{ b: [true], a: 1, id: 'x' }]]; },
  'a codec without id': (m) => { m.codecs = [[], [{ level: 1 }]]; },
  'an empty id': (m) => { m.codecs = [[], [{ id: '' }]]; },
  'a chain of five': (m) => { m.codecs = [[], new Array(5).fill({ id: 'x' })]; },
  'an extension in a parameter': (m) => { m.codecs = [[], [{ id: 'x', p: tensor(0) }]]; },
  'an extension under an unknown key': (m) => { m.more = [new Ext(9, utf8('F32'))]; },
  'a column that is not bin': (m) => { m.tensors.columns.more = 'x'; },
  'a column without a name': (m) => { m.shards.columns = new Map([...Object.entries(m.shards.columns), [1, new Uint8Array(1)]]); },
  'a column that is too long': (m) => { m.tensors.columns.ndim = column(1, [2, 1, 0]); },
  'a column that is absent': (m) => { delete m.shards.columns.offset; },
  'a count beyond the columns': (m) => { m.tensors.count = 3; },
  'a count above the greatest': (m) => { m.tensors.count = 2 ** 32 - 1; },
  'a negative count': (m) => { m.shards.count = -1; },
  'a dtype number out of range': (m) => { m.tensors.columns.dtype = column(2, [0, 2]); },
  'too many dimensions': (m) => { m.tensors.columns.ndim = column(1, [2, 65]); m.tensors.columns.shape = column(8, new Array(67).fill(1)); },
  'a volume above the greatest': (m) => { m.tensors.columns.shape = u64(2n ** 32n, 2n ** 32n, 3); },
  'a product above the greatest in an empty tensor': (m) => { m.tensors.columns.shape = u64(2n ** 62n, 3, 0); },
  'a size above the greatest': (m) => { m.tensors.columns.shape = u64(2n ** 63n, 0, 3); },
  'two tensors of one name': (m) => { m.tensors.columns.name = utf8('ww'); },
  'an empty name': (m) => { m.tensors.columns.name_size = column(2, [2, 0]); },
  'a name that is not UTF-8': (m) => { m.tensors.columns.name = Uint8Array.of(0x77, 0xff); },
  'names of which only the whole is UTF-8': (m) => { m.tensors.columns.name = utf8('é'); },
  'the name __metadata__': (m) => { m.tensors.columns.name = utf8('w__metadata__'); m.tensors.columns.name_size = column(2, [1, 12]); },
  'both keys of an object': (m) => { m.objects[0].store_key = `a/${OBJECT_KEY}`; },
  'a store_key that external does not list': (m) => { delete m.objects[0].key; m.objects[0].store_key = `a/${OBJECT_KEY}`; },
  'a key of another item': (m) => { m.objects[0].key = OBJECT_KEY.replace('model', 'other'); },
  'a key with leading zeros': (m) => { m.objects[0].key = OBJECT_KEY.replace('-00000', '-000000'); },
  'a key that climbs': (m) => { m.objects[0].key = `../${OBJECT_KEY}`; },
  'an object twice': (m) => { m.objects.push(m.objects[0]); },
  'a data start between pages': (m) => { m.objects[0].data_start = 4100; },
  'a data start beyond the object': (m) => { m.objects[0].data_start = 8192; },
  'a data start of 0': (m) => { m.objects[0].data_start = 0; },
  'a block size that is no power of two': (m) => { m.objects[0].block = 12288; },
  'a block size that is too small': (m) => { m.objects[0].block = 2048; },
  'a block size that is too large': (m) => { m.objects[0].block = 2 ** 31; },
  'a size above the greatest': (m) => { m.objects[0].size = 2n ** 63n; },
  'a header digest of 31 bytes': (m) => { m.objects[0].header_digest = new Uint8Array(31); },
  'a digest that is no text': (m) => { m.objects[0].digest = 1; },
  'a tensor number out of range': (m) => { m.shards.columns.tensor = column(4, [0, 0, 2]); },
  'an object number out of range': (m) => { m.shards.columns.object = column(4, [0, 0, 1]); },
  'a codec number out of range': (m) => { m.shards.columns.codec = column(2, [0, 0, 1]); m.shards.columns.stored_size = u64(12, 12, 6); },
  'a box that leaves its tensor': (m) => { m.shards.columns.box_offset = u64(0, 0, 2, 0, 0); },
  'a box whose end overflows': (m) => { m.shards.columns.box_offset = u64(0, 0, 1, 0, 2n ** 64n - 2n); },
  'a box column alone': (m) => { delete m.shards.columns.box_size; },
  'a run column alone': (m) => { m.shards.columns.run_start = u64(0, 0, 0); },
  'an entry column alone': (m) => { m.shards.columns.entry = utf8(''); },
  'a run that leaves its box': (m) => { m.shards.columns.run_start = u64(0, 0, 1); m.shards.columns.run_stop = u64(3, 3, 4); },
  'a run that ends before it starts': (m) => { m.shards.columns.run_start = u64(0, 0, 3); m.shards.columns.run_stop = u64(3, 3, 2); },
  'a run without elements': (m) => { m.shards.columns.run_start = u64(0, 0, 3); m.shards.columns.run_stop = u64(3, 3, 3); },
  'shards out of order': (m) => { m.shards.columns.tensor = column(4, [1, 0, 0]); m.shards.columns.box_offset = u64(0, 0, 0, 1, 0); m.shards.columns.box_size = u64(3, 1, 3, 1, 3); },
  'boxes out of order': (m) => { m.shards.columns.box_offset = u64(1, 0, 0, 0, 0); },
  'a place before the data': (m) => { m.shards.columns.offset = u64(4095, 4108, 4120); },
  'a place after the data': (m) => { m.shards.columns.offset = u64(4096, 4108, 4121); },
  'a place that overflows': (m) => { m.shards.columns.offset = u64(4096, 4108, 2n ** 63n - 1n); },
  'common bytes': (m) => { m.shards.columns.offset = u64(4096, 4107, 4120); },
  'a stored size of another number': (m) => { m.shards.columns.stored_size = u64(12, 12, 7); },
  'too many digests': (m) => { m.shards.columns.block_digest = new Uint8Array(128); },
  'a digest that is cut off': (m) => { m.shards.columns.block_digest = new Uint8Array(95); },
  'block sizes without a codec': (m) => { m.shards.columns.block_stored_size = new Uint8Array(0); },
  'decoded digests without a codec': (m) => { m.shards.columns.decoded_digest = new Uint8Array(0); },
  'the entry name __metadata__': (m) => { m.shards.columns.entry_size = column(2, [0, 0, 12]); m.shards.columns.entry = utf8('__metadata__'); },
  'an entry name that is not UTF-8': (m) => { m.shards.columns.entry_size = column(2, [0, 0, 1]); m.shards.columns.entry = Uint8Array.of(0x80); },
};

for (const [what, edit] of Object.entries(SCHEMA)) {
  test(`refuses ${what}`, async () => refused(assert, opened(withManifest(edit)), 'manifest.schema'));
}

test('digests that are absent', async () => {
  await refused(assert, opened(withManifest((m) => { delete m.objects[0].header_digest; })), 'digest.missing');
  await refused(assert, opened(withManifest((m) => { delete m.objects[0].digest; })), 'digest.missing');
  await refused(assert, opened(withManifest((m) => { delete m.shards.columns.block_digest; })), 'digest.missing');
  await refused(assert, opened(withManifest((m) => { m.shards.columns.block_digest = new Uint8Array(0); })), 'digest.missing');
});

test('trees that are refused', async () => {
  const nested = (levels) => { let node = []; for (let i = 1; i < levels; i += 1) node = [node]; return node; };
  const bad = [
    (m) => { m.tree = []; },
    (m) => { delete m.tree.b; },
    (m) => { m.tree.b = tensor(2); },
    (m) => { m.tree.deep = [nested(63)]; },
    (m) => { m.tree.x = new Ext(77, utf8('')); },
    (m) => { m.more = new Ext(-1, new Uint8Array(4)); },
  ];
  for (const edit of bad) await refused(assert, opened(withManifest(edit)), 'tree.schema');
  await opened(withManifest((m) => { m.tree.deep = nested(63); }));
});

test('what is allowed', async () => {
  await opened(withManifest((m) => { m.more = { x: [1] }; m.tensors.columns.more = new Uint8Array(3); m.objects[0].more = 1; }));
  await opened(withManifest((m) => { m.codecs = [[], [{ id: 'x', a: 1 }], [{ id: 'x', a: new Float(1) }], [{ id: 'x', a: true }], [{ id: 'x', 1: 0 }]]; }));
  await opened(withManifest((m) => { m.dtypes.push('F128'); m.dtype_bits = [32, 16, 128]; }));
  await opened(withManifest((m) => { m.shards.columns.codec = column(2, [0, 0, 0]); }));
  await opened(withManifest((m) => { m.scf = new Raw(bytesOf('cf0000000000000001')); }));
});

test('the encoded size of a block is bounded', async () => {
  const encoded = (size) => withManifest((m, parts) => {
    m.codecs = [[], [{ id: 'zstd' }]];
    const { columns } = m.shards;
    columns.codec = column(2, [0, 0, 1]);
    columns.block_stored_size = u64(size);
    columns.stored_size = u64(12, 12, size);
    parts.object = concat(parts.object.subarray(0, 4120), new Uint8Array(size));
    m.objects[0].size = parts.object.length;
  });
  await opened(encoded(6 + 1 + 1024));
  await refused(assert, opened(encoded(6 + 1 + 1025)), 'manifest.schema');
  await refused(assert, opened(encoded(0)), 'manifest.schema');
});

test('unassigned shards', async () => {
  const unassigned = (edit = () => {}) => withManifest((m, parts) => {
    parts.object = concat(parts.object, utf8('copy'));
    m.objects[0].size = parts.object.length;
    const { columns } = m.shards;
    m.shards.count = 4;
    columns.tensor = column(4, [0, 0, 1, 0xffffffff]);
    columns.object = column(4, [0, 0, 0, 0]);
    columns.offset = u64(4096, 4108, 4120, 4126);
    columns.stored_size = u64(12, 12, 6, 4);
    columns.entry_size = column(2, [0, 0, 0, 1]);
    columns.entry = utf8('u');
    columns.block_digest = concat(columns.block_digest, new Uint8Array(32));
    edit(columns);
  });
  await opened(unassigned());
  const bad = [
    (columns) => { delete columns.entry; delete columns.entry_size; },
    (columns) => { delete columns.stored_size; },
    (columns) => { columns.run_start = u64(0, 0, 0, 0); columns.run_stop = u64(3, 3, 3, 1); },
    (columns) => { columns.tensor = column(4, [0, 0, 0xffffffff, 1]); },
  ];
  for (const edit of bad) await refused(assert, opened(unassigned(edit)), 'manifest.schema');
});

test('elements of less than a byte', async () => {
  const packed = (shape, edit = () => {}) => withManifest((m) => {
    m.dtypes[1] = 'F4';
    m.tensors.columns.shape = u64(2, 3, shape);
    m.shards.columns.box_size = u64(1, 3, 1, 3, shape);
    edit(m.shards.columns);
  });
  await opened(packed(12));
  await refused(assert, opened(packed(11)), 'manifest.schema');
  await refused(assert, opened(packed(12, (columns) => { columns.run_start = u64(0, 0, 1); columns.run_stop = u64(3, 3, 12); })), 'manifest.schema');
  await refused(assert, opened(packed(12, (columns) => { columns.box_size = u64(1, 3, 1, 3, 11); })), 'manifest.schema');
});

test('a store that gives nothing but errors', async () => {
  const broken = new MemoryStore();
  broken.get = async () => { throw new Error('outage'); };
  await refused(assert, Checkpoint.open(broken, 'c'), 'store.io');
});
