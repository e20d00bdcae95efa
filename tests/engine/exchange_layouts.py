"""Random layouts of a tensor over ranks, and a world of ranks in memory that executes a plan."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from pyckpt.engine.exchange_moves import Route
from pyckpt.engine.exchange_waves import schedule_of
from pyckpt.format.geometry import Region, region_boxes
from tests.format.tilings import tilings

WORDS = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}


@st.composite
def placements(draw, shape, ranks, *, may_miss=False):
    """Regions by rank: a tiling dealt to the ranks, regions held by several of them, sometimes a second tiling too."""
    by_rank = [[] for _ in range(ranks)]
    for _ in range(draw(st.integers(1, 2)) if draw(st.integers(0, 3)) == 0 else 1):
        for region in draw(tilings(shape)):
            holders = draw(st.sets(st.integers(0, ranks - 1), min_size=0 if may_miss else 1, max_size=ranks))
            for rank in sorted(holders):
                by_rank[rank].append(region)
    if draw(st.integers(0, 3)) == 0:
        # An empty shard among the others.
        rank = draw(st.integers(0, ranks - 1))
        by_rank[rank].insert(draw(st.integers(0, len(by_rank[rank]))), Region.flat(shape, 0, 0))
    if may_miss and draw(st.booleans()):
        rank = draw(st.integers(0, ranks - 1))
        by_rank[rank].append(Region.whole(shape))
    return tuple(tuple(regions) for regions in by_rank)


@st.composite
def routes(draw, ranks):
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=4)))
    have = draw(placements(shape, ranks))
    want = draw(placements(shape, ranks, may_miss=True))
    bits = draw(st.sampled_from(sorted(WORDS)))
    return Route(draw(st.text("abc", min_size=1, max_size=3)), shape, have, want, bits)


def global_values(route):
    """Distinct values for every element of the whole tensor."""
    word = WORDS[route.bits]
    return np.arange(1, 1 + prod(route.shape)).astype(word).reshape(route.shape)


def memory_of(values, region):
    """The region's own memory, by plain indexing."""
    parts = [
        values[tuple(slice(o, o + s) for o, s in zip(box.offset, box.size))].reshape(-1)
        for box, _ in region_boxes(region)
    ]
    return np.concatenate(parts) if parts else values.reshape(-1)[:0].copy()


def indices_of(route, region):
    """Numbers, in the whole tensor, of the elements of the region's memory."""
    whole = np.arange(prod(route.shape)).reshape(route.shape)
    return memory_of(whole, region)


class World:
    """All ranks of one exchange in one process."""

    def __init__(self, plan, routes):
        self.plan, self.routes = plan, routes
        self.sources = [
            [[memory_of(global_values(route), region) for region in regions] for regions in route.have]
            for route in routes
        ]
        self.targets = [
            [[np.zeros(region.elements, WORDS[route.bits]) for region in regions] for regions in route.want]
            for route in routes
        ]
        self.peak = [0] * plan.size
        self.arrived = [
            [np.zeros(prod(route.shape), int) for _ in range(plan.size)] for route in routes
        ]

    def run(self):
        plans = [schedule_of(self.plan, rank) for rank in range(self.plan.size)]
        slots = {}
        for wave in range(self.plan.waves):
            wire = {}
            for schedule in plans:
                size = max((m.offset + m.nbytes for m in schedule.sends[wave]), default=0)
                buffer = np.zeros(size, np.uint8)
                slots[schedule.rank, "out", wave % 2] = size
                for message in schedule.sends[wave]:
                    for at, move in message.moves:
                        part = buffer[message.offset + at : message.offset + at + move.nbytes]
                        source = self.sources[move.tensor][schedule.rank][move.source_piece]
                        part[:] = np.frombuffer(self._view(source, move.copy, "src").tobytes(), np.uint8)
                    key = (schedule.rank, message.peer, message.tag)
                    assert key not in wire
                    wire[key] = buffer[message.offset : message.offset + message.nbytes].copy()
            for schedule in plans:
                size = max((m.offset + m.nbytes for m in schedule.receives[wave]), default=0)
                slots[schedule.rank, "in", wave % 2] = size
                for message in schedule.receives[wave]:
                    data = wire.pop((message.peer, schedule.rank, message.tag))
                    assert len(data) == message.nbytes
                    for at, move in message.moves:
                        target = self.targets[move.tensor][schedule.rank][move.target_piece]
                        assert (message.offset + at) % target.itemsize == 0
                        values = data[at : at + move.nbytes].view(target.dtype)
                        self._view(target, move.copy, "dst")[...] = values.reshape(move.copy.shape)
                        self._count(move)
                held = sum(size for (rank, _, _), size in slots.items() if rank == schedule.rank)
                self.peak[schedule.rank] = max(self.peak[schedule.rank], held)
            assert not wire
        for schedule in plans:
            for move in schedule.local:
                source = self.sources[move.tensor][schedule.rank][move.source_piece]
                target = self.targets[move.tensor][schedule.rank][move.target_piece]
                self._view(target, move.copy, "dst")[...] = self._view(source, move.copy, "src")
                self._count(move)
            for move in schedule.echoes:
                source = self.targets[move.tensor][schedule.rank][move.source_piece]
                target = self.targets[move.tensor][schedule.rank][move.target_piece]
                self._view(target, move.copy, "dst")[...] = self._view(source, move.copy, "src")

    def _view(self, memory, copy, side):
        start = copy.src_start if side == "src" else copy.dst_start
        strides = copy.src_strides if side == "src" else copy.dst_strides
        last = start + sum((n - 1) * s for n, s in zip(copy.shape, strides))
        assert 0 <= start <= last < len(memory)
        return as_strided(memory[start:], copy.shape, [s * memory.itemsize for s in strides])

    def _count(self, move):
        region = self.routes[move.tensor].want[move.target][move.target_piece]
        places = self._view(indices_of(self.routes[move.tensor], region), move.copy, "dst")
        np.add.at(self.arrived[move.tensor][move.target], places.reshape(-1), 1)
