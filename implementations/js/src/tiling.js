/**
 * Whether the shards of a tensor hold each of its elements exactly once (section 10.3).
 *
 * The method cuts space where no box is in the way, again and again. A part whose boxes do not add up to its volume is
 * not tiled; one that is a single box of its volume is. What cannot be cut is compared pair by pair, or by corners in
 * few dimensions. The time is at worst quadratic in the number of boxes.
 */

import { beyond } from './errors.js';
import { boxesOf } from './regions.js';

const product = (sizes) => sizes.reduce((all, size) => all * size, 1n);
const sameBox = (a, b) => a.offset.every((offset, d) => offset === b.offset[d] && a.size[d] === b.size[d]);

/** Joins runs of one box that follow each other. Gives null if two of them overlap. */
function joinRuns(regions) {
  const joined = [];
  for (const { box, run } of regions) {
    const last = joined[joined.length - 1];
    if (last && sameBox(last.box, box)) {
      if (run[0] < last.run[1]) return null;
      if (run[0] === last.run[1]) {
        last.run = [last.run[0], run[1]];
        continue;
      }
    }
    joined.push({ box, run });
  }
  return joined;
}

/** Boxes of all regions; those of partial runs are bounded by the reader's limit. */
function decompose(regions, limit) {
  const boxes = [];
  let numbers = 0;
  for (const region of regions) {
    const parts = boxesOf(region);
    if (parts.length !== 1 || parts[0].size !== region.box.size) numbers += 2 * parts.length * region.box.size.length;
    if (numbers > limit) throw beyond('max_box_numbers', numbers, limit, { phase: 'manifest' });
    for (const box of parts) boxes.push(box);
  }
  return boxes;
}

/** Boxes by rank: in each dimension the distinct ends in order, and of each box the positions of its two. */
class Grid {
  constructor(boxes, shape) {
    // a dimension in which every box is whole decides nothing
    this.dims = shape.map((_, d) => d).filter((d) => boxes.some((box) => box.size[d] !== shape[d]));
    this.lows = [];
    this.highs = [];
    this.ends = this.dims.map((d) => {
      const ends = new BigUint64Array(2 * boxes.length);
      boxes.forEach((box, i) => {
        ends[2 * i] = box.offset[d];
        ends[2 * i + 1] = box.offset[d] + box.size[d];
      });
      ends.sort();
      const distinct = ends.filter((end, i) => i === 0 || end !== ends[i - 1]);
      this.lows.push(Int32Array.from(boxes, (box) => rank(distinct, box.offset[d])));
      this.highs.push(Int32Array.from(boxes, (box) => rank(distinct, box.offset[d] + box.size[d])));
      return distinct;
    });
    this.volumes = boxes.map((box) => product(box.size));
  }
}

