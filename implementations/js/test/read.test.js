import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { Checkpoint, MemoryStore, TensorRef } from '../src/index.js';
import { DirectoryStore } from '../src/node.js';
import { build, bytesOf, column, concat, dataObject, hex, OBJECT_KEY, refused, sha256, tensor, utf8 } from './build.js';
import { VECTORS } from './zstd-vectors.js';

const EXAMPLE = fileURLToPath(new URL('../../../spec/example', import.meta.url));
const opened = async (store, options) => (await Checkpoint.open(store, 'c', options)).item('model');

/** A store that notes every range that is read from it. */
class Watched extends MemoryStore {
  ranges = [];

  async getRange(key, start, end) {
    this.ranges.push([start, end]);
    return super.getRange(key, start, end);
  }
}

/**
 * A checkpoint with one tensor `t`. `shards` are {offset, size, run, stored, codec, sizes}: `stored` are the bytes, `sizes` those
 * of each encoded block.
 */
function checkpointOf({ dtype, shape, shards, codecs = [[]], block = 4096, digest = 'sha256', edit = () => {} }) {
  const data = concat(...shards.map(({ stored }) => stored));
  const encoded = shards.some(({ codec }) => codec);
  const digests = shards.flatMap(({ stored, sizes }) => {
    const cuts = sizes ?? Array.from({ length: Math.ceil(stored.length / block) }, (_, k) => Math.min(block, stored.length - k * block));
    let at = 0;
    return cuts.map((size) => sha256(stored.subarray(at, (at += size))));
  });
  let at = 4096;
  const { store, parts } = build({
    edit: (own) => {
      own.object = dataObject('{}', data);
      Object.assign(own.manifest, { dtypes: [dtype], codecs, tree: { t: tensor(0) } });
      own.manifest.tensors = {
        count: 1,
        columns: { dtype: column(2, [0]), ndim: column(1, [shape.length]), shape: column(8, shape), name_size: column(2, [1]), name: utf8('t') },
      };
      Object.assign(own.manifest.objects[0], { size: own.object.length, block, digest, header_digest: sha256(own.object.subarray(0, 4096)) });
      const volume = (sizes) => sizes.reduce((all, size) => all * size, 1);
      const columns = {
        tensor: column(4, shards.map(() => 0)),
        object: column(4, shards.map(() => 0)),
        box_offset: column(8, shards.flatMap(({ offset }) => offset ?? shape.map(() => 0))),
        box_size: column(8, shards.flatMap(({ size }) => size ?? shape)),
        run_start: column(8, shards.map(({ run }) => run?.[0] ?? 0)),
        run_stop: column(8, shards.map(({ run, size }) => run?.[1] ?? volume(size ?? shape))),
        offset: column(8, shards.map(({ stored }) => (at += stored.length) - stored.length)),
        block_digest: concat(...digests),
      };
      if (encoded) {
        columns.codec = column(2, shards.map(({ codec }) => codec ?? 0));
        columns.stored_size = column(8, shards.map(({ stored }) => stored.length));
        columns.block_stored_size = column(8, shards.flatMap(({ sizes }) => sizes ?? []));
      }
      own.manifest.shards = { count: shards.length, columns };
      edit(own.manifest);
    },
  });
  return { store: new Watched(store.objects), parts };
}

