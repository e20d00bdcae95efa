/** Compressed blocks of Zstandard (RFC 8878, section 3.1.1.3). */

import { BackwardBits, need } from './bits.js';
import { buildTable, constantTable, readTable } from './fse.js';
import { decodeLiterals, readTree } from './huffman.js';

/** What a code of a length stands for: its least value, and the number of bits that are added to it. */
function codes(first, bits) {
  const base = new Uint32Array(bits.length);
  let value = first;
  bits.forEach((count, i) => {
    base[i] = value;
    value += 2 ** count;
  });
  return { base, bits: Uint8Array.from(bits) };
}

const zeros = (count) => new Array(count).fill(0);
const LITERALS = codes(0, [...zeros(16), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const MATCHES = codes(3, [...zeros(32), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

const repeat = (value, count) => new Array(count).fill(value);
/** Of literal lengths, offsets and match lengths: the table that needs no description, and the bounds of others. */
const KINDS = [
  {
    name: 'literals',
    maxLog: 9,
    maxSymbol: 35,
    predefined: buildTable([4, 3, ...repeat(2, 6), ...repeat(2, 5), 1, 1, 1, ...repeat(2, 9), 3, 2, ...repeat(1, 5), ...repeat(-1, 4)], 6),
  },
  {
    name: 'offsets',
    maxLog: 8,
    maxSymbol: 31,
    predefined: buildTable([...repeat(1, 6), ...repeat(2, 3), ...repeat(1, 15), ...repeat(-1, 5)], 5),
  },
  {
    name: 'matches',
    maxLog: 9,
    maxSymbol: 52,
    predefined: buildTable([1, 4, 3, ...repeat(2, 6), ...repeat(1, 37), ...repeat(-1, 7)], 6),
  },
];

/** What one block of a frame leaves for the next: tables, recent offsets. */
export class History {
  constructor() {
    this.tree = null;
    this.tables = [null, null, null];
    this.recent = [1, 4, 8];
  }
}

/** Sizes in the header of the literals section: how many there are, how many bytes stand for them, where these begin. */
function literalsHeader(bytes, at, end) {
  const type = bytes[at] & 3;
  const format = (bytes[at] >> 2) & 3;
  const short = type < 2;
  let width = short ? [1, 2, 1, 3][format] : [3, 3, 4, 5][format];
  need(at + width <= end, 'literals that are cut off');
  let word = 0;
  for (let i = 0; i < width; i += 1) word += bytes[at + i] * 2 ** (8 * i);
  const field = (low, count) => Math.floor(word / 2 ** low) % 2 ** count;
  if (short) {
    const size = width === 1 ? field(3, 5) : field(4, width === 2 ? 12 : 20);
    return { type, size, stored: type === 1 ? 1 : size, four: false, at: at + width };
  }
  const digits = [10, 10, 14, 18][format];
  return { type, size: field(4, digits), stored: field(4 + digits, digits), four: format !== 0, at: at + width };
}

/** Literals of the block, and where their section ends. */
function readLiterals(bytes, start, end, history, maxSize) {
  need(start < end, 'a block without literals');
  const { type, size, stored, four, at } = literalsHeader(bytes, start, end);
  const stop = at + stored;
  need(stop <= end && size <= maxSize, 'literals that are cut off, or too many');
  if (type === 0) return { literals: bytes.subarray(at, stop), stop };
  const literals = new Uint8Array(size);
  if (type === 1) {
    literals.fill(bytes[at]);
    return { literals, stop };
  }
  let from = at;
  if (type === 2) {
    const read = readTree(bytes, at, stop);
    history.tree = read.tree;
    from = read.end;
  }
  need(history.tree !== null, 'literals without a tree');
  decodeLiterals(history.tree, bytes, from, stop, literals, size, four);
  return { literals, stop };
}

/** Number of sequences, and where it ends. */
function sequenceCount(bytes, at, end) {
  need(at < end, 'a block without sequences');
  const first = bytes[at];
  const width = first < 128 ? 1 : first < 255 ? 2 : 3;
  need(at + width <= end, 'sequences that are cut off');
  if (width === 1) return [first, at + 1];
  if (width === 2) return [((first - 128) << 8) + bytes[at + 1], at + 2];
  return [bytes[at + 1] + (bytes[at + 2] << 8) + 0x7f00, at + 3];
}

/** Reads the three tables into the history. Gives where the bit stream of the sequences begins. */
function readTables(bytes, start, end, history) {
  need(start < end, 'sequences that are cut off');
  const modes = bytes[start];
  need((modes & 3) === 0, 'reserved bits of the sequences');
  let at = start + 1;
  KINDS.forEach(({ maxLog, maxSymbol, predefined }, kind) => {
    const mode = (modes >> (6 - 2 * kind)) & 3;
    if (mode === 0) {
      history.tables[kind] = predefined;
    } else if (mode === 1) {
      need(at < end && bytes[at] <= maxSymbol, 'a symbol that does not exist');
      history.tables[kind] = constantTable(bytes[at]);
      at += 1;
    } else if (mode === 2) {
      const read = readTable(bytes, at, end, maxLog, maxSymbol);
      history.tables[kind] = read.table;
      at = read.end;
    } else {
      need(history.tables[kind] !== null, 'a table that is to be repeated and was not there');
    }
  });
  return at;
}

/** The distance that an offset value stands for, with the recent ones brought up to date. */
function distance(value, noLiterals, recent) {
  if (value > 3) {
    recent[2] = recent[1];
    recent[1] = recent[0];
    recent[0] = value - 3;
    return recent[0];
  }
  const which = value - 1 + (noLiterals ? 1 : 0);
  const found = which === 3 ? recent[0] - 1 : recent[which];
  if (which > 1) recent[2] = recent[1];
  if (which > 0) recent[1] = recent[0];
  recent[0] = found;
  return found;
}

/** Copies the literals [from, to) to `at`. */
function copyLiterals(literals, from, to, out, at) {
  if (to - from > 32) out.set(literals.subarray(from, to), at);
  else for (let i = from, j = at; i < to; i += 1, j += 1) out[j] = literals[i];
}

/** Copies `length` bytes from `back` bytes before; the two ranges may overlap. */
function copyMatch(out, at, back, length) {
  if (back >= length && length > 32) {
    out.copyWithin(at, at - back, at - back + length);
  } else if (back === 1) {
    out.fill(out[at - 1], at, at + length);
  } else {
    for (let i = at; i < at + length; i += 1) out[i] = out[i - back];
  }
}

/** Writes the sequences and the literals that are left. Gives the end of the output. */
function runSequences(stream, count, literals, history, out, start, stop, window) {
  const [lengths, offsets, matches] = history.tables;
  const { recent } = history;
  let at = start;
  let used = 0;
  let lengthState = stream.read(lengths.log);
  let offsetState = stream.read(offsets.log);
  let matchState = stream.read(matches.log);
  for (let i = count; i > 0; i -= 1) {
    const offsetCode = offsets.symbols[offsetState];
    const matchCode = matches.symbols[matchState];
    const lengthCode = lengths.symbols[lengthState];
    const value = 2 ** offsetCode + stream.readLong(offsetCode);
    const match = MATCHES.base[matchCode] + stream.read(MATCHES.bits[matchCode]);
    const length = LITERALS.base[lengthCode] + stream.read(LITERALS.bits[lengthCode]);
    if (i > 1) {
      lengthState = lengths.base[lengthState] + stream.read(lengths.bits[lengthState]);
      matchState = matches.base[matchState] + stream.read(matches.bits[matchState]);
      offsetState = offsets.base[offsetState] + stream.read(offsets.bits[offsetState]);
    }
    need(stream.left >= 0, 'sequences that are cut off');
    need(used + length <= literals.length && length + match <= stop - at, 'sequences that give too much');
    copyLiterals(literals, used, used + length, out, at);
    used += length;
    at += length;
    const back = distance(value, length === 0, recent);
    need(back > 0 && back <= at && back <= window, 'a match before the start of the data');
    copyMatch(out, at, back, match);
    at += match;
  }
  need(stream.left === 0, 'bits left over after the sequences');
  need(literals.length - used <= stop - at, 'literals that give too much');
  out.set(literals.subarray(used), at);
  return at + literals.length - used;
}

/**
 * Decodes the compressed block in the bytes [start, end) to `out` from `at` on, and to `stop` at most.
 * Gives the end of the output. What lies before `at` in `out` is what the frame has given so far.
 */
export function decodeBlock(bytes, start, end, history, out, at, stop, window) {
  const { literals, stop: after } = readLiterals(bytes, start, end, history, stop - at);
  const [count, tablesAt] = sequenceCount(bytes, after, end);
  if (count === 0) {
    need(tablesAt === end, 'bytes left over after the literals');
    out.set(literals, at);
    return at + literals.length;
  }
  const streamAt = readTables(bytes, tablesAt, end, history);
  return runSequences(new BackwardBits(bytes, streamAt, end), count, literals, history, out, at, stop, window);
}
