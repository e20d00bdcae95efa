import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { Checkpoint, DirectoryStore, HttpStore, list, verify } from '../src/node.js';
import { build, OBJECT_KEY, refused, utf8 } from './build.js';

let top;
let root;

async function put(directory, objects) {
  for (const [key, bytes] of objects) {
    await mkdir(path.dirname(path.join(directory, key)), { recursive: true });
    await writeFile(path.join(directory, key), bytes);
  }
}

before(async () => {
  top = await mkdtemp(path.join(os.tmpdir(), 'scf-'));
  root = path.join(top, 'store');
  await put(root, build().store.objects);
  await put(path.join(top, 'outside'), build().store.objects);
});
after(() => rm(top, { recursive: true }));

test('a directory', async () => {
  const store = new DirectoryStore(root);
  assert.equal((await verify(store, 'c')).sound, true);
  assert.equal(await store.get('c/nothing', 10), null);
  assert.equal(await store.get('c/model', 10), null);
  assert.equal(await store.get('c/checkpoint.json/x', 10), null);
  assert.equal(await store.stat('nothing/at/all'), null);
  assert.equal((await store.getRange('c/model/config.json', 0, 9)).length, 2);
  await refused(assert, store.get('c/checkpoint.json', 3), 'limit.exceeded');
  await refused(assert, store.get('../outside/c/checkpoint.json', 1000), 'key.invalid');
  assert.deepEqual((await list(store)).map(({ name }) => name), ['c']);
});

test('links that lead out are refused, others are not', async () => {
  const store = new DirectoryStore(root);
  await symlink(path.join(top, 'outside', 'c'), path.join(root, 'linked'));
  await symlink(path.join(root, 'c'), path.join(root, 'inner'));
  await symlink(path.join(top, 'nowhere'), path.join(root, 'dangling'));
  await refused(assert, Checkpoint.open(store, 'linked'), 'store.io');
  await refused(assert, Checkpoint.open(store, 'dangling'), 'store.io');
  assert.equal((await Checkpoint.open(store, 'inner')).root.checkpoint, 'inner');
  const listed = await list(store);
  assert.deepEqual(listed.map(({ name, error }) => [name, error?.code]), [['c', undefined], ['dangling', 'store.io'], ['inner', undefined], ['linked', 'store.io']]);
  await rm(path.join(root, 'c', OBJECT_KEY));
  await symlink(path.join(top, 'outside', 'c', OBJECT_KEY), path.join(root, 'c', OBJECT_KEY));
  const item = await (await Checkpoint.open(store, 'c')).item('model');
  await refused(assert, item.read(['w']), 'store.io');
});

test('a directory that is not there cannot be listed', async () => {
  await refused(assert, list(new DirectoryStore(path.join(top, 'nowhere'))), 'store.io');
});

test('HTTP', async (context) => {
  const { objects } = build().store;
  objects.set('c/odd', utf8('x'));
  objects.set('c/empty', utf8(''));
  let ranges = true;
  const server = createServer((request, response) => {
    const key = decodeURIComponent(request.url.slice('/base/'.length));
    const bytes = objects.get(key);
    if (key === 'c/odd') return response.writeHead(503).end();
    if (!bytes) return response.writeHead(404).end();
    const range = ranges && /^bytes=([0-9]+)-([0-9]*)$/.exec(request.headers.range ?? '');
    const [start, end] = range ? [Number(range[1]), Math.min(Number(range[2] || Infinity) + 1, bytes.length)] : [0, bytes.length];
    if (range && start >= bytes.length) return response.writeHead(416, { 'Content-Range': `bytes */${bytes.length}` }).end();
    const headers = { 'Content-Length': end - start };
    if (range) headers['Content-Range'] = `bytes ${start}-${end - 1}/${bytes.length}`;
    response.writeHead(range ? 206 : 200, headers);
    return response.end(request.method === 'HEAD' ? undefined : bytes.subarray(start, end));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  context.after(() => server.close());
  const store = new HttpStore(`http://127.0.0.1:${server.address().port}/base`);
  assert.deepEqual(await verify(store, 'c'), { sound: true, findings: [] });
  await refused(assert, Checkpoint.open(store, 'nothing'), 'checkpoint.missing');
  await refused(assert, store.get('c/checkpoint.json', 100), 'limit.exceeded');
  await refused(assert, store.get('c/odd', 100), 'store.io');
  await refused(assert, store.stat('c/odd'), 'store.io');
  await refused(assert, store.getRange('c/empty', 0, 1), 'store.io');
  assert.deepEqual(await store.stat('c/empty'), { size: 0 });
  await refused(assert, list(store), 'usage.invalid');
  ranges = false;
  assert.deepEqual(await store.stat('c/empty'), { size: 0 });
  assert.equal((await store.getRange(`c/${OBJECT_KEY}`, 0, 5)).length, 5);
  await refused(assert, store.getRange(`c/${OBJECT_KEY}`, 5, 9), 'store.io');
});

test('HTTP from a browser, which sets the accepted encodings itself', async () => {
  const { objects } = build().store;
  const fetched = async (address, { method, headers }) => {
    const bytes = objects.get(decodeURIComponent(new URL(address).pathname.slice(1)));
    const encoding = headers.Range ? 'identity' : 'gzip';
    const size = encoding === 'gzip' ? Math.ceil(bytes.length / 2) : bytes.length;
    const [, start, end] = /^bytes=([0-9]+)-([0-9]*)$/.exec(headers.Range ?? 'bytes=0-');
    const body = method === 'HEAD' ? null : bytes.subarray(Number(start), end === '' ? bytes.length : Number(end) + 1);
    return new Response(body, { status: headers.Range ? 206 : 200, headers: { 'Content-Encoding': encoding, 'Content-Length': size } });
  };
  const store = new HttpStore('http://store.test', { fetch: fetched });
  assert.deepEqual(await verify(store, 'c', { deep: true }), { sound: true, findings: [] });
});
