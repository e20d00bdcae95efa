import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const EXECUTABLE = fileURLToPath(new URL('../bin/scf-conformance.js', import.meta.url));
const store = { kind: 'directory', path: fileURLToPath(new URL('../../../spec/example', import.meta.url)) };

/** Responses to requests, and the exit status. */
async function talk(requests, end = true) {
  const child = spawn(process.execPath, [EXECUTABLE], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.write(requests.map((request, id) => `${JSON.stringify({ id, ...request })}\n`).join(''));
  if (end) child.stdin.end();
  let text = '';
  for await (const piece of child.stdout) text += piece;
  const status = child.exitCode ?? (await new Promise((resolve) => { child.once('exit', resolve); }));
  return { status, responses: text.trimEnd().split('\n').map(JSON.parse) };
}

test('one response per request, in order', async (context) => {
  const out = await mkdtemp(path.join(os.tmpdir(), 'scf-'));
  context.after(() => rm(out, { recursive: true }));
  const common = { store, checkpoint: 'step_2', expect: null };
  const { status, responses } = await talk([
    { op: 'hello', protocol: '1.0' },
    { op: 'inspect', ...common, items: null },
    { op: 'read', ...common, item: 'model', paths: [['extra'], ['moment']], assets: [], out, verify: true },
    { op: 'read', ...common, item: 'model', paths: null, assets: ['config.json'], out, verify: true },
    { op: 'read_region', ...common, item: 'model', path: ['moment'], regions: [{ offset: [1, '1'], size: [2, 2], run: null }], out, verify: true },
    { op: 'verify', store, checkpoint: 'nothing', deep: true },
    { op: 'write', store },
    { op: 'list', store: { kind: 's3' } },
    { op: 'list', store },
    { op: 'hello', protocol: '2.0' },
    { op: 'bye' },
  ]);
  assert.equal(status, 0);
  assert.deepEqual(responses.map(({ id }) => id), responses.map((_, i) => i));
  const [hello, inspect, missing, read, region, verify, write, s3, list, other, bye] = responses;
  assert.deepEqual(hello.profiles, ['inspect', 'read', 'region-read', 'integrity']);
  assert.deepEqual(inspect.root.metadata[1][2], ['loss', ['float', '7ff8000000000000']]);
  assert.deepEqual(inspect.items.model.tensors[3], { dtype: 'F64', shape: [] });
  assert.deepEqual([missing.result, missing.code, missing.phase], ['rejected', 'tensor.missing', 'plan']);
  assert.equal(read.tensors.length, 6);
  assert.equal((await readFile(path.join(out, read.assets[0].file))).length, 14);
  assert.deepEqual([region.dtype, (await readFile(path.join(out, region.files[0]))).toString('hex')], ['I32', '0b0000000c0000001500000016000000']);
  assert.deepEqual([verify.result, verify.sound, verify.findings[0].code], ['ok', false, 'checkpoint.missing']);
  assert.equal(write.result, 'unsupported');
  assert.deepEqual([s3.result, s3.what], ['unsupported', 's3']);
  assert.equal(list.newest, 'step_2');
  assert.deepEqual([other.result, other.code], ['rejected', 'usage.invalid']);
  assert.equal(bye.result, 'ok');
});

test('bye is the end, even of an input that goes on', { timeout: 10000 }, async () => {
  const { status, responses } = await talk([{ op: 'bye' }], false);
  assert.equal(status, 0);
  assert.equal(responses[0].result, 'ok');
});

test('the end of the input is the end', async () => {
  assert.equal((await talk([{ op: 'hello', protocol: '1.0' }])).status, 0);
});
