"""Many regions of one tensor at once, as boxes: columns of integers instead of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pyckpt.errors import LimitExceeded
from pyckpt.limits import MAX_BOX_NUMBERS, MAX_INT

__all__ = ["Boxes", "Column", "regions_as_boxes"]

Column: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes by column: ``low[d][i] <= index[d] < high[d][i]``; ``count`` says how many, also without dimensions."""

    count: int
    low: list[Column]
    high: list[Column]


def regions_as_boxes(boxes: Boxes, start: Column, stop: Column) -> Boxes | None:
    """The non-empty runs ``[start, stop)`` of non-empty boxes as boxes, or None if a run leaves its box.

    Runs of equal boxes that follow one another are joined first, so that the flat shards of ZeRO or FSDP and the split
    copies of a replicated tensor become whole boxes again. Raises ``LimitExceeded`` above ``MAX_BOX_NUMBERS``.
    """
    boxes, start, stop = _join_neighbours(boxes, start, stop)
    partial = _is_partial(boxes, start, stop)
    if partial.any() and not _is_sorted(boxes, start):
        # Canonical order makes neighbours meet in the first pass; any other order costs a sort.
        order = np.lexsort((start, *boxes.high, *boxes.low))
        boxes, start, stop = _join_neighbours(_take(boxes, order), start[order], stop[order])
        partial = _is_partial(boxes, start, stop)
    if not partial.any():
        return boxes
    cut = np.flatnonzero(partial)
    dims = sum(int((high - low).max()) > 1 for low, high in zip(boxes.low, boxes.high, strict=True))
    if len(cut) * (2 * dims) * (2 * len(boxes.low)) > MAX_BOX_NUMBERS:
        raise LimitExceeded(
            "limit.exceeded",
            f"{len(cut)} partial runs in {dims} dimensions are more than this reader takes apart for one tensor",
            hint="write whole boxes, or runs that follow one another",
        )
    parts = _spread(_take(boxes, cut), start[cut], stop[cut])
    if parts is None:
        return None
    whole = _take(boxes, np.flatnonzero(~partial))
    return _concatenate([whole, *parts])


def _take(boxes: Boxes, rows: npt.NDArray[np.intp]) -> Boxes:
    return Boxes(len(rows), [column[rows] for column in boxes.low], [column[rows] for column in boxes.high])


def _concatenate(parts: list[Boxes]) -> Boxes:
    dims = range(len(parts[0].low))
    return Boxes(
        sum(part.count for part in parts),
        [np.concatenate([part.low[d] for part in parts]) for d in dims],
        [np.concatenate([part.high[d] for part in parts]) for d in dims],
    )


def _is_sorted(boxes: Boxes, start: Column) -> bool:
    """Whether all boxes are equal and the runs ascend; the one order that is cheap to recognise."""
    return all((column == column[0]).all() for column in (*boxes.low, *boxes.high)) and bool(
        (start[1:] >= start[:-1]).all()
    )


def _join_neighbours(boxes: Boxes, start: Column, stop: Column) -> tuple[Boxes, Column, Column]:
    """Rows of equal boxes whose runs follow one another made one row."""
    follows = start[1:] == stop[:-1]
    for column in (*boxes.low, *boxes.high):
        if not follows.any():
            return boxes, start, stop
        follows &= column[1:] == column[:-1]
    first = np.flatnonzero(np.concatenate(([True], ~follows)))
    last = np.concatenate((first[1:], [boxes.count])) - 1
    return _take(boxes, first), start[first], stop[last]


def _is_partial(boxes: Boxes, start: Column, stop: Column) -> npt.NDArray[np.bool_]:
    volume = np.ones(boxes.count, np.int64)
    huge = np.zeros(boxes.count, np.bool_)
    for low, high in zip(boxes.low, boxes.high, strict=True):
        size = high - low
        # A volume beyond 2^63-1 is more than any run can name.
        huge |= volume > MAX_INT // size
        volume = np.where(huge, 1, volume * size)
    partial: npt.NDArray[np.bool_] = huge | (start != 0) | (stop != volume)
    return partial


def _spread(boxes: Boxes, start: Column, stop: Column) -> list[Boxes] | None:
    """``geometry.run_boxes`` for all rows at once, in the coordinates of the tensor and in no particular order."""
    size = [high - low for low, high in zip(boxes.low, boxes.high, strict=True)]
    parts: list[Boxes] = []
    rows = np.arange(boxes.count)
    begin, end = start, stop

    def emit(d: int, chosen: npt.NDArray[np.bool_], row: Column, first: Column, behind: Column) -> bool:
        """Keep ``[first, behind)`` of dimension ``d`` in one row each; False if a row isn't in its box."""
        if not chosen.any():
            return True
        picked, row = rows[chosen], row[chosen]
        part = _take(boxes, picked)
        part.high[d] = part.low[d] + behind[chosen]
        part.low[d] = part.low[d] + first[chosen]
        for outer in range(d - 1, -1, -1):
            count = size[outer][picked]
            rest = row // count
            part.low[outer] = part.low[outer] + (row - rest * count)
            part.high[outer] = part.low[outer] + 1
            row = rest
        parts.append(part)
        return not row.any()

    for d in range(len(size) - 1, -1, -1):
        count = size[d][rows]
        first, last = begin // count, end // count
        skipped, taken = begin - first * count, end - last * count
        single = (first == last) | ((taken == 0) & (first == last - 1))
        head, tail = ~single & (skipped > 0), ~single & (taken > 0)
        inside = (
            emit(d, single, first, skipped, end - first * count)
            and emit(d, head, first, skipped, count)
            and emit(d, tail, last, np.zeros_like(taken), taken)
        )
        if not inside:
            return None
        first = first + head
        more = ~single & (first < last)
        rows, begin, end = rows[more], first[more], last[more]
        if not len(rows):
            return parts
    return None
