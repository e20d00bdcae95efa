import assert from 'node:assert/strict';
import { test } from 'node:test';

import { boxesOf, sharedPieces } from '../src/regions.js';
import { tiles } from '../src/tiling.js';
import { refused } from './build.js';

const big = (values) => values.map(BigInt);
const region = (offset, size, run) => {
  const box = { offset: big(offset), size: big(size) };
  return { box, run: run ? big(run) : [0n, box.size.reduce((all, one) => all * one, 1n)] };
};
const small = ({ offset, size }) => [offset.map(Number), size.map(Number)];

/** A generator of numbers that are the same in every run. */
function numbers(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function randomRegion(next, shape) {
  const offset = shape.map((size) => next(size));
  const size = shape.map((all, d) => 1 + next(all - offset[d]));
  const whole = next(3) === 0;
  const box = whole ? [shape.map(() => 0), shape] : [offset, size];
  const volume = box[1].reduce((all, one) => all * one, 1);
  const start = next(volume + 1);
  return region(box[0], box[1], next(2) ? [start, start + next(volume + 1 - start)] : null);
}

/** Indices of the elements of a region, in order, by the definition. */
function elements({ box: { offset, size }, run }) {
  const result = [];
  for (let p = run[0]; p < run[1]; p += 1n) {
    let rest = p;
    const index = new Array(size.length);
    for (let d = size.length - 1; d >= 0; d -= 1) {
      index[d] = Number(offset[d] + (rest % size[d]));
      rest /= size[d];
    }
    result.push(index.join());
  }
  return result;
}

test('runs as boxes: the examples of section 10.2', () => {
  assert.deepEqual(boxesOf(region([0, 0], [4, 5], [3, 17])).map(small), [[[0, 3], [1, 2]], [[1, 0], [2, 5]], [[3, 0], [1, 2]]]);
  assert.deepEqual(boxesOf(region([0, 0, 0], [3, 4, 5], [7, 53])).map(small), [
    [[0, 1, 2], [1, 1, 3]], [[0, 2, 0], [1, 2, 5]], [[1, 0, 0], [1, 4, 5]], [[2, 0, 0], [1, 2, 5]], [[2, 2, 0], [1, 1, 3]],
  ]);
  assert.deepEqual(boxesOf(region([0, 0], [4, 5], [6, 9])).map(small), [[[1, 1], [1, 3]]]);
  assert.deepEqual(boxesOf(region([0, 0], [4, 5], [5, 15])).map(small), [[[1, 0], [2, 5]]]);
  assert.deepEqual(boxesOf(region([], [], [0, 1])).map(small), [[[], []]]);
  assert.deepEqual(boxesOf(region([0], [4], [2, 2])), []);
});

test('runs as boxes: any run, against the definition', () => {
  const next = numbers(1);
  for (let i = 0; i < 400; i += 1) {
    const shape = Array.from({ length: 1 + next(4) }, () => 1 + next(4));
    const one = randomRegion(next, shape);
    const boxes = boxesOf(one);
    assert.ok(boxes.length <= 2 * shape.length - 1 || boxes.length === 0);
    assert.deepEqual(boxes.flatMap((box) => elements({ box, run: [0n, box.size.reduce((a, b) => a * b, 1n)] })), elements(one));
  }
});

test('what two regions share, against the definition', () => {
  const next = numbers(2);
  for (let i = 0; i < 1500; i += 1) {
    const shape = Array.from({ length: next(5) }, () => 1 + next(4));
    const [source, target] = [randomRegion(next, shape), randomRegion(next, shape)];
    const from = elements(source);
    const to = elements(target);
    const places = new Map(from.map((index, at) => [index, at]));
    const expected = to.flatMap((index, at) => (places.has(index) ? [[places.get(index), at]] : []));
    const found = [];
    for (const { from: a, to: b, length, loops } of sharedPieces(source, target)) {
      const walk = (d, x, y) => {
        if (d === loops.length) for (let k = 0n; k < length; k += 1n) found.push([Number(x + k), Number(y + k)]);
        else for (let k = 0n; k < loops[d].count; k += 1n) walk(d + 1, x + k * loops[d].from, y + k * loops[d].to);
      };
      walk(0, a, b);
    }
    assert.deepEqual(found, expected);
  }
});

const LIMIT = 67108864;
const inShardOrder = (regions) => {
  const key = ({ box, run }) => [...box.offset, run[0]];
  return regions.slice().sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const d = x.findIndex((value, i) => value !== y[i]);
    return d === -1 ? 0 : x[d] < y[d] ? -1 : 1;
  });
};
const isTiled = (regions, shape, limit = LIMIT) => tiles(inShardOrder(regions), big(shape), limit);

