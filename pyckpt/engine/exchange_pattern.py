"""The moves of one tensor: who sends what to whom, cut into parts that a rank's buffers can hold; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyckpt.engine.exchange_moves import Move, Pattern, Route
from pyckpt.engine.exchange_shares import Geometry, Holders, Share
from pyckpt.engine.exchange_waves import Fill, load_of
from pyckpt.format.cells import cells_of
from pyckpt.format.copies import split_copy
from pyckpt.format.geometry import Ints, Region, box_copy, intersect

__all__ = ["Found", "PatternMaker"]


@dataclass(frozen=True, slots=True)
class Found:
    """A pattern, and what its next use needs to know."""

    pattern: Pattern
    loads: tuple[npt.NDArray[np.int64], ...]
    """By part, the room that it takes: by rank, first of what is sent, then of what is received."""
    sent: npt.NDArray[np.int64]
    """Bytes by rank."""
    by_load: bool
    """Whether a sender was chosen by how much it had to send before."""
    gaps: tuple[str, ...]
    """What is wanted and held by nobody, for messages."""


class PatternMaker:
    """Makes the patterns of one tensor after the other, in mind of what every rank has to send already."""

    def __init__(self, nodes: Sequence[int], limit: int) -> None:
        self._nodes = nodes
        self._limit = limit
        self._sent = [0] * len(nodes)
        # What regions share does not depend on who holds or wants them.
        self._geometries: dict[tuple[Ints, tuple[Region, ...]], Geometry] = {}

    def make(self, route: Route) -> Found:
        """The pattern of a tensor."""
        geometry, holders = self._geometry(route)
        before = np.array(self._sent, np.int64)
        work = _Work(self._nodes, self._sent, holders, route.bits, self._limit)
        for rank, wanted in enumerate(route.want):
            if len(wanted) > 1 and _overlap(wanted):
                work.take_overlapping(rank, wanted, geometry)
                continue
            for piece, region in enumerate(wanted):
                if region.start < region.stop:
                    shares = geometry.shares(region)
                    work.need(rank, region.elements, shares)
                    work.take(rank, piece, shares)
        parts = Fill(len(self._nodes), self._limit).parts(work.remote)
        pattern = Pattern(parts, tuple(work.local), tuple(work.echoes))
        loads = tuple(load_of(part, len(self._nodes)) for part in parts)
        return Found(pattern, loads, np.array(self._sent) - before, work.by_load, tuple(work.gaps))

    def repeat(self, found: Found) -> None:
        """The pattern is used once more."""
        for rank in np.flatnonzero(found.sent).tolist():
            self._sent[rank] += int(found.sent[rank])

    def _geometry(self, route: Route) -> tuple[Geometry, list[Holders]]:
        by_region: dict[Region, list[tuple[int, int]]] = {}
        for rank, regions in enumerate(route.have):
            for piece, region in enumerate(regions):
                if region.start < region.stop:
                    by_region.setdefault(region, []).append((rank, piece))
        key = route.shape, tuple(by_region)
        geometry = self._geometries.get(key)
        if geometry is None:
            geometry = self._geometries[key] = Geometry(*key)
        return geometry, [Holders.of(each, self._nodes) for each in by_region.values()]


class _Work:
    """Moves of one tensor, as they are found."""

    def __init__(
        self, nodes: Sequence[int], sent: list[int], holders: Sequence[Holders], bits: int, limit: int
    ) -> None:
        self._nodes, self._sent, self._holders, self._bits = nodes, sent, holders, bits
        self._everybody = [each.everybody for each in holders]
        # Small elements are cut where a byte ends.
        self._most = max(1, limit * 8 // bits // 8 * 8)
        self.by_load = False
        self.remote: list[Move] = []
        self.local: list[Move] = []
        self.echoes: list[Move] = []
        self.gaps: list[str] = []

    def need(self, rank: int, elements: int, shares: Sequence[Share]) -> None:
        """Notes a gap unless the shares are all that is wanted."""
        found = sum([share.elements for share in shares])
        if found != elements:
            self.gaps.append(
                f"rank {rank} wants {elements} elements of a region, all ranks together hold {found} of them"
            )

    def take_overlapping(self, rank: int, wanted: Sequence[Region], geometry: Geometry) -> None:
        """A rank that wants some elements twice gets them once, and copies them itself."""
        for box, pieces in cells_of(wanted):
            first = pieces[0]
            shares = geometry.shares_of_boxes(wanted[first], [box])
            self.need(rank, box.volume, shares)
            self.take(rank, first, shares)
            for piece in pieces[1:]:
                copy = box_copy(wanted[first], wanted[piece], box)
                self.echoes.append(Move(0, rank, first, rank, piece, copy, 0, -1))

    def take(self, rank: int, piece: int, shares: Sequence[Share]) -> None:
        """Moves for a wanted region, each share from the nearest rank that has it."""
        for share in shares:
            # Most often there is nothing to choose.
            held, at = self._everybody[share.holders[0]], 0
            if len(held) == 1 == len(share.holders):
                source, source_piece = held[0]
            else:
                source, source_piece, at = self._nearest(rank, share.holders)
            if source == rank:
                self.local += [Move(0, rank, source_piece, rank, piece, copy, 0, -1) for copy in share.copies[at]]
                continue
            for whole in share.copies[at]:
                for copy in (whole,) if share.elements <= self._most else split_copy(whole, self._most):
                    nbytes = copy.elements * self._bits // 8
                    self._sent[source] += nbytes
                    self.remote.append(Move(0, source, source_piece, rank, piece, copy, nbytes, 0))

    def _nearest(self, rank: int, held: Sequence[int]) -> tuple[int, int, int]:
        """(rank, piece, which of ``held``) that the elements come from."""
        node = self._nodes[rank]
        choices = [(*one, at) for at, number in enumerate(held) for one in self._holders[number].near(rank, node)]
        if len(choices) == 1:
            return choices[0]
        own = [choice for choice in choices if choice[0] == rank]
        if own:
            return min(own, key=lambda choice: choice[1])
        self.by_load = True
        size, nodes, sent = len(self._nodes), self._nodes, self._sent
        # Ties go round: the next rank after the receiver, so that equal receivers ask different senders.
        return min(choices, key=lambda c: (nodes[c[0]] != node, sent[c[0]], (c[0] - rank) % size, c[1]))


def _overlap(regions: Sequence[Region]) -> bool:
    """Whether two of the regions share an element, as far as their boxes tell."""
    full = [region for region in regions if region.start < region.stop]
    for i, one in enumerate(full):
        for other in full[:i]:
            if one.box == other.box:
                if one.start < other.stop and other.start < one.stop:
                    return True
            elif intersect(one.box, other.box) is not None:
                return True
    return False
