#!/usr/bin/env node
/** Speaks the conformance protocol on standard input and output, for the profiles that this package implements. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';

import * as scf from '../src/node.js';
import { toHex } from '../src/text.js';

const packageJson = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Something that this executable does not offer. */
class Unsupported extends Error {
  constructor(what) {
    super(what);
    this.what = what;
  }
}

// --- values of messages ------------------------------------------------------------------------

const number = (value) => {
  const integer = BigInt(value);
  return integer <= SAFE && integer >= -SAFE ? Number(integer) : String(integer);
};
const component = (value) => (typeof value === 'bigint' ? { int: String(value) } : value);
const readComponent = (value) => (typeof value === 'string' ? value : BigInt(value.int));

const scratch = new DataView(new ArrayBuffer(8));

function floatBits(value) {
  if (value instanceof scf.NanBits) return value.bits.toString(16).padStart(16, '0');
  if (Number.isNaN(value)) return '7ff8000000000000';
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0).toString(16).padStart(16, '0');
}

const entries = (map) => [...map].map(([key, value]) => [component(key), node(value)]);

/** A node of a tree, or a value of metadata, as a tagged array. */
function node(value) {
  if (value === null) return ['nil'];
  if (typeof value === 'boolean') return ['bool', value];
  if (typeof value === 'bigint') return ['int', String(value)];
  if (typeof value === 'number' || value instanceof scf.NanBits) return ['float', floatBits(value)];
  if (typeof value === 'string') return ['text', value];
  if (value instanceof Uint8Array) return ['bytes', toHex(value)];
  if (Array.isArray(value)) return ['list', value.map(node)];
  if (value instanceof Map || value instanceof scf.MapNode) return ['map', entries(value)];
  if (value instanceof scf.Tuple) return ['tuple', value.elements.map(node)];
  if (value instanceof scf.TensorRef) return ['tensor', value.number];
  if (value instanceof scf.Complex) return ['complex', floatBits(value.real), floatBits(value.imaginary)];
  if (value instanceof scf.Timestamp) return ['timestamp', String(value.seconds), value.nanoseconds, value.offset];
  if (value instanceof scf.Indexed) return ['indexed', value.axis, value.size, value.values.map(node)];
  if (value instanceof scf.SetNode) return ['set', value.elements.map(component)];
  if (value instanceof scf.Flattened) {
    return ['flattened', [...value.inner].map(([name, own]) => [name, node(own)]), node(value.attributes)];
  }
  if (value instanceof scf.DtypeNode) return ['dtype', value.name];
  throw new TypeError(`no node: ${value}`);
}

function openStore(store) {
  if (store.kind !== 'directory') throw new Unsupported(store.kind);
  return new scf.DirectoryStore(store.path);
}

const openCheckpoint = ({ store, checkpoint, expect }) => scf.Checkpoint.open(openStore(store), checkpoint, { expect });

// --- operations --------------------------------------------------------------------------------

function describeRoot(root) {
  const items = [...root.items].map(([name, { kind, counts, assets }]) => [
    name,
    {
      kind,
      counts: Object.fromEntries(Object.entries(counts).map(([what, count]) => [what, number(count)])),
      assets: Object.fromEntries([...assets].map(([asset, { size, sha256 }]) => [asset, { size: number(size), sha256 }])),
    },
  ]);
  const { digest, attempt, spec, created, writer, features, sequence, parent, metadata, external } = root;
  return {
    ...{ digest, attempt, spec, created, writer, features, parent, external },
    sequence: number(sequence),
    metadata: node(metadata),
    items: Object.fromEntries(items),
  };
}

async function inspect(request) {
  const checkpoint = await openCheckpoint(request);
  const items = [];
  for (const name of request.items ?? checkpoint.root.items.keys()) {
    const item = await checkpoint.item(name);
    const tensors = [];
    for (let i = 0; i < item.tensorCount; i += 1) {
      const { dtype, shape } = item.tensor(i);
      tensors.push({ dtype, shape: shape.map(number) });
    }
    items.push([name, { tree: node(item.tree), tensors }]);
  }
  return { root: describeRoot(checkpoint.root), items: Object.fromEntries(items) };
}

