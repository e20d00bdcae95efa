"""Who sends which elements of which tensor to whom, from what all ranks hold and want; pure, and alike on every rank.

Every rank computes the whole plan alone from the same two layouts. Each wanted element is sent once to each rank that
wants it, by the nearest rank that holds it: the rank itself, one on its node, else whoever has the least to send.
Moves over the wire are cut and put into waves, so that no rank needs more than its budget of buffers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pyckpt.engine.exchange_moves import ExchangePlan, Move, Route
from pyckpt.engine.exchange_shares import Geometry, Share
from pyckpt.engine.exchange_waves import MIN_BUDGET, Fill, wave_limit
from pyckpt.errors import Finding, UsageError
from pyckpt.format.cells import cells_of
from pyckpt.format.copies import split_copy
from pyckpt.format.geometry import Copy, Ints, Region, box_copy, intersect

__all__ = ["plan_exchange"]


def plan_exchange(routes: Sequence[Route], *, nodes: Sequence[int], budget: int) -> ExchangePlan:
    """The plan for ``len(nodes)`` ranks; ``nodes`` numbers the machine that each rank runs on.

    Raises UsageError ``usage.invalid`` for a budget too small to send anything, ``state.layout`` with a finding for
    every wanted region that the ranks together don't hold.
    """
    if budget < MIN_BUDGET:
        raise UsageError("usage.invalid", f"a budget of {budget} bytes, expected at least {MIN_BUDGET}")
    planner = _Planner(nodes, budget)
    for number, route in enumerate(routes):
        planner.add(number, route)
    findings = planner.gaps
    if findings:
        raise UsageError(
            "state.layout",
            f"{len(findings)} wanted regions are held by no rank, or only in part",
            key=findings[0].key,
            findings=findings,
        )
    names = tuple(route.name for route in routes)
    remote = tuple(planner.remote)
    waves = 1 + max((move.wave for move in remote), default=-1)
    return ExchangePlan(len(nodes), budget, names, remote, tuple(planner.local), tuple(planner.echoes), waves)


_Holders = list[list[tuple[int, int]]]
"""By distinct region: (rank, piece) of everybody who holds it."""


class _Planner:
    def __init__(self, nodes: Sequence[int], budget: int) -> None:
        self._nodes = nodes
        self._sent = Counter[int]()
        # Layers of a model are alike: what their regions share is found once.
        self._geometries: dict[tuple[Ints, tuple[Region, ...]], Geometry] = {}
        self._limit = wave_limit(budget)
        self._fill = Fill(len(nodes), self._limit)
        self.remote: list[Move] = []
        self.local: list[Move] = []
        self.echoes: list[Move] = []
        self.gaps: list[Finding] = []

    def add(self, number: int, route: Route) -> None:
        geometry, holders = self._geometry(route)
        for rank, wanted in enumerate(route.want):
            if len(wanted) > 1 and _overlap(wanted):
                self._add_overlapping(number, route, rank, geometry, holders)
                continue
            for piece, region in enumerate(wanted):
                if region.start < region.stop:
                    shares = geometry.shares(region)
                    self._need(route.name, rank, region.elements, shares)
                    self._take(number, rank, piece, shares, holders, route.bits)

    def _add_overlapping(
        self, number: int, route: Route, rank: int, geometry: Geometry, holders: _Holders
    ) -> None:
        """A rank that wants some elements twice gets them once, and copies them itself."""
        wanted = route.want[rank]
        for box, pieces in cells_of(wanted):
            first = pieces[0]
            shares = geometry.shares_of_boxes(wanted[first], [box])
            self._need(route.name, rank, box.volume, shares)
            self._take(number, rank, first, shares, holders, route.bits)
            for piece in pieces[1:]:
                copy = box_copy(wanted[first], wanted[piece], box)
                self.echoes.append(Move(number, rank, first, rank, piece, copy, 0, -1))

    def _geometry(self, route: Route) -> tuple[Geometry, _Holders]:
        holders: dict[Region, list[tuple[int, int]]] = {}
        for rank, regions in enumerate(route.have):
            for piece, region in enumerate(regions):
                if region.start < region.stop:
                    holders.setdefault(region, []).append((rank, piece))
        key = route.shape, tuple(holders)
        geometry = self._geometries.get(key)
        if geometry is None:
            geometry = self._geometries[key] = Geometry(*key)
        return geometry, list(holders.values())

    def _need(self, name: str, rank: int, elements: int, shares: Sequence[Share]) -> None:
        found = sum(share.elements for share in shares)
        if found != elements:
            text = f"rank {rank} wants {elements} elements of a region, all ranks together hold {found} of them"
            self.gaps.append(Finding("state.layout", name, text))

    def _take(
        self, number: int, rank: int, piece: int, shares: Sequence[Share], holders: _Holders, bits: int
    ) -> None:
        for share in shares:
            choices = [
                (who, source_piece, at) for at, held in enumerate(share.holders) for who, source_piece in holders[held]
            ]
            source, source_piece, at = self._nearest(rank, choices)
            for copy in share.copies[at]:
                self._move(number, source, source_piece, rank, piece, copy, bits)

    def _nearest(self, rank: int, choices: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        if len(choices) == 1:
            return choices[0]
        size, node, sent = len(self._nodes), self._nodes[rank], self._sent
        # Ties go round: the next rank after the receiver, so that equal receivers ask different senders.
        return min(
            choices,
            key=lambda c: (c[0] != rank, self._nodes[c[0]] != node, sent[c[0]], (c[0] - rank) % size, c[1]),
        )

    def _move(
        self, number: int, source: int, source_piece: int, rank: int, piece: int, copy: Copy, bits: int
    ) -> None:
        if source == rank:
            self.local.append(Move(number, rank, source_piece, rank, piece, copy, 0, -1))
            return
        # Small elements are cut where a byte ends.
        limit = max(1, self._limit * 8 // bits // 8 * 8)
        for part in split_copy(copy, limit):
            nbytes = part.elements * bits // 8
            self._sent[source] += nbytes
            wave = self._fill.place(source, rank, nbytes)
            self.remote.append(Move(number, source, source_piece, rank, piece, part, nbytes, wave))


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