test('tiling: any regions, against counting', () => {
  const next = numbers(3);
  let tiled = 0;
  for (let i = 0; i < 4000; i += 1) {
    const shape = Array.from({ length: 1 + next(3) }, () => 1 + next(4));
    // cut the whole again and again, then sometimes put in another region
    let regions = [region(shape.map(() => 0), shape)];
    for (let cuts = next(5); cuts > 0; cuts -= 1) {
      const at = next(regions.length);
      const [one] = regions.splice(at, 1);
      const volume = Number(one.run[1] - one.run[0]);
      const middle = one.run[0] + BigInt(next(volume + 1));
      const parts = next(2)
        ? [{ ...one, run: [one.run[0], middle] }, { ...one, run: [middle, one.run[1]] }]
        : boxesOf(one).map((box) => region(box.offset, box.size));
      regions.push(...parts.filter(({ run }) => run[0] < run[1]));
    }
    if (next(2)) regions = regions.concat([randomRegion(next, shape)]).slice(next(3));
    regions = regions.filter(({ run }) => run[0] < run[1]);
    const all = regions.flatMap(elements);
    const total = shape.reduce((a, b) => a * b, 1);
    const expected = all.length === total && new Set(all).size === total;
    tiled += expected;
    assert.equal(isTiled(regions, shape), expected, JSON.stringify({ shape, regions }, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
  }
  assert.ok(tiled > 500 && tiled < 3500);
});

test('tiling: a pinwheel has no cut through it', () => {
  const pinwheel = [region([0, 0], [1, 2]), region([0, 2], [2, 1]), region([2, 1], [1, 2]), region([1, 0], [2, 1]), region([1, 1], [1, 1])];
  assert.ok(isTiled(pinwheel, [3, 3]));
  assert.ok(!isTiled([...pinwheel.slice(0, 4), region([0, 0], [1, 1])], [3, 3]));
  const solid = pinwheel.map(({ box }) => region([...box.offset, 0n], [...box.size, 2n]));
  assert.ok(isTiled(solid, [3, 3, 2]));
});

test('tiling: a gap and an overlap of one size', () => {
  assert.ok(!isTiled([region([0, 0], [2, 2]), region([1, 1], [2, 2]), region([0, 2], [1, 1])], [3, 3]));
  assert.ok(!isTiled([region([0], [2]), region([0], [2])], [4]));
});

test('tiling: a spiral that cannot be cut, and one with a gap and an overlap', () => {
  const spiral = [];
  let [low, high] = [0, 42];
  for (; low < 20; low += 1, high -= 1) {
    const side = high - low - 1;
    spiral.push(region([low, low], [1, side]), region([low, high - 1], [side, 1]), region([high - 1, low + 1], [1, side]), region([low + 1, low], [side, 1]));
  }
  spiral.push(region([low, low], [2, 2]));
  assert.ok(isTiled(spiral, [42, 42]));
  const moved = spiral.with(4, region([2, 1], [1, 39]));
  assert.ok(!isTiled(moved, [42, 42]));
  // the same in four dimensions, of which none is whole: by pairs
  const thick = (boxes) => boxes.flatMap(({ box }) => [0, 1].flatMap((i) => [0, 1].map((j) => region([...box.offset, i, j], [...box.size, 1, 1]))));
  assert.ok(isTiled(thick(spiral), [42, 42, 2, 2]));
  assert.ok(!isTiled(thick(moved), [42, 42, 2, 2]));
});

test('tiling: empty tensors and scalars', () => {
  assert.ok(isTiled([], [0, 3]));
  assert.ok(isTiled([region([0, 0], [0, 3])], [0, 3]));
  assert.ok(!isTiled([region([0, 0], [0, 3]), region([0, 0], [0, 3])], [0, 3]));
  assert.ok(isTiled([region([], [])], []));
  assert.ok(!isTiled([], []));
  assert.ok(!isTiled([region([], []), region([], [])], []));
  assert.ok(!isTiled([], [2]));
});

test('tiling: many boxes take little time', () => {
  const side = 150;
  const grid = [];
  for (let i = 0; i < side; i += 1) for (let j = 0; j < side; j += 1) grid.push(region([3 * i, 5 * j], [3, 5]));
  assert.ok(isTiled(grid, [3 * side, 5 * side]));
  grid[77] = grid[78];
  assert.ok(!isTiled(grid, [3 * side, 5 * side]));
  const runs = Array.from({ length: 20000 }, (_, i) => region([0, 0], [20000, 7], [7 * i + (i ? 3 : 0), i === 19999 ? 140000 : 7 * i + 10]));
  assert.ok(isTiled(runs, [20000, 7]));
});

test('tiling: 64 dimensions take little time', () => {
  const shape = new Array(62).fill(2);
  const zeros = shape.map(() => 0);
  const half = 2n ** 61n;
  // two halves, each of them cut by a run of its own box
  const top = [1, ...shape.slice(1)];
  const third = half / 3n;
  const regions = [
    { box: { offset: big(zeros), size: big(top) }, run: [0n, third] },
    { box: { offset: big(zeros), size: big(top) }, run: [third, half] },
    { box: { offset: big(zeros), size: big(shape) }, run: [half, half + third] },
    { box: { offset: big([1, ...zeros.slice(1)]), size: big(top) }, run: [third, half] },
  ];
  assert.ok(isTiled(regions, shape));
  regions[2].run = [half - 1n, half + third - 1n];
  assert.ok(!isTiled(regions, shape));
  // in each dimension one corner box: 62 boxes that halve what is left
  const corners = shape.map((_, d) => region(shape.map((__, k) => (k < d ? 1 : 0)), shape.map((__, k) => (k <= d ? 1 : 2))));
  corners.push(region(shape.map(() => 1), shape.map(() => 1)));
  assert.ok(isTiled(corners, shape));
  corners[62] = region(shape.map((_, k) => (k ? 1 : 0)), shape.map(() => 1));
  assert.ok(!isTiled(corners, shape));
});

test('tiling: the boxes of runs are bounded', async () => {
  const runs = [region([0, 0], [3, 3], [0, 4]), region([0, 0], [3, 3], [5, 9]), region([1, 1], [1, 1])];
  assert.ok(isTiled(runs, [3, 3]));
  await refused(assert, (async () => isTiled(runs, [3, 3], 8))(), 'limit.exceeded');
});
