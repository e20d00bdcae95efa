/** The tree of an item: its depth, its references, its paths (chapter 8). */

import { ScfError } from './errors.js';
import { FORMAT } from './limits.js';
import { Flattened, Indexed, MapNode, TensorRef, Tuple } from './nodes.js';
import { encodeUtf8, toHex, utf8Length } from './text.js';

const refuse = (message) => {
  throw new ScfError('tree.schema', message);
};

/** Calls `visit(components, node)` for each child of a node, in order; gives whether the node is a container. */
function eachChild(node, visit) {
  if (Array.isArray(node)) node.forEach((child, i) => visit([BigInt(i)], child));
  else if (node instanceof Tuple) node.elements.forEach((child, i) => visit([BigInt(i)], child));
  else if (node instanceof Indexed) node.values.forEach((child, i) => visit([BigInt(i)], child));
  else if (node instanceof MapNode) node.keys.forEach((key, i) => visit([key], node.values[i]));
  else if (node instanceof Flattened) {
    node.inner.keys.forEach((name, i) => visit(['inner', name], node.inner.values[i]));
    visit(['attributes'], node.attributes);
  }
}

/** Checks depth and references of a tree. */
export function checkTree(top, tensorCount) {
  if (!(top instanceof MapNode)) refuse('the tree is not a map');
  const referenced = new Uint8Array(tensorCount);
  let left = tensorCount;
  const check = (node, level) => {
    if (level > FORMAT.treeDepth) refuse(`the tree has a node below level ${FORMAT.treeDepth}`);
    if (!(node instanceof TensorRef)) {
      eachChild(node, (_, child) => check(child, level + 1));
      return;
    }
    if (node.number >= tensorCount) refuse(`the tree has a reference to tensor ${node.number}, which does not exist`);
    left -= 1 - referenced[node.number];
    referenced[node.number] = 1;
  };
  check(top, 1);
  if (left) refuse(`the tree has no reference to tensor ${referenced.indexOf(0)}`);
}

/**
 * Paths and numbers of all tensor leaves, in tree order.
 * @returns {{path: (string | bigint)[], number: number}[]}
 */
export function tensorLeaves(top) {
  const leaves = [];
  const walk = (node, path) => {
    if (node instanceof TensorRef) leaves.push({ path, number: node.number });
    else eachChild(node, (components, child) => walk(child, [...path, ...components]));
  };
  walk(top, []);
  return leaves;
}

/**
 * The node at a path, or undefined.
 * @param {unknown} top
 * @param {(string | bigint)[]} path
 */
export function nodeAt(top, path) {
  let node = top;
  for (let i = 0; i < path.length; i += 1) {
    if (node instanceof Flattened && path[i] === 'inner' && i + 1 < path.length) {
      i += 1;
      node = node.inner.get(path[i]);
    } else if (node instanceof Flattened) {
      node = path[i] === 'attributes' ? node.attributes : undefined;
    } else if (node instanceof MapNode) {
      node = node.get(path[i]);
    } else {
      const list = Array.isArray(node) ? node : node instanceof Tuple ? node.elements : node instanceof Indexed ? node.values : [];
      node = typeof path[i] === 'bigint' && path[i] >= 0n ? list[Number(path[i])] : undefined;
    }
    if (node === undefined) return undefined;
  }
  return node;
}

const ESCAPED = /[%/@\u0000-\u001f\u007f]/g;
const percent = (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;

function escapeComponent(component) {
  if (typeof component === 'bigint') return `#${component}`;
  if (component === '') return '%';
  const escaped = component.replace(ESCAPED, percent);
  return escaped.startsWith('#') ? `%23${escaped.slice(1)}` : escaped;
}

/**
 * The tensor name that a path derives (section 9.4).
 * @param {(string | bigint)[]} path
 * @param {Record<string, (bytes: Uint8Array) => Uint8Array>} digests
 */
export function tensorName(path, digests) {
  let name = path.map(escapeComponent).join('/');
  if (name === '__metadata__') name = '%5F_metadata__';
  return utf8Length(name) > 60000 ? `%h${toHex(digests.sha256(encodeUtf8(name)))}` : name;
}
