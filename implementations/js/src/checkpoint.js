/** A checkpoint that is open: its root, its items, their tensors and assets. */

import { loadDigests } from './digest.js';
import { ScfError, beyond, withinEngine } from './errors.js';
import { FORMAT, withDefaults } from './limits.js';
import { Manifest } from './manifest/manifest.js';
import { requireCheckpointName, requireItemName, ROOT_KEY } from './names.js';
import { TensorRef } from './nodes.js';
import { TensorReader } from './read.js';
import { readRoot } from './root.js';
import { GuardedStore } from './store.js';
import { nodeAt, tensorLeaves } from './tree.js';
import { toHex } from './text.js';

/**
 * @typedef {object} Options
 * @property {string | null} [expect] root digest that the checkpoint has to have
 * @property {Partial<typeof import('./limits.js').DEFAULT_LIMITS>} [limits]
 * @property {number} [concurrency] requests to the store at a time, 4 if absent
 */

/** The object, or null if it is larger than `limit` or absent; `found` tells which. */
async function getWithin(store, key, limit) {
  try {
    const bytes = await store.get(key, limit);
    return { bytes, found: bytes !== null };
  } catch (error) {
    if (error instanceof ScfError && error.code === 'limit.exceeded') return { bytes: null, found: true };
    throw error;
  }
}

/** The root of a checkpoint, checked in the order of section 6.1. */
export async function openRoot(store, checkpoint, expect, digests) {
  const key = `${checkpoint}/${ROOT_KEY}`;
  const { bytes, found } = await getWithin(store, key, FORMAT.rootBytes);
  if (!found) throw new ScfError('checkpoint.missing', `there is no checkpoint ${checkpoint}`, { subject: checkpoint });
  if (!bytes) throw beyond('max_root_bytes', 'more', FORMAT.rootBytes, { phase: 'open', subject: key });
  return withinEngine(() => readRoot(bytes, { checkpoint, expect, digests }), { phase: 'open', subject: key });
}

function checkManifestLimits({ manifest, rawSize }, limits) {
  const about = { phase: 'manifest', subject: manifest.storeKey };
  const { max_manifest_raw_bytes: rawLimit, max_manifest_bytes: limit } = limits;
  if (rawSize > rawLimit) throw beyond('max_manifest_raw_bytes', rawSize, rawLimit, about);
  if (manifest.size > limit) throw beyond('max_manifest_bytes', manifest.size, limit, about);
}

/** The manifest of an item, checked by the steps of section 7.1 up to 8. */
export async function openManifest(root, item, { store, digests, limits }) {
  const { manifest: descriptor, rawSize } = item;
  const { storeKey, size } = descriptor;
  const about = { phase: 'manifest', subject: storeKey };
  checkManifestLimits(item, limits);
  const { bytes, found } = await getWithin(store, storeKey, Number(size));
  if (!found) {
    const code = descriptor.external ? 'external.missing' : 'manifest.missing';
    throw new ScfError(code, `the store does not have ${storeKey}`, about);
  }
  if (bytes === null || BigInt(bytes.length) !== size) {
    throw new ScfError('manifest.size', `${storeKey} has not the ${size} bytes that the root states`, about);
  }
  if (toHex(digests.sha256(bytes)) !== descriptor.sha256) {
    throw new ScfError('manifest.digest', `${storeKey} does not have its SHA-256`, about);
  }
  const context = {
    rawSize: Number(rawSize),
    item: descriptor.item,
    attempt: descriptor.attempt,
    base: descriptor.checkpoint,
    external: new Set(root.external.map((entry) => entry.checkpoint)),
    maxValues: limits.max_values,
  };
  try {
    return withinEngine(() => new Manifest(bytes, context), about);
  } catch (error) {
    if (error instanceof ScfError && error.subject === '') error.subject = storeKey;
    throw error;
  }
}

/** One size and offset of a caller as BigInt. */
function whole(value) {
  if (typeof value === 'bigint') return value;
  if (Number.isSafeInteger(value)) return BigInt(value);
  throw new ScfError('usage.invalid', `not an integer: ${value}`, { phase: 'plan' });
}

/** An item that is open. */
export class Item {
  #leaves;

  constructor(name, entry, manifest, context) {
    this.name = name;
    this.kind = entry.kind;
    this.manifest = manifest;
    this.reader = new TensorReader(manifest, context);
  }

  /** The top node: a MapNode. See the module `nodes.js` for what stands for which node. */
  get tree() {
    return this.manifest.tree;
  }

  /** Number of tensors. */
  get tensorCount() {
    return this.manifest.tensors.count;
  }

  /** Name, dtype and shape of a tensor. */
  tensor(number) {
    const { tensors } = this.manifest;
    const { name: dtype, bits } = tensors.dtype(number);
    return { number, name: tensors.names[number], dtype, bits, shape: tensors.shape(number) };
  }