async function list(request) {
  const listed = await scf.list(openStore(request.store));
  const { newest, unreadable } = scf.newest(listed);
  for (const { name, error } of unreadable) process.stderr.write(`warning: ${scf.show(name)} can't be read: ${error.message}\n`);
  const checkpoints = listed.map(({ name, root, error }) => {
    return root ? { name, digest: root.digest, sequence: number(root.sequence), code: null } : { name, digest: null, sequence: null, code: error.code };
  });
  return { checkpoints, newest: newest?.name ?? null };
}

async function read(request) {
  const checkpoint = await openCheckpoint(request);
  const verify = request.verify ?? true;
  const item = await checkpoint.item(request.item);
  const leaves = request.paths
    ? request.paths.map((components) => {
      const own = components.map(readComponent);
      return { path: own, number: item.tensorAt(own) };
    })
    : item.tensorLeaves();
  await mkdir(request.out, { recursive: true });
  const files = new Map();
  const tensors = [];
  for (const { path: own, number: tensor } of leaves) {
    if (!files.has(tensor)) {
      files.set(tensor, String(files.size));
      await writeFile(path.join(request.out, files.get(tensor)), await item.read(tensor, { verify }));
    }
    const { dtype, shape } = item.tensor(tensor);
    tensors.push({ path: own.map(component), dtype, shape: shape.map(number), file: files.get(tensor) });
  }
  const assets = [];
  for (const [i, name] of (request.assets ?? []).entries()) {
    await writeFile(path.join(request.out, `a${i}`), await checkpoint.asset(request.item, name));
    assets.push({ name, file: `a${i}` });
  }
  return { tensors, assets };
}

const integers = (values) => values?.map(BigInt) ?? null;

async function readRegion(request) {
  const checkpoint = await openCheckpoint(request);
  const item = await checkpoint.item(request.item);
  const tensor = item.tensorAt(request.path.map(readComponent));
  await mkdir(request.out, { recursive: true });
  const files = [];
  for (const [i, { offset, size, run }] of request.regions.entries()) {
    const region = { offset: integers(offset), size: integers(size), run: integers(run) };
    await writeFile(path.join(request.out, String(i)), await item.read(tensor, { region, verify: request.verify ?? true }));
    files.push(String(i));
  }
  return { dtype: item.tensor(tensor).dtype, files };
}

async function verify({ store, checkpoint, deep }) {
  const { sound, findings } = await scf.verify(openStore(store), checkpoint, { deep });
  return { sound, findings };
}

async function hello({ protocol }) {
  if (protocol.split('.')[0] !== '1') throw new scf.ScfError('usage.invalid', `another protocol: ${protocol}`, { phase: 'open' });
  return {
    protocol: '1.0',
    name: packageJson.name,
    version: packageJson.version,
    profiles: ['inspect', 'read', 'region-read', 'integrity'],
    options: ['unverified'],
    codecs: scf.CODECS,
    digests: scf.DIGESTS,
    dtypes: [...scf.DTYPES.keys()],
  };
}

const OPERATIONS = { __proto__: null, hello, inspect, list, read, read_region: readRegion, verify, bye: async () => ({}) };

async function answer(request) {
  try {
    const operation = OPERATIONS[request.op];
    if (!operation) throw new Unsupported(request.op);
    return { result: 'ok', ...(await operation(request)) };
  } catch (error) {
    if (error instanceof Unsupported) return { result: 'unsupported', what: error.what };
    if (!(error instanceof scf.ScfError)) return { result: 'error', message: String(error?.stack ?? error) };
    const { code, phase, subject, message } = error;
    return { result: 'rejected', code, phase, subject, message };
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (line.trim() === '') continue;
  const request = JSON.parse(line);
  process.stdout.write(`${JSON.stringify({ id: request.id, ...(await answer(request)) })}\n`);
  if (request.op === 'bye') break;
}
// after bye the other side may keep its end open
process.stdin.destroy();