function rank(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Cuts the boxes at each place of dimension `k` that none of them crosses; null if there is no such place. */
function cut(grid, members, k) {
  const lows = grid.lows[k];
  const highs = grid.highs[k];
  let reach = highs[members[0]];
  if (members.every((i) => highs[i] === reach && lows[i] === lows[members[0]])) return null;
  const order = members.slice().sort((a, b) => lows[a] - lows[b]);
  const parts = [];
  let start = 0;
  reach = highs[order[0]];
  for (let i = 1; i <= order.length; i += 1) {
    if (i === order.length || lows[order[i]] >= reach) {
      parts.push({ members: order.slice(start, i), low: lows[order[start]], high: reach });
      start = i;
    }
    if (i < order.length && highs[order[i]] > reach) reach = highs[order[i]];
  }
  return parts.length > 1 ? parts : null;
}

/** Whether no two of the boxes have an element in common; by pairs that overlap in the first dimension. */
function disjoint(grid, members) {
  const { lows, highs, dims } = grid;
  const order = members.slice().sort((a, b) => lows[0][a] - lows[0][b]);
  for (let i = 0; i < order.length; i += 1) {
    const a = order[i];
    for (let j = i + 1; j < order.length && lows[0][order[j]] < highs[0][a]; j += 1) {
      const b = order[j];
      let k = 1;
      while (k < dims.length && lows[k][a] < highs[k][b] && lows[k][b] < highs[k][a]) k += 1;
      if (k >= dims.length) return false;
    }
  }
  return true;
}

/** Whether boxes tile the box from `low` to `high`, by the signs of their corners (section 10.3). */
function cornersTile(grid, members, low, high) {
  const sums = new Map();
  const add = (lower, upper, factor) => {
    for (let corner = 0; corner < 1 << lower.length; corner += 1) {
      let sign = factor;
      let point = '';
      for (let k = 0; k < lower.length; k += 1) {
        const upperEnd = (corner >> k) & 1;
        if (upperEnd) sign = -sign;
        point += `${upperEnd ? upper[k] : lower[k]},`;
      }
      const sum = (sums.get(point) ?? 0) + sign;
      if (sum === 0) sums.delete(point);
      else sums.set(point, sum);
    }
  };
  for (const i of members) add(grid.lows.map((lows) => lows[i]), grid.highs.map((highs) => highs[i]), 1);
  add(low, high, -1);
  return sums.size === 0;
}

/** Whether boxes that cannot be cut tile a part to whose volume they add up. */
function solidTiles(grid, members, low, high) {
  const corners = members.length * 2 ** low.length * low.length;
  if (low.length <= 12 && corners < members.length ** 2) return cornersTile(grid, members, low, high);
  return disjoint(grid, members);
}

/** Whether boxes, all within the shape, tile it. */
function boxesTile(boxes, shape) {
  const grid = new Grid(boxes, shape);
  const whole = product(shape);
  const everywhere = grid.dims.length;
  const low = grid.ends.map(() => 0);
  const high = grid.ends.map((ends) => ends.length - 1);
  const complete = grid.ends.every((ends, k) => ends[0] === 0n && ends[ends.length - 1] === shape[grid.dims[k]]);
  if (!complete) return false;
  const parts = [{ members: boxes.map((_, i) => i), low, high, volume: whole, turn: 0 }];
  while (parts.length) {
    const part = parts.pop();
    const sum = part.members.reduce((all, i) => all + grid.volumes[i], 0n);
    if (sum !== part.volume) return false;
    if (part.members.length === 1) continue;
    let pieces = null;
    let k = part.turn;
    for (let tried = 0; tried < everywhere && !pieces; tried += 1) {
      k = (part.turn + tried) % everywhere;
      pieces = cut(grid, part.members, k);
    }
    if (!pieces) {
      if (!solidTiles(grid, part.members, part.low, part.high)) return false;
      continue;
    }
    const ends = grid.ends[k];
    const length = (from, to) => ends[to] - ends[from];
    if (pieces[0].low !== part.low[k] || pieces[pieces.length - 1].high !== part.high[k]) return false;
    for (let i = 0; i < pieces.length; i += 1) {
      const { members, low: from, high: to } = pieces[i];
      if (i && from !== pieces[i - 1].high) return false;
      parts.push({
        members,
        low: part.low.with(k, from),
        high: part.high.with(k, to),
        volume: (part.volume / length(part.low[k], part.high[k])) * length(from, to),
        turn: (k + 1) % everywhere,
      });
    }
  }
  return true;
}

/**
 * Whether regions of a tensor tile it. Each of them lies in the tensor, and they come in the order of shards.
 * @param {import('./regions.js').Region[]} regions
 * @param {bigint[]} shape
 * @param {number} maxBoxNumbers
 */
export function tiles(regions, shape, maxBoxNumbers) {
  if (shape.includes(0n)) return regions.length <= 1;
  const joined = joinRuns(regions);
  if (!joined) return false;
  const elements = joined.reduce((sum, { run }) => sum + run[1] - run[0], 0n);
  if (elements !== product(shape)) return false;
  if (joined.length === 1) return true;
  return boxesTile(decompose(joined, maxBoxNumbers), shape);
}
