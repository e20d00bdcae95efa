"""What the regions that ranks hold of one tensor have in common with a region that somebody wants; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pyckpt.format.cells import Cell, cells_of
from pyckpt.format.geometry import Box, Copy, Ints, Region, box_copy, intersect, region_boxes, region_copies
from pyckpt.format.tiling import tiles_exactly

__all__ = ["Geometry", "Holders", "Share"]

FEW_REGIONS = 32
"""Up to so many regions are tried one by one; among more, those near a wanted one are found by their bounds at once."""


class Share(NamedTuple):
    """Elements that are wanted, and the same for every held region that has them."""

    holders: tuple[int, ...]
    """Numbers of the held regions."""
    copies: tuple[tuple[Copy, ...], ...]
    """For each of them the copies from its memory to that of the wanted region."""
    elements: int
    """Number of elements."""


class Holders(NamedTuple):
    """Who holds one region: (rank, number among the regions of that rank) each."""

    everybody: tuple[tuple[int, int], ...]
    by_rank: dict[int, tuple[tuple[int, int], ...]]
    by_node: dict[int, tuple[tuple[int, int], ...]]

    @classmethod
    def of(cls, everybody: Sequence[tuple[int, int]], nodes: Sequence[int]) -> Holders:
        """Grouped by rank and by node; ``nodes`` has the node of every rank."""
        by_rank: dict[int, tuple[tuple[int, int], ...]] = {}
        by_node: dict[int, list[tuple[int, int]]] = {}
        for rank, piece in everybody:
            by_rank.setdefault(rank, ((rank, piece),))
            by_node.setdefault(nodes[rank], []).append((rank, piece))
        return cls(tuple(everybody), by_rank, {node: tuple(each) for node, each in by_node.items()})

    def near(self, rank: int, node: int) -> tuple[tuple[int, int], ...]:
        """Those that a rank may get the region from: itself, else its node, else anybody."""
        return self.by_rank.get(rank) or self.by_node.get(node) or self.everybody


class Geometry:
    """The distinct non-empty regions that are held of a tensor of this shape, whoever holds them."""

    def __init__(self, shape: Ints, held: Sequence[Region]) -> None:
        self._held = held
        self._cells = None if _tile(shape, held) else cells_of(held)
        boxes = [region.box for region in held] if self._cells is None else [cell.box for cell in self._cells]
        self._low = np.array([box.offset for box in boxes], np.int64).reshape(len(boxes), len(shape))
        self._high = self._low + np.array([box.size for box in boxes], np.int64).reshape(len(boxes), len(shape))
        self._known: dict[Region, tuple[Share, ...]] = {}

    def shares(self, wanted: Region) -> tuple[Share, ...]:
        """Every held element of ``wanted``, each in exactly one share."""
        known = self._known.get(wanted)
        if known is None:
            known = self._known[wanted] = tuple(self._find(wanted))
        return known

    def shares_of_boxes(self, wanted: Region, boxes: Sequence[Box]) -> tuple[Share, ...]:
        """The same for only some of the elements of ``wanted``, given as boxes within its ``region_boxes``."""
        cells = self._cells
        if cells is None:
            cells = [Cell(box, (at,)) for at, region in enumerate(self._held) for box, _ in region_boxes(region)]
        return tuple(self._of_cells(cells, wanted, boxes))

    def _find(self, wanted: Region) -> Iterator[Share]:
        near = self._near(wanted.box)
        if self._cells is None:
            for number in near:
                copies = region_copies(self._held[number], wanted)
                if copies:
                    yield Share((number,), (copies,), sum([copy.elements for copy in copies]))
            return
        cells = [self._cells[number] for number in near]
        yield from self._of_cells(cells, wanted, [box for box, _ in region_boxes(wanted)])

    def _of_cells(self, cells: Sequence[Cell], wanted: Region, boxes: Sequence[Box]) -> Iterator[Share]:
        for cell in cells:
            for box in boxes:
                shared = intersect(cell.box, box)
                if shared is not None:
                    copies = tuple((box_copy(self._held[number], wanted, shared),) for number in cell.holders)
                    yield Share(cell.holders, copies, shared.volume)

    def _near(self, box: Box) -> Sequence[int]:
        count = len(self._low)
        if count <= FEW_REGIONS:
            return range(count)
        touching = (self._low < np.array(box.end)) & (self._high > np.array(box.offset))
        return [int(number) for number in np.flatnonzero(touching.all(axis=1))]


def _tile(shape: Ints, held: Sequence[Region]) -> bool:
    count, ndim = len(held), len(shape)
    return tiles_exactly(
        shape,
        np.array([region.box.offset for region in held], np.int64).reshape(count, ndim),
        np.array([region.box.size for region in held], np.int64).reshape(count, ndim),
        np.array([region.start for region in held], np.int64),
        np.array([region.stop for region in held], np.int64),
    )
