"""Regions that overlap each other, cut into boxes that don't: each with the regions that hold all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyckpt.format.geometry import Box, Region, intersect, region_boxes

__all__ = ["Cell", "cells_of", "subtract_box"]


class Cell(NamedTuple):
    """A box, and the numbers of the regions that hold every element of it; all other regions hold none."""

    box: Box
    holders: tuple[int, ...]


def cells_of(regions: Sequence[Region]) -> list[Cell]:
    """Disjoint boxes that together are the union of the regions; holders ascend."""
    cells: list[Cell] = []
    for number, region in enumerate(regions):
        for box, _ in region_boxes(region):
            rest = [box]
            grown: list[Cell] = []
            for cell in cells:
                shared = intersect(cell.box, box)
                if shared is None:
                    grown.append(cell)
                    continue
                grown.append(Cell(shared, (*cell.holders, number)))
                grown += [Cell(part, cell.holders) for part in subtract_box(cell.box, shared)]
                rest = [part for each in rest for part in subtract_box(each, shared)]
            cells = grown + [Cell(part, (number,)) for part in rest]
    return cells


def subtract_box(box: Box, other: Box) -> list[Box]:
    """What of ``box`` is not in ``other``, as at most ``2 * ndim`` disjoint boxes."""
    shared = intersect(box, other)
    if shared is None:
        return [box]
    parts = []
    offset, size = list(box.offset), list(box.size)
    for d in range(box.ndim):
        first, last = shared.offset[d], shared.offset[d] + shared.size[d]
        for low, high in ((offset[d], first), (last, offset[d] + size[d])):
            if low < high:
                parts.append(
                    Box((*offset[:d], low, *offset[d + 1 :]), (*size[:d], high - low, *size[d + 1 :]))
                )
        offset[d], size[d] = first, last - first
    return parts
