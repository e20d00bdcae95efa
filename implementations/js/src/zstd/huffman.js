/** Huffman coded literals (RFC 8878, section 4.2). */

import { BackwardBits, highestBit, need } from './bits.js';
import { readTable } from './fse.js';

const MAX_BITS = 11;

/** Weights that are packed by two states of one table, which take turns until the bits are used up. */
function packedWeights(bytes, at, end) {
  const { table, end: start } = readTable(bytes, at, end, 6, 255);
  const stream = new BackwardBits(bytes, start, end);
  const weights = [];
  const states = [stream.read(table.log), stream.read(table.log)];
  need(stream.left >= 0, 'Huffman weights that are cut off');
  for (let turn = 0; ; turn ^= 1) {
    weights.push(table.symbols[states[turn]]);
    need(weights.length <= 255, 'too many Huffman weights');
    const count = table.bits[states[turn]];
    if (stream.left < count) {
      // the last bits are gone: the other state gives the last weight
      weights.push(table.symbols[states[turn ^ 1]]);
      need(weights.length <= 255, 'too many Huffman weights');
      return weights;
    }
    states[turn] = table.base[states[turn]] + stream.read(count);
  }
}

function plainWeights(bytes, at, count) {
  const weights = [];
  for (let i = 0; i < count; i += 1) {
    const byte = bytes[at + (i >> 1)];
    weights.push(i & 1 ? byte & 15 : byte >> 4);
  }
  return weights;
}

/** Reads the description of a Huffman tree from [at, end). Gives the tree and where it ends. */
export function readTree(bytes, at, end) {
  need(at < end, 'a Huffman tree that is cut off');
  const header = bytes[at];
  const size = header < 128 ? header : (header - 126) >> 1;
  const stop = at + 1 + size;
  need(stop <= end, 'a Huffman tree that is cut off');
  const weights = header < 128 ? packedWeights(bytes, at + 1, stop) : plainWeights(bytes, at + 1, header - 127);
  return { tree: buildTree(weights), end: stop };
}

/** Decoding table of the weights, to which the last symbol's is added: it makes the sum a power of two. */
function buildTree(weights) {
  let sum = 0;
  for (const weight of weights) {
    need(weight <= MAX_BITS + 1, 'a Huffman weight that is too large');
    if (weight) sum += 1 << (weight - 1);
  }
  need(sum > 0, 'a Huffman tree without codes');
  const maxBits = highestBit(sum) + 1;
  need(maxBits <= MAX_BITS, 'Huffman codes that are too long');
  const rest = (1 << maxBits) - sum;
  need((rest & (rest - 1)) === 0, 'a Huffman tree that does not come out even');
  const all = [...weights, highestBit(rest) + 1];
  need(all.filter((weight) => weight === 1).length >= 2, 'a Huffman tree without codes of full length');
  const symbols = new Uint8Array(1 << maxBits);
  const lengths = new Uint8Array(1 << maxBits);
  let position = 0;
  for (let weight = 1; weight <= maxBits; weight += 1) {
    all.forEach((own, symbol) => {
      if (own !== weight) return;
      const stop = position + (1 << (weight - 1));
      symbols.fill(symbol, position, stop);
      lengths.fill(maxBits + 1 - weight, position, stop);
      position = stop;
    });
  }
  return { maxBits, symbols, lengths };
}

/** Decodes one stream, the bytes [start, end), to exactly the literals [from, to) of `out`. */
function decodeStream(tree, bytes, start, end, out, from, to) {
  const stream = new BackwardBits(bytes, start, end);
  const { maxBits, symbols, lengths } = tree;
  for (let i = from; i < to; i += 1) {
    const code = stream.peek(maxBits);
    out[i] = symbols[code];
    stream.left -= lengths[code];
    need(stream.left >= 0, 'literals that are cut off');
  }
  need(stream.left === 0, 'bits left over after the literals');
}

/** Decodes the `count` literals whose streams are the bytes [start, end). */
export function decodeLiterals(tree, bytes, start, end, out, count, four) {
  if (!four) {
    decodeStream(tree, bytes, start, end, out, 0, count);
    return;
  }
  need(count >= 6 && end - start >= 10, 'too little for four streams');
  const part = (count + 3) >> 2;
  need(part * 3 <= count, 'too little for four streams');
  let at = start + 6;
  for (let k = 0; k < 4; k += 1) {
    const stop = k === 3 ? end : at + (bytes[start + 2 * k] | (bytes[start + 2 * k + 1] << 8));
    need(stop <= end, 'literals that are cut off');
    decodeStream(tree, bytes, at, stop, out, k * part, k === 3 ? count : (k + 1) * part);
    at = stop;
  }
}