  /** Paths and numbers of all tensor leaves of the tree, in its order. */
  tensorLeaves() {
    this.#leaves ??= tensorLeaves(this.tree);
    return this.#leaves;
  }

  /**
   * Number of the tensor at a path.
   * @param {(string | bigint | number)[]} path
   */
  tensorAt(path) {
    const node = nodeAt(this.tree, path.map((component) => (typeof component === 'string' ? component : whole(component))));
    if (node instanceof TensorRef) return node.number;
    const shown = path.map((component) => (typeof component === 'string' ? JSON.stringify(component) : String(component))).join(', ');
    const near = this.tensorLeaves().filter((leaf) => leaf.path[0] === path[0]).slice(0, 3);
    const hint = near.map((leaf) => this.manifest.tensors.names[leaf.number]).join(', ');
    throw new ScfError('tensor.missing', `item ${this.name} has no tensor at [${shown}]${hint && `; near it: ${hint}`}`, {
      subject: path.join('/'),
    });
  }

  /**
   * The decoded bytes of a tensor, or of a region of it.
   * @param {number | (string | bigint | number)[]} tensor number or path
   * @param {{region?: {offset: (bigint | number)[], size: (bigint | number)[], run?: (bigint | number)[] | null} | null, verify?: boolean}} [options]
   * @returns {Promise<Uint8Array>}
   */
  async read(tensor, { region = null, verify = true } = {}) {
    const number = Array.isArray(tensor) ? this.tensorAt(tensor) : tensor;
    const { tensors } = this.manifest;
    if (!Number.isInteger(number) || number < 0 || number >= tensors.count) {
      throw new ScfError('tensor.missing', `item ${this.name} has no tensor ${number}`, { subject: String(number) });
    }
    const shape = tensors.shape(number);
    const box = region
      ? { offset: region.offset.map(whole), size: region.size.map(whole) }
      : { offset: shape.map(() => 0n), size: shape };
    const run = region?.run ? region.run.map(whole) : [0n, box.size.reduce((all, size) => all * size, 1n)];
    if (run.length !== 2) throw new ScfError('usage.invalid', 'a run is two numbers', { phase: 'plan' });
    return this.reader.read(number, { box, run }, verify);
  }
}

/** A checkpoint whose root has been read and checked. */
export class Checkpoint {
  constructor(root, context) {
    this.root = root;
    this.context = context;
  }

  /**
   * Opens the checkpoint of a name in a store.
   * @param {import('./store.js').Store} store
   * @param {string} name
   * @param {Options} [options]
   */
  static async open(store, name, { expect = null, limits, concurrency = 4 } = {}) {
    requireCheckpointName(name);
    if (expect !== null && !/^[0-9a-f]{64}$/.test(expect)) {
      throw new ScfError('usage.invalid', 'an expected root digest is 64 lower-case hexadecimal digits', { phase: 'open' });
    }
    const digests = await loadDigests();
    const context = { store: new GuardedStore(store), digests, limits: withDefaults(limits), concurrency };
    return new Checkpoint(await openRoot(context.store, name, expect, digests), context);
  }

  /** What the root says of an item. */
  #entry(name) {
    requireItemName(name);
    const entry = this.root.items.get(name);
    if (entry) return entry;
    const there = [...this.root.items.keys()].join(', ');
    throw new ScfError('item.missing', `the checkpoint has no item ${name}; it has: ${there}`, { subject: name });
  }

  /** Opens an item: gets its manifest and checks it. */
  async item(name) {
    const entry = this.#entry(name);
    return new Item(name, entry, await openManifest(this.root, entry, this.context), this.context);
  }

  /**
   * The bytes of an asset.
   * @param {string} itemName
   * @param {string} name
   */
  async asset(itemName, name) {
    const descriptor = this.#entry(itemName).assets.get(name);
    if (!descriptor) {
      throw new ScfError('asset.missing', `item ${itemName} has no asset ${name}`, { subject: name });
    }
    const { storeKey, size, sha256, external } = descriptor;
    const { store, digests, limits } = this.context;
    const about = { phase: 'read', subject: storeKey };
    if (size > limits.max_read_bytes) throw beyond('max_read_bytes', size, limits.max_read_bytes, about);
    const { bytes, found } = await getWithin(store, storeKey, Number(size));
    if (!found) throw new ScfError(external ? 'external.missing' : 'asset.missing', `the store does not have ${storeKey}`, about);
    if (bytes === null || BigInt(bytes.length) !== size) {
      throw new ScfError('asset.size', `${storeKey} has not the ${size} bytes that the root states`, about);
    }
    if (toHex(digests.sha256(bytes)) !== sha256) throw new ScfError('asset.digest', `${storeKey} does not have its SHA-256`, about);
    return bytes;
  }
}
