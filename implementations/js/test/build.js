/** Builds small checkpoints for the tests, by the text of the specification. Every part can be changed on the way. */

import { createHash } from 'node:crypto';

import { MemoryStore } from '../src/index.js';

export const ATTEMPT = '3f9c2a71d0b84e55';
export const OBJECT_KEY = `model/${ATTEMPT}-00000.safetensors`;
export const MANIFEST_KEY = `model/manifest-${ATTEMPT}.msgpack.zst`;

export const sha256 = (bytes) => new Uint8Array(createHash('sha256').update(bytes).digest());
export const hex = (bytes) => Buffer.from(bytes).toString('hex');
export const bytesOf = (text) => new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
export const utf8 = (text) => new TextEncoder().encode(text);

export function concat(...parts) {
  return new Uint8Array(Buffer.concat(parts));
}

/** Little-endian integers of `width` bytes. */
export function column(width, values) {
  const bytes = new Uint8Array(width * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    for (let k = 0; k < width; k += 1) view.setUint8(width * i + k, Number((BigInt(value) >> BigInt(8 * k)) & 255n));
  });
  return bytes;
}

// --- MessagePack ---------------------------------------------------------------------------------

export class Float {
  constructor(value) {
    this.value = value;
  }
}

export class Ext {
  constructor(code, payload) {
    this.code = code;
    this.payload = payload;
  }
}

/** Bytes that stand for themselves. */
export class Raw {
  constructor(bytes) {
    this.bytes = bytes;
  }
}

function big(width, value) {
  return column(width, [value]).reverse();
}

function head(small, limit, codes, count) {
  if (count < limit) return Uint8Array.of(small | count);
  const [byte, width] = codes.find(([, size]) => count < 2 ** (8 * size));
  return concat(Uint8Array.of(byte), big(width, count));
}

function packInteger(value) {
  if (value >= 0n && value < 128n) return Uint8Array.of(Number(value));
  if (value < 0n && value >= -32n) return Uint8Array.of(Number(value & 255n));
  if (value < 0n) return concat(Uint8Array.of(0xd3), big(8, value));
  const width = [1, 2, 4, 8].find((size) => value < 2n ** BigInt(8 * size));
  return concat(Uint8Array.of(0xcc + Math.log2(width)), big(width, value));
}

/** Numbers and BigInts are integers; Map and plain objects are maps. */
export function pack(value) {
  if (value === null) return Uint8Array.of(0xc0);
  if (typeof value === 'boolean') return Uint8Array.of(value ? 0xc3 : 0xc2);
  if (typeof value === 'bigint' || typeof value === 'number') return packInteger(BigInt(value));
  if (value instanceof Float) {
    const bytes = new Uint8Array(9);
    bytes[0] = 0xcb;
    new DataView(bytes.buffer).setFloat64(1, value.value);
    return bytes;
  }
  if (typeof value === 'string') {
    const text = utf8(value);
    return concat(head(0xa0, 32, [[0xd9, 1], [0xda, 2], [0xdb, 4]], text.length), text);
  }
  if (value instanceof Uint8Array) return concat(head(0, 0, [[0xc4, 1], [0xc5, 2], [0xc6, 4]], value.length), value);
  if (value instanceof Raw) return value.bytes;
  if (value instanceof Ext) {
    const fixed = [1, 2, 4, 8, 16].indexOf(value.payload.length);
    const header = fixed >= 0 ? Uint8Array.of(0xd4 + fixed) : head(0, 0, [[0xc7, 1], [0xc8, 2], [0xc9, 4]], value.payload.length);
    return concat(header, Uint8Array.of(value.code & 255), value.payload);
  }
  if (Array.isArray(value)) return concat(head(0x90, 16, [[0xdc, 2], [0xdd, 4]], value.length), ...value.map(pack));
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return concat(head(0x80, 16, [[0xde, 2], [0xdf, 4]], entries.length), ...entries.flat().map(pack));
}

export const tensor = (number) => new Ext(1, column(4, [number]));

// --- the parts of a checkpoint ---------------------------------------------------------------------

/** A frame of raw blocks, each of 100,000 bytes at most; the content size takes 8 bytes. */
export function frame(content) {
  const parts = [bytesOf('28b52ffd c0 60'), column(8, [content.length])];
  for (let at = 0; at === 0 || at < content.length; at += 100000) {
    const piece = content.subarray(at, at + 100000);
    const last = at + piece.length >= content.length ? 1 : 0;
    parts.push(column(3, [piece.length * 8 + last]), piece);
  }
  return concat(...parts);
}