test('the worked example', async () => {
  const store = new DirectoryStore(EXAMPLE);
  const expect = '952e011670d4d23d5ad894d2894fc626b01b8131d8008ff03c7af744e6f30b5e';
  const checkpoint = await Checkpoint.open(store, 'step_2', { expect });
  const item = await checkpoint.item('model');
  assert.deepEqual([...new Float32Array((await item.read(['embed.weight'])).buffer)], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual([...new Int32Array((await item.read(['moment'])).buffer)], [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]);
  assert.deepEqual(new Float64Array((await item.read(['scale'])).buffer)[0], 65536);
  assert.equal((await item.read(['unused'])).length, 0);
  assert.equal(hex(await item.read(['moment'], { region: { offset: [1, 1], size: [2, 2] } })), '0b0000000c0000001500000016000000');
  assert.equal(item.tensorAt(['head.weight']), item.tensorAt(['embed.weight']));
  assert.deepEqual(item.tree.get('extra').get('cursor').values, [40n, 300n]);
  assert.equal(Buffer.from(await checkpoint.asset('model', 'config.json')).toString(), '{"layers": 1}\n');
});

test('tensors and regions of the example of chapter 9', async () => {
  const item = await opened(build().store);
  assert.equal(hex(await item.read(['b'])), '803f00404040');
  assert.deepEqual([...new Float32Array((await item.read(0, { region: { offset: [0, 1], size: [2, 2], run: [1, 3] } })).buffer)], [2, 4]);
  assert.equal((await item.read(0, { region: { offset: [1, 1], size: [1, 0] } })).length, 0);
});

test('requests that make no sense', async () => {
  const item = await opened(build().store);
  await refused(assert, item.read(['x']), 'tensor.missing');
  await refused(assert, item.read(['step']), 'tensor.missing');
  await refused(assert, item.read([0]), 'tensor.missing');
  await refused(assert, item.read(7), 'tensor.missing');
  const bad = [
    { offset: [0], size: [3] }, { offset: [0, 1], size: [2, 3] }, { offset: [-1, 0], size: [1, 1] }, { offset: [0, 0], size: [1, -1] },
    { offset: [0, 0], size: [2, 3], run: [0, 7] }, { offset: [0, 0], size: [2, 3], run: [4, 3] }, { offset: [0, 2n ** 63n], size: [1, 1] },
  ];
  for (const region of bad) await refused(assert, item.read(0, { region }), 'state.layout');
  await refused(assert, item.read(0, { region: { offset: [0.5, 0], size: [1, 1] } }), 'usage.invalid');
});

test('damage is found, and only where it is', async () => {
  const { store } = build();
  store.objects.get(`c/${OBJECT_KEY}`)[4100] ^= 1;
  const item = await opened(store);
  await refused(assert, item.read(['w']), 'block.digest');
  assert.equal((await item.read(['w'], { verify: false })).length, 24);
  assert.equal((await item.read(['w'], { region: { offset: [1, 0], size: [1, 3] } })).length, 12);
  assert.equal((await item.read(['b'])).length, 6);
  await assert.rejects(item.read(['w']), ({ subject }) => subject.includes(OBJECT_KEY) && subject.includes('w block 0'));
});

test('data objects that are absent or of another size', async () => {
  const { store } = build();
  const object = store.objects.get(`c/${OBJECT_KEY}`);
  const item = await opened(store);
  store.objects.set(`c/${OBJECT_KEY}`, concat(object, Uint8Array.of(0)));
  await refused(assert, item.read(['b']), 'object.size');
  store.objects.delete(`c/${OBJECT_KEY}`);
  await refused(assert, item.read(['b']), 'object.missing');
  assert.equal((await item.read(['b'], { region: { offset: [1], size: [0] } })).length, 0);
});

test('assets', async () => {
  const { store } = build();
  const checkpoint = await Checkpoint.open(store, 'c');
  const get = () => checkpoint.asset('model', 'config.json');
  assert.equal(Buffer.from(await get()).toString(), '{}');
  store.objects.set('c/model/config.json', utf8('[]'));
  await refused(assert, get(), 'asset.digest');
  store.objects.set('c/model/config.json', utf8('{} '));
  await refused(assert, get(), 'asset.size');
  store.objects.set('c/model/config.json', utf8('{'));
  await refused(assert, get(), 'asset.size');
  store.objects.delete('c/model/config.json');
  await refused(assert, get(), 'asset.missing');
});

test('a store that gives too few bytes', async () => {
  const { store } = build();
  const item = await opened(store);
  store.getRange = async () => new Uint8Array(3);
  await refused(assert, item.read(['b']), 'store.io');
});

test('only the blocks of a region are read, each once', async () => {
  const values = Uint32Array.from({ length: 8192 }, (_, i) => i);
  const { store } = checkpointOf({ dtype: 'U32', shape: [64, 128], shards: [{ stored: new Uint8Array(values.buffer) }] });
  const item = await opened(store);
  const read = async (region) => {
    store.ranges = [];
    return new Uint32Array((await item.read(['t'], { region })).buffer);
  };
  assert.deepEqual([...(await read({ offset: [0, 0], size: [64, 128] }))], [...values]);
  assert.deepEqual(store.ranges, [[4096, 4096 + 32768]]);
  assert.deepEqual([...(await read({ offset: [9, 5], size: [1, 2] }))], [1157, 1158]);
  assert.deepEqual(store.ranges, [[8192, 12288]]);
  assert.deepEqual([...(await read({ offset: [0, 0], size: [64, 128], run: [1023, 1025] }))], [1023, 1024]);
  assert.deepEqual(store.ranges, [[4096, 12288]]);
  assert.equal((await read({ offset: [0, 7], size: [64, 1] })).length, 64);
  assert.deepEqual(store.ranges, [[4096, 4096 + 32768]]);
});

test('encoded blocks', async () => {
  const [vector] = VECTORS.filter(({ name }) => name === 'text, level 1');
  const stored = new Uint8Array(Buffer.from(vector.base64, 'base64'));
  const shard = { stored, codec: 1, sizes: [stored.length] };
  const codecs = [[], [{ id: 'zstd', level: 1 }]];
  const { store } = checkpointOf({ dtype: 'U8', shape: [vector.size], shards: [shard], codecs, block: 8192 });
  const item = await opened(store);
  const whole = await item.read(['t']);
  assert.equal(hex(sha256(whole)), vector.digest);
  assert.deepEqual(await item.read(['t'], { region: { offset: [100], size: [50] } }), whole.slice(100, 150));
  const other = checkpointOf({ dtype: 'U8', shape: [vector.size - 1], shards: [shard], codecs, block: 8192 });
  await refused(assert, (await opened(other.store)).read(['t']), 'block.codec');
});

test('two encoded blocks of one shard', async () => {
  const block = (byte) => concat(bytesOf('28b52ffd 60 000f 038000'), Uint8Array.of(byte));
  const stored = concat(block(1), block(2));
  const { store } = checkpointOf({
    dtype: 'U16', shape: [2, 2048], codecs: [[], [{ id: 'zstd' }]], shards: [{ stored, codec: 1, sizes: [11, 11] }],
  });
  const item = await opened(store);
  assert.equal(hex(await item.read(['t'], { region: { offset: [0, 2047], size: [2, 1] } })), '01010202');
  store.ranges = [];
  assert.equal(hex(await item.read(['t'], { region: { offset: [1, 0], size: [1, 1] } })), '0202');
  assert.deepEqual(store.ranges, [[4107, 4118]]);
});

test('what is not implemented stops the tensors that use it alone', async () => {
  const edits = {
    'dtype.unsupported': (m) => { m.dtypes = ['F31', 'BF16']; m.dtype_bits = [32, 16]; },
    'digest.unsupported': (m) => { m.objects[0].digest = 'md5'; },
    'codec.unsupported': (m) => {
      m.codecs = [[], [{ id: 'brotli' }]];
      Object.assign(m.shards.columns, { codec: column(2, [0, 1, 0]), block_stored_size: column(8, [12]), stored_size: column(8, [12, 12, 6]) });
    },
  };
  for (const [code, edit] of Object.entries(edits)) {
    const item = await opened(build({ edit: ({ manifest }) => edit(manifest) }).store);
    assert.ok(item.tree.get('w') instanceof TensorRef);
    await refused(assert, item.read(['w']), code);
    if (code === 'digest.unsupported') assert.equal((await item.read(['b'], { verify: false })).length, 6);
    else assert.equal((await item.read(['b'])).length, 6);
  }
});

test('a tensor that is not tiled is refused, others are not', async () => {
  const { store } = build({
    edit: ({ manifest }) => {
      manifest.shards.columns.box_size = column(8, [1, 3, 1, 2, 3]);
      manifest.shards.columns.offset = column(8, [4096, 4108, 4120]);
      manifest.shards.columns.stored_size = column(8, [12, 8, 6]);
    },
  });
  const item = await opened(store);
  await refused(assert, item.read(['w'], { region: { offset: [0, 0], size: [1, 1] } }), 'tiling.inexact');
  assert.equal((await item.read(['b'])).length, 6);
});

test('memory for a tensor is bounded by the caller', async () => {
  const item = await opened(build().store, { limits: { max_read_bytes: 10 } });
  assert.equal((await item.read(['b'])).length, 6);
  await refused(assert, item.read(['w']), 'limit.exceeded');
});

test('a shape that claims more than there is', async () => {
  const { store } = checkpointOf({ dtype: 'U8', shape: [2 ** 50], shards: [] , edit: (m) => { delete m.shards.columns.block_digest; } });
  await refused(assert, (await opened(store)).read(['t']), 'tiling.inexact');
});

test('packed elements', async () => {
  // 24 elements of 4 bits, element i has the value i mod 16, cut at element 10
  const all = Uint8Array.from({ length: 12 }, (_, i) => ((2 * i) % 16) | (((2 * i + 1) % 16) << 4));
  const runs = [{ run: [0, 10], stored: all.slice(0, 5) }, { run: [10, 24], stored: all.slice(5) }];
  const item = await opened(checkpointOf({ dtype: 'F4', shape: [8, 3], shards: runs }).store);
  assert.deepEqual(await item.read(['t']), all);
  assert.deepEqual(await item.read(['t'], { region: { offset: [0, 0], size: [8, 3], run: [8, 14] } }), all.slice(4, 7));
  await refused(assert, item.read(['t'], { region: { offset: [0, 0], size: [8, 3], run: [9, 14] } }), 'state.layout');
  await refused(assert, item.read(['t'], { region: { offset: [2, 0], size: [4, 3] } }), 'state.layout');
  const even = await opened(checkpointOf({ dtype: 'F4', shape: [3, 8], shards: runs }).store);
  assert.deepEqual(hex(await even.read(['t'], { region: { offset: [1, 2], size: [2, 4] } })), 'badc3254');
});

test('any region of any layout gives the bytes of the definition', async () => {
  let state = 5;
  const next = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 60; round += 1) {
    const shape = Array.from({ length: 1 + next(3) }, () => 1 + next(9));
    const volume = shape.reduce((a, b) => a * b, 1);
    const values = Uint16Array.from({ length: volume }, (_, i) => i + 1);
    const cuts = [...new Set([0, volume, next(volume), next(volume)])].sort((a, b) => a - b);
    const shards = cuts.slice(1).map((stop, i) => ({ run: [cuts[i], stop], stored: new Uint8Array(values.slice(cuts[i], stop).buffer) }));
    const item = await opened(checkpointOf({ dtype: 'U16', shape, shards }).store);
    for (let i = 0; i < 10; i += 1) {
      const offset = shape.map((size) => next(size));
      const size = shape.map((all, d) => next(all - offset[d] + 1));
      const count = size.reduce((a, b) => a * b, 1);
      const start = next(count + 1);
      const run = [start, start + next(count + 1 - start)];
      const expected = [];
      for (let p = run[0]; p < run[1]; p += 1) {
        let rest = p;
        let at = 0;
        let step = 1;
        for (let d = shape.length - 1; d >= 0; d -= 1) {
          at += (offset[d] + (rest % size[d])) * step;
          rest = Math.floor(rest / size[d]);
          step *= shape[d];
        }
        expected.push(at + 1);
      }
      assert.deepEqual([...new Uint16Array((await item.read(['t'], { region: { offset, size, run } })).buffer)], expected);
    }
  }
});
