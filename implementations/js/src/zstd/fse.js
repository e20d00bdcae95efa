/** Tables of finite state entropy (RFC 8878, section 4.1). */

import { highestBit, need } from './bits.js';

/**
 * A decoding table: of each state its symbol, and how the next state follows.
 * @typedef {{log: number, symbols: Uint8Array, bits: Uint8Array, base: Uint16Array}} FseTable
 */

/** Table of a distribution; −1 stands for a probability below one. */
export function buildTable(counts, log) {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size - 1;
  counts.forEach((count, symbol) => {
    next[symbol] = count === -1 ? 1 : count;
    if (count === -1) {
      symbols[high] = symbol;
      high -= 1;
    }
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let position = 0;
  counts.forEach((count, symbol) => {
    for (let i = 0; i < count; i += 1) {
      symbols[position] = symbol;
      do {
        position = (position + step) & (size - 1);
      } while (position > high);
    }
  });
  need(position === 0, 'a table that does not come out even');
  const bits = new Uint8Array(size);
  const base = new Uint16Array(size);
  for (let state = 0; state < size; state += 1) {
    const value = next[symbols[state]];
    next[symbols[state]] += 1;
    bits[state] = log - highestBit(value);
    base[state] = (value << bits[state]) - size;
  }
  return { log, symbols, bits, base };
}

/** Table that gives one symbol always and takes no bits. */
export function constantTable(symbol) {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), base: new Uint16Array(1) };
}

/** Reads the description of a table from [at, end). Gives the table and where it ends. */
export function readTable(bytes, at, end, maxLog, maxSymbol) {
  let bit = at * 8;
  const take = (count) => {
    need(bit + count <= end * 8, 'a table that is cut off');
    let value = 0;
    for (let i = 0; i < count; i += 1, bit += 1) value |= ((bytes[bit >> 3] >> (bit & 7)) & 1) << i;
    return value;
  };
  const log = take(4) + 5;
  need(log <= maxLog, 'a table that is too large');
  const counts = [];
  let remaining = 1 << log;
  while (remaining > 0) {
    need(counts.length <= maxSymbol, 'a table with too many symbols');
    // values 0 … remaining + 1; the smaller ones take one bit less
    const width = highestBit(remaining + 1) + 1;
    const spare = (1 << width) - 1 - (remaining + 1);
    let value = take(width - 1);
    if (value >= spare) {
      value |= take(1) << (width - 1);
      if (value >= 1 << (width - 1)) value -= spare;
    }
    const count = value - 1;
    counts.push(count);
    remaining -= Math.abs(count);
    if (count === 0) {
      let repeat;
      do {
        repeat = take(2);
        for (let i = 0; i < repeat; i += 1) counts.push(0);
        need(counts.length <= maxSymbol + 1, 'a table with too many symbols');
      } while (repeat === 3);
    }
  }
  need(remaining === 0, 'a table that does not come out even');
  return { table: buildTable(counts, log), end: (bit + 7) >> 3 };
}