/** A data object with this JSON as its header. */
export function dataObject(entries, data, start = 4096) {
  const json = utf8(typeof entries === 'string' ? entries : JSON.stringify(entries));
  const padding = new Uint8Array(start - 8 - json.length).fill(0x20);
  return concat(column(8, [start - 8]), json, padding, data);
}

export const descriptor = (key, bytes) => ({ key, size: bytes.length, sha256: hex(sha256(bytes)) });

/** Bytes of a root with its digest put in. `body` is the JSON after the digest, without the opening brace. */
export function rootOf(body) {
  const bytes = utf8(`{"scf":1,"digest":"${'0'.repeat(64)}",${body}`);
  bytes.set(utf8(hex(sha256(bytes))), 19);
  return bytes;
}

export const digestOf = (root) => Buffer.from(root.subarray(19, 83)).toString();

/** The example of sections 6.9, 7.9 and 9.5: `w` F32 [2, 3] in two rows, `b` BF16 [3], `step` 2. */
export function example() {
  const data = bytesOf('00000000 0000803f 00000040 00004040 00008040 0000a040 803f 0040 4040');
  const object = dataObject(
    {
      __metadata__: { format: 'pt', 'scf.attempt': ATTEMPT },
      'w@[0:1,0:3]': { dtype: 'F32', shape: [1, 3], data_offsets: [0, 12] },
      'w@[1:2,0:3]': { dtype: 'F32', shape: [1, 3], data_offsets: [12, 24] },
      b: { dtype: 'BF16', shape: [3], data_offsets: [24, 30] },
    },
    data,
  );
  const manifest = {
    scf: 1,
    attempt: ATTEMPT,
    item: 'model',
    dtypes: ['F32', 'BF16'],
    codecs: [[]],
    tensors: {
      count: 2,
      columns: {
        dtype: column(2, [0, 1]),
        ndim: column(1, [2, 1]),
        shape: column(8, [2, 3, 3]),
        name_size: column(2, [1, 1]),
        name: utf8('wb'),
      },
    },
    objects: [
      { key: OBJECT_KEY, size: object.length, data_start: 4096, header_digest: sha256(object.subarray(0, 4096)), digest: 'sha256', block: 1048576 },
    ],
    shards: {
      count: 3,
      columns: {
        tensor: column(4, [0, 0, 1]),
        object: column(4, [0, 0, 0]),
        box_offset: column(8, [0, 0, 1, 0, 0]),
        box_size: column(8, [1, 3, 1, 3, 3]),
        offset: column(8, [4096, 4108, 4120]),
        block_digest: concat(sha256(data.subarray(0, 12)), sha256(data.subarray(12, 24)), sha256(data.subarray(24))),
      },
    },
    tree: { w: tensor(0), b: tensor(1), step: 2 },
  };
  const root = {
    spec: '1.0-draft',
    attempt: ATTEMPT,
    created: '2026-01-02T03:04:05Z',
    writer: { name: 'example', version: '1' },
    features: { read: [], write: [] },
    sequence: 1,
    parent: null,
    metadata: { step: 2 },
    items: {
      model: {
        kind: 'model',
        counts: { tensors: 2, shards: 3, objects: 1, bytes: 30 },
        assets: { 'config.json': descriptor('model/config.json', utf8('{}')) },
      },
    },
    external: [],
  };
  return { object, manifest, root };
}

/**
 * A store with the example as checkpoint `c`. `edit` may change its parts, `raw` the bytes of the manifest, `stored` its
 * frame, `text` the JSON of the root.
 */
export function build({ edit = () => {}, raw = (bytes) => bytes, stored = (bytes) => bytes, text = (json) => json } = {}) {
  const parts = example();
  edit(parts);
  const content = raw(pack(parts.manifest));
  const packed = stored(frame(content));
  const { model } = parts.root.items;
  if (model) {
    model.manifest ??= descriptor(MANIFEST_KEY, packed);
    model.raw_size ??= content.length;
  }
  const root = rootOf(text(JSON.stringify(parts.root).slice(1)));
  const store = new MemoryStore([
    ['c/checkpoint.json', root],
    [`c/${MANIFEST_KEY}`, packed],
    [`c/${OBJECT_KEY}`, parts.object],
    ['c/model/config.json', utf8('{}')],
  ]);
  return { store, digest: digestOf(root), parts };
}

/** Asserts that a promise is rejected with a ScfError of one of these codes. */
export async function refused(assert, promise, ...codes) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, 'ScfError', error.stack);
    assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
    return true;
  });
}
