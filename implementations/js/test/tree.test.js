import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { loadDigests } from '../src/digest.js';
import * as scf from '../src/index.js';
import { ATTEMPT, build, Ext, hex, pack, sha256, tensor, utf8 } from './build.js';

test('tensor names of paths: the table of section 9.4', async () => {
  const digests = await loadDigests();
  const name = (...path) => scf.tensorName(path, digests);
  assert.equal(name('layers.0.weight'), 'layers.0.weight');
  assert.equal(name('state', 0n, 'exp/avg'), 'state/#0/exp%2Favg');
  assert.equal(name('a', '', '#1', '50%@x'), 'a/%/%231/50%25%40x');
  assert.equal(name('k', -3n), 'k/#-3');
  assert.equal(name('__metadata__'), '%5F_metadata__');
  assert.equal(name('a\n\u007f'), 'a%0A%7F');
  assert.equal(name('x'.repeat(60000)).length, 60000);
  assert.equal(name('ä'.repeat(30001)), `%h${hex(sha256(utf8('ä'.repeat(30001))))}`);
});

test('paths lead through every container', async () => {
  const { store } = build({
    edit: ({ manifest }) => {
      const flat = new Ext(8, pack({ inner: { q: tensor(0) }, attributes: [tensor(1)] }));
      const indexed = new Ext(6, pack({ axis: 'rank', size: 2, values: new Map([[1, flat], [0, null]]) }));
      manifest.tree = new Map([['a', [new Ext(2, pack([indexed]))]], [5, tensor(0)], ['5', tensor(1)]]);
    },
  });
  const item = await (await scf.Checkpoint.open(store, 'c')).item('model');
  assert.deepEqual(item.tensorLeaves(), [
    { path: ['a', 0n, 0n, 1n, 'inner', 'q'], number: 0 },
    { path: ['a', 0n, 0n, 1n, 'attributes', 0n], number: 1 },
    { path: [5n], number: 0 },
    { path: ['5'], number: 1 },
  ]);
  for (const { path, number } of item.tensorLeaves()) assert.equal(item.tensorAt(path), number);
  for (const path of [['a', 0n, 0n, 2n], ['a', '0'], ['a', 0n, 0n, 1n, 'inner'], ['a', 0n, 0n, 1n, 'q'], [], [-1n], ['a', -1n]]) {
    assert.throws(() => item.tensorAt(path), { code: 'tensor.missing' });
  }
  assert.equal(scf.nodeAt(item.tree, ['a', 0n, 0n, 0n]), null);
});

test('messages have no control characters, nor ones that turn the direction of writing', () => {
  const error = new scf.ScfError('tensor.missing', 'a\u001b[31m\u202eb', { subject: '\u202e' });
  assert.equal(error.message, 'a\\u001b[31m\\u202eb');
  assert.equal(error.subject, '\u202e');
});

test('the entry for browsers has nothing of Node.js', async () => {
  const seen = new Set();
  const walk = async (url) => {
    if (seen.has(url.href)) return;
    seen.add(url.href);
    const source = await readFile(url, 'utf8');
    for (const [, name] of source.matchAll(/(?:from|import)\s*\(?'([^']+)'/g)) {
      if (name.startsWith('.')) await walk(new URL(name, url));
      else assert.equal(name, 'hash-wasm');
    }
  };
  await walk(new URL('../src/index.js', import.meta.url));
  assert.ok(seen.size > 20);
});

test('a damaged manifest with right digests gives values or errors of the registry', async () => {
  let state = 11;
  const next = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const codes = new Set();
  for (let round = 0; round < 1500; round += 1) {
    const raw = (bytes) => {
      const damaged = bytes.slice();
      for (let i = next(3); i >= 0; i -= 1) damaged[next(damaged.length)] = [next(256), 0xff, 0x80, 0xdf, 0xc9][next(5)];
      return damaged;
    };
    const { store } = build({ raw, edit: ({ manifest }) => { manifest.tree.i = new Ext(6, pack({ axis: ATTEMPT, size: 1, values: new Map([[0, 1]]) })); } });
    for (const { code } of (await scf.verify(store, 'c')).findings) codes.add(code);
  }
  assert.ok(codes.has('manifest.syntax') && codes.has('manifest.schema') && codes.has('tree.schema'));
});
