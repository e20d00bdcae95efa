/** Verification of a whole checkpoint (section 12.5): everything that is wrong with it. */

import { batches, ShardBlocks } from './blocks.js';
import { openManifest, openRoot } from './checkpoint.js';
import { loadDigests, streamingSha256 } from './digest.js';
import { ScfError } from './errors.js';
import { compareEntry, entryName, isForeign, readHeader } from './header.js';
import { withDefaults } from './limits.js';
import { requireCheckpointName } from './names.js';
import { TensorReader } from './read.js';
import { GuardedStore } from './store.js';
import { sameBytes, show } from './text.js';

const PIECE = 8 * 2 ** 20;

/** @typedef {{code: string, subject: string, message: string}} Finding */

class Verifier {
  constructor(checkpoint, deep, context) {
    this.checkpoint = checkpoint;
    this.deep = deep;
    this.context = context;
    /** @type {Finding[]} */
    this.findings = [];
  }

  report(code, subject, message) {
    this.findings.push({ code, subject, message: show(message) });
  }

  /** Runs a check; an error of the registry is a finding. Gives undefined after one. */
  async attempt(check, subject) {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof ScfError)) throw error;
      this.report(error.code, error.subject || subject, error.message);
      return undefined;
    }
  }

  async run(expect) {
    const { store, digests } = this.context;
    const root = await this.attempt(() => openRoot(store, this.checkpoint, expect, digests), this.checkpoint);
    if (!root) return;
    for (const [name, entry] of root.items) {
      const manifest = await this.attempt(() => openManifest(root, entry, this.context), name);
      if (manifest) await this.#item(name, entry, manifest);
      for (const descriptor of entry.assets.values()) await this.attempt(() => this.#asset(descriptor), descriptor.storeKey);
    }
  }

  async #item(name, entry, manifest) {
    const { tensors } = manifest;
    const reader = new TensorReader(manifest, this.context);
    for (let i = 0; i < tensors.count; i += 1) {
      const dtype = tensors.dtype(i);
      if (!dtype.known) this.report('dtype.unsupported', tensors.names[i], `tensor ${tensors.names[i]} has the dtype ${dtype.name}`);
      await this.attempt(() => reader.checkTiling(i), tensors.names[i]);
    }
    this.#counts(name, entry, manifest);
    const shards = groupByObject(manifest);
    for (const [number, object] of manifest.objects.entries()) {
      this.#shardsOfObject(manifest, object, shards[number]);
      await this.attempt(() => this.#object(manifest, reader, object, shards[number]), object.storeKey);
    }
  }

  #counts(name, { counts }, { tensors, shards, objects }) {
    let bytes = 0n;
    for (let i = 0; i < tensors.count; i += 1) bytes += tensors.byteSize(i);
    const found = { tensors: BigInt(tensors.count), shards: BigInt(shards.count), objects: BigInt(objects.length), bytes };
    for (const [what, value] of Object.entries(found)) {
      if (counts[what] !== value) {
        this.report('manifest.schema', name, `item ${name}: the root counts ${counts[what]} ${what}, the manifest has ${value}`);
      }
    }
  }

  /** Coverage of an own object, and that no two entries of an object have one name. */
  #shardsOfObject(manifest, object, { numbers, all }) {
    const names = new Set();
    for (const i of all) {
      const name = entryName(manifest, manifest.shards.get(i));
      if (names.has(name)) this.report('manifest.schema', object.storeKey, `${object.storeKey} has two shards with the entry name ${name}`);
      names.add(name);
    }
    if (!object.own) return;
    let at = object.dataStart;
    for (const i of numbers) {
      const offset = manifest.shards.offset.at(i);
      if (offset !== at) break;
      at = offset + manifest.shards.storedSizes[i];
    }
    if (at !== object.size) this.report('manifest.schema', object.storeKey, `the shards of ${object.storeKey} leave a gap at ${at}`);
  }

  async #object(manifest, reader, object, shards) {
    await reader.checkObjects([object]);
    if (!this.deep) return;
    const digest = this.context.digests[object.digest];
    if (!digest) this.report('digest.unsupported', object.storeKey, `${object.storeKey} has the digest ${object.digest}`);
    else await this.attempt(() => this.#header(manifest, object, shards, digest), object.storeKey);
    for (const i of shards.all) {
      const shard = manifest.shards.get(i);
      await this.attempt(() => this.#blocks(new ShardBlocks(manifest, shard), digest), object.storeKey);
    }
  }

  async #header(manifest, object, { all }, digest) {
    const { storeKey } = object;
    const bytes = await this.context.store.getRange(storeKey, 0, Number(object.dataStart));
    if (!sameBytes(digest(bytes), object.headerDigest)) {
      throw new ScfError('object.header_digest', `the header of ${storeKey} does not have its digest`, { subject: storeKey });
    }
    const shards = all.map((i) => manifest.shards.get(i));
    const foreign = new Set(shards.filter((shard) => isForeign(manifest, shard)).map((shard) => entryName(manifest, shard)));
    const entries = readHeader(bytes, object, foreign);
    const named = new Set();
    for (const shard of shards) {
      const name = entryName(manifest, shard);
      if (named.has(name)) continue; // two shards of one name are a finding of their own
      named.add(name);
      const difference = compareEntry(manifest, shard, entries.get(name));
      if (difference) this.report('object.header', `${storeKey} ${name}`, `the header of ${storeKey}, entry ${name}: ${difference}`);
    }
    if (!object.own) return;
    for (const name of entries.keys()) {
      if (named.has(name)) continue;
      this.report('object.header', `${storeKey} ${name}`, `the header of ${storeKey} has the entry ${name}, which is no shard`);
    }
  }

  /** Digests of all blocks of a shard; of encoded ones that they decode, too. */
  async #blocks(blocks, digest) {
    const { shard } = blocks;
    if (blocks.decode === undefined) {
      this.report('codec.unsupported', blocks.name, `${blocks.name} has a codec chain that is not implemented`);
    }
    if (!digest || blocks.count === 0) return;
    for (const [first, last] of batches(blocks, [[0, blocks.count - 1]], PIECE)) {
      const start = blocks.storedStart(first);
      const bytes = await this.context.store.getRange(shard.object.storeKey, start, blocks.storedEnd(last));
      for (let k = first; k <= last; k += 1) {
        const stored = bytes.subarray(blocks.storedStart(k) - start, blocks.storedEnd(k) - start);
        await this.attempt(() => this.#block(blocks, k, stored, digest), blocks.subject(k));
      }
    }
  }

  #block(blocks, k, stored, digest) {
    blocks.check(k, stored, digest);
    if (!blocks.decode) return;
    const decoded = blocks.decoded(k, stored);
    const wanted = blocks.shards.decodedDigest(blocks.shard.index, k);
    if (wanted && !sameBytes(digest(decoded), wanted)) {
      const subject = blocks.subject(k);
      throw new ScfError('block.digest', `the decoded bytes of ${subject} do not have their digest`, { subject });
    }
  }

  async #asset({ storeKey, size, sha256, external }) {
    const { store } = this.context;
    const found = await store.stat(storeKey);
    if (!found) throw new ScfError(external ? 'external.missing' : 'asset.missing', `the store does not have ${storeKey}`);
    if (BigInt(found.size) !== size) throw new ScfError('asset.size', `${storeKey} has ${found.size} bytes, not ${size}`);
    if (!this.deep) return;
    const hasher = await streamingSha256();
    for (let at = 0; at < found.size; at += PIECE) {
      hasher.update(await store.getRange(storeKey, at, Math.min(at + PIECE, found.size)));
    }
    if (hasher.digest('hex') !== sha256) throw new ScfError('asset.digest', `${storeKey} does not have its SHA-256`);
  }
}

/** Shard numbers of each object: those that have bytes by offset, and all of them. */
function groupByObject({ shards, objects }) {
  const groups = objects.map(() => ({ numbers: [], all: [] }));
  for (const i of shards.byPlace()) groups[shards.objectColumn.at(i)].numbers.push(i);
  for (let i = 0; i < shards.count; i += 1) groups[shards.objectColumn.at(i)].all.push(i);
  return groups;
}

/**
 * Everything that is wrong with a checkpoint. Damage of any kind is a finding; what throws is a call that makes no sense.
 * @param {import('./store.js').Store} store
 * @param {string} checkpoint
 * @param {{deep?: boolean, expect?: string | null, limits?: object, concurrency?: number}} [options]
 * @returns {Promise<{sound: boolean, findings: Finding[]}>}
 */
export async function verify(store, checkpoint, { deep = true, expect = null, limits, concurrency = 4 } = {}) {
  requireCheckpointName(checkpoint);
  const digests = await loadDigests();
  const context = { store: new GuardedStore(store), digests, limits: withDefaults(limits), concurrency };
  const verifier = new Verifier(checkpoint, deep, context);
  await verifier.run(expect);
  return { sound: verifier.findings.length === 0, findings: verifier.findings };
}
