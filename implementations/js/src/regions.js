/** Regions: a box of a tensor and a run within it (chapter 10), and the bytes that two of them share. */

/**
 * @typedef {{offset: bigint[], size: bigint[]}} Box
 * @typedef {{box: Box, run: [bigint, bigint]}} Region
 */

const product = (sizes) => sizes.reduce((all, size) => all * size, 1n);

/** Elements per step of each dimension, in the row-major order of a box of these sizes. */
export function strides(sizes) {
  const result = new Array(sizes.length);
  let step = 1n;
  for (let d = sizes.length - 1; d >= 0; d -= 1) {
    result[d] = step;
    step *= sizes[d];
  }
  return result;
}

/**
 * The boxes that a run of a box consists of, in the order of the run, in coordinates of the tensor. There are at
 * most 2n − 1; none if the run is empty.
 * @param {Region} region
 * @returns {Box[]}
 */
export function boxesOf({ box, run: [start, stop] }) {
  if (start === stop) return [];
  const { offset, size } = box;
  if (start === 0n && stop === product(size)) return [{ offset, size }];
  const steps = strides(size);
  const boxes = [];
  let at = start;
  // from each place on, the largest box that ends within the run and begins at a whole step
  while (at < stop) {
    let d = size.length - 1;
    while (d > 0 && at % steps[d - 1] === 0n && at + steps[d - 1] <= stop) d -= 1;
    boxes.push(slab(offset, size, steps, at, stop, d));
    const { size: taken } = boxes[boxes.length - 1];
    at += taken[d] * steps[d];
  }
  return boxes;
}

/** The box that begins at position `at` and takes as many steps of dimension `d` as the run and the box allow. */
function slab(offset, size, steps, at, stop, d) {
  const begin = offset.slice();
  const taken = size.slice();
  let rest = at;
  for (let k = 0; k <= d; k += 1) {
    const index = rest / steps[k];
    rest %= steps[k];
    begin[k] += index;
    if (k < d) {
      taken[k] = 1n;
    } else {
      const here = size[k] - index;
      const wanted = (stop - at) / steps[k];
      taken[k] = wanted < here ? wanted : here;
    }
  }
  return { offset: begin, size: taken };
}

/** The box that two boxes share, or null. */
function intersect(a, b) {
  const offset = [];
  const size = [];
  for (let d = 0; d < a.offset.length; d += 1) {
    const begin = a.offset[d] > b.offset[d] ? a.offset[d] : b.offset[d];
    const [endA, endB] = [a.offset[d] + a.size[d], b.offset[d] + b.size[d]];
    const end = endA < endB ? endA : endB;
    if (begin >= end) return null;
    offset.push(begin);
    size.push(end - begin);
  }
  return { offset, size };
}

/** Place of a box's first element in the run of a region. */
function placeIn({ box, run }, steps, offset) {
  return offset.reduce((at, index, d) => at + (index - box.offset[d]) * steps[d], -run[0]);
}

const sameBox = (a, b) => a.offset.every((offset, d) => offset === b.offset[d] && a.size[d] === b.size[d]);

/**
 * What two regions share, as pieces in rising order in both: `rows` ranges of `length` elements each, of which the
 * first is at `from` in the source's run and at `to` in the target's; `loops` says where the others are.
 * @param {Region} source
 * @param {Region} target
 */
export function* sharedPieces(source, target) {
  if (sameBox(source.box, target.box)) {
    // also where elements are less than a byte: rows of a whole tensor need not begin at one
    const start = source.run[0] > target.run[0] ? source.run[0] : target.run[0];
    const stop = source.run[1] < target.run[1] ? source.run[1] : target.run[1];
    if (start < stop) yield { from: start - source.run[0], to: start - target.run[0], length: stop - start, loops: [] };
    return;
  }
  if (!intersect(source.box, target.box)) return;
  const targets = boxesOf(target);
  const steps = [strides(source.box.size), strides(target.box.size)];
  for (const a of boxesOf(source)) {
    for (const b of targets) {
      const shared = intersect(a, b);
      if (shared) {
        yield {
          from: placeIn(source, steps[0], shared.offset),
          to: placeIn(target, steps[1], shared.offset),
          ...rowsOf(shared.size, steps[0], steps[1]),
        };
      }
    }
  }
}

/** Cuts a box into rows that lie without gaps in both regions; outer loops first. */
function rowsOf(size, sourceSteps, targetSteps) {
  let length = 1n;
  const loops = [];
  for (let d = size.length - 1; d >= 0; d -= 1) {
    if (size[d] === 1n) continue;
    if (loops.length === 0 && sourceSteps[d] === length && targetSteps[d] === length) length *= size[d];
    else loops.unshift({ count: size[d], from: sourceSteps[d], to: targetSteps[d] });
  }
  return { length, loops };
}
