/** A manifest: from its stored bytes to tables that have been checked (chapters 7 and 8). */

import { ScfError } from '../errors.js';
import { noExtension, treeExtension } from '../extensions.js';
import { MessagePackReader } from '../msgpack.js';
import { isAttempt, isItemName } from '../names.js';
import { MapNode } from '../nodes.js';
import { checkTree } from '../tree.js';
import { decodePlainFrame, ZstdError } from '../zstd/frame.js';
import { readObjects } from './objects.js';
import { Shards } from './shards.js';
import { Tensors } from './tensors.js';
import { readCodecs, readDtypes } from './types.js';
import { refuse, text } from './values.js';

/** Raw bytes of a manifest (section 7.1). */
function unfold(stored, rawSize) {
  try {
    return decodePlainFrame(stored, rawSize);
  } catch (error) {
    if (error instanceof ZstdError) {
      throw new ScfError('manifest.frame', `the manifest is not one plain frame of ${rawSize} bytes: ${error.message}`);
    }
    throw error;
  }
}

/** The top map (section 7.2). Extensions are read in the tree and refused everywhere else. */
function parse(raw, maxValues) {
  const reader = new MessagePackReader(raw, { maxValues, extension: noExtension });
  const size = reader.mapSize();
  if (size === null) throw new ScfError('manifest.syntax', 'the manifest is not a map');
  const keys = [];
  const values = [];
  reader.entries(size, 1, (key) => {
    reader.extension = key === 'tree' ? treeExtension : noExtension;
    keys.push(key);
    values.push(reader.value(2));
  });
  if (reader.at !== raw.length) throw new ScfError('manifest.syntax', 'the manifest has bytes after its map');
  return new MapNode(keys, values);
}

/** The tree, the tables and what they say of tensors, shards and blocks. */
export class Manifest {
  /**
   * @param {Uint8Array} stored bytes whose digest has been checked
   * @param {{rawSize: number, item: string, attempt: string, base: string, external: Set<string>, maxValues: number}} context
   *   item and attempt of the manifest's own key, the checkpoint that keys are relative to, those of `external`
   */
  constructor(stored, context) {
    const top = parse(unfold(stored, context.rawSize), context.maxValues);
    if (top.get('scf') !== 1n) refuse('scf is not 1');
    this.attempt = text(top.get('attempt'), 'attempt');
    this.item = text(top.get('item'), 'item');
    if (!isAttempt(this.attempt) || !isItemName(this.item)) refuse('the attempt or the item is outside the grammar');
    if (this.attempt !== context.attempt || this.item !== context.item) refuse('the manifest is not the one of its key');
    this.dtypes = readDtypes(top);
    this.codecs = readCodecs(top);
    this.tensors = new Tensors(top.get('tensors'), this.dtypes);
    this.objects = readObjects(top, context);
    this.shards = new Shards(top.get('shards'), this.tensors, this.objects, this.codecs.length);
    if (!top.has('tree')) refuse('the manifest has no tree');
    this.tree = top.get('tree');
    checkTree(this.tree, this.tensors.count);
  }
}
