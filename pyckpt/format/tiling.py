"""Whether the shards of a tensor tile it exactly: every element stored once, no gap, no overlap."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pyckpt.errors import Corrupt
from pyckpt.format.corners import corners_cancel, first_imbalance
from pyckpt.format.geometry import Ints, Region, region_problem
from pyckpt.format.runs import Boxes, Column, regions_as_boxes
from pyckpt.limits import MAX_INT

__all__ = ["check_tiling", "tiles_exactly"]

_EXAMPLE_REGIONS = 2000
"""Up to so many regions a message names the first wrong element: above, the sorting would cost more than it tells."""

Integers = npt.NDArray[np.integer[Any]]


def tiles_exactly(
    shape: Ints,
    box_offset: Integers,
    box_size: Integers,
    run_start: Integers | None = None,
    run_stop: Integers | None = None,
) -> bool:
    """Whether ``n`` regions cover a tensor of this shape exactly once. The order of the regions doesn't matter.

    Boxes come as two arrays of shape ``(n, len(shape))``, runs as two arrays of ``n`` positions in the row-major order
    of their boxes, or None where all runs are whole boxes; 64-bit integers, signed or not. A tensor without elements
    has no region, or the one that is the whole, empty box. Raises ``LimitExceeded`` for a table that couldn't be
    checked in reasonable memory.
    """
    count, ndim = box_offset.shape
    if ndim != len(shape) or box_size.shape != box_offset.shape or (run_start is None) != (run_stop is None):
        return False
    if 0 in shape:
        return count == 0 or (count == 1 and _is_the_empty_box(shape, box_offset, box_size, run_start, run_stop))
    if count == 0:
        return False
    boxes = _boxes_within(shape, box_offset, box_size)
    if boxes is None:
        return False
    if run_start is not None and run_stop is not None:
        # An unsigned number beyond 2^63-1 turns negative here, and is refused as such.
        start, stop = run_start.astype(np.int64), run_stop.astype(np.int64)
        if start.shape != (count,) or stop.shape != (count,) or (start < 0).any() or (stop <= start).any():
            return False
        spread = regions_as_boxes(boxes, start, stop)
        if spread is None:
            return False
        boxes = spread
    kept, boxes = _cut_dimensions(shape, boxes)
    if len(kept) == 0:
        return boxes.count == 1
    if len(kept) == 1:
        return _intervals_chain(shape[kept[0]], boxes.low[0], boxes.high[0])
    return corners_cancel([shape[d] for d in kept], boxes)


def check_tiling(shape: Ints, regions: Sequence[Region], *, key: str = "") -> None:
    """Refuse regions that don't tile a tensor of this shape, with ``Corrupt`` ``tiling.inexact``.

    ``key`` names the tensor in the message, which says whether elements are missing or stored twice, and names the
    first one of them where there are few regions.
    """
    if len(regions) == 1 and regions[0] == Region.whole(shape):
        return
    for number, region in enumerate(regions):
        problem = region_problem(region, shape)
        if problem or max(shape, default=0) > MAX_INT:
            raise Corrupt("tiling.inexact", problem or f"the shape {list(shape)} is above 2^63-1", key=key)
        if region.start == region.stop and 0 not in shape:
            raise Corrupt("tiling.inexact", f"region {number} of {len(regions)} is empty", key=key)
    columns = _columns_of(shape, regions)
    if tiles_exactly(shape, *columns):
        return
    expected = prod(shape)
    found = sum(region.elements for region in regions)
    if expected == 0:
        message = f"a tensor without elements has {len(regions)} regions, expected none or the whole, empty box"
    elif found < expected:
        message = f"{len(regions)} regions hold {found} of {expected} elements: {_at_least(expected - found)} missing"
    elif found > expected:
        message = (
            f"{len(regions)} regions hold {found} elements of {expected}: {_at_least(found - expected)} stored twice"
        )
    else:
        message = f"{len(regions)} regions hold {expected} elements, but some are missing and as many stored twice"
    if expected and len(regions) <= _EXAMPLE_REGIONS:
        message += _example(shape, columns)
    raise Corrupt("tiling.inexact", message, key=key, hint="each element has to be stored exactly once")


def _at_least(count: int) -> str:
    return f"at least {count} {'is' if count == 1 else 'are'}"


def _columns_of(shape: Ints, regions: Sequence[Region]) -> tuple[Column, Column, Column | None, Column | None]:
    table = (len(regions), len(shape))
    offset = np.array([region.box.offset for region in regions], np.int64).reshape(table)
    size = np.array([region.box.size for region in regions], np.int64).reshape(table)
    if all(region.is_whole_run for region in regions):
        return offset, size, None, None
    start = np.array([min(region.start, MAX_INT) for region in regions], np.int64)
    return offset, size, start, np.array([min(region.stop, MAX_INT) for region in regions], np.int64)


def _is_the_empty_box(
    shape: Ints, box_offset: Integers, box_size: Integers, run_start: Integers | None, run_stop: Integers | None
) -> bool:
    runs = [run for run in (run_start, run_stop) if run is not None]
    whole = not box_offset.any() and tuple(box_size[0].tolist()) == shape
    return whole and not any(run.any() for run in runs)


def _boxes_within(shape: Ints, box_offset: Integers, box_size: Integers) -> Boxes | None:
    """The boxes by column, or None if one of them is empty or leaves the shape."""
    boxes = Boxes(len(box_offset), [], [])
    for d, end in enumerate(shape):
        low, size = box_offset[:, d].astype(np.int64), box_size[:, d].astype(np.int64)
        # end - size can't overflow, low + size could.
        if end > MAX_INT or (size < 1).any() or (low < 0).any() or (low > end - size).any():
            return None
        boxes.low.append(low)
        boxes.high.append(low + size)
    return boxes


def _cut_dimensions(shape: Ints, boxes: Boxes) -> tuple[list[int], Boxes]:
    """The dimensions in which not every box is as long as the tensor, and the boxes in these alone."""
    lengths = [int((high - low).min()) for low, high in zip(boxes.low, boxes.high, strict=True)]
    kept = [d for d, (length, end) in enumerate(zip(lengths, shape, strict=True)) if length != end]
    return kept, Boxes(boxes.count, [boxes.low[d] for d in kept], [boxes.high[d] for d in kept])


def _intervals_chain(end: int, low: Column, high: Column) -> bool:
    """Whether intervals follow one another from 0 to ``end``."""
    if not (low[1:] == high[:-1]).all():
        low, high = np.sort(low), np.sort(high)
    return bool(low[0] == 0 and high[-1] == end and (low[1:] == high[:-1]).all())


def _example(shape: Ints, columns: tuple[Column, Column, Column | None, Column | None]) -> str:
    """The first wrong element for a message, or an empty string where it is too dear to find."""
    offset, size, start, stop = columns
    if not len(offset):
        return f"; element {[0] * len(shape)} is missing"
    boxes = _boxes_within(shape, offset, size)
    if boxes is not None and start is not None and stop is not None:
        boxes = regions_as_boxes(boxes, start, stop)
    if boxes is None:
        return ""
    kept, boxes = _cut_dimensions(shape, boxes)
    found = first_imbalance([shape[d] for d in kept], boxes) if kept else ([], boxes.count)
    if found is None:
        return ""
    index = dict(zip(kept, found[0], strict=True))
    point = [index.get(d, 0) for d in range(len(shape))]
    return f"; element {point} is {'missing' if found[1] == 0 else f'stored {found[1]} times'}"
