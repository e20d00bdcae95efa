"""Who reads what of regions that several ranks want: every element once, and bytes dealt evenly."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.engine.exchange_agree import Wanted
from pyckpt.engine.shared_reads import deal_reads
from pyckpt.format.geometry import Box, Region
from tests.engine.exchange_layouts import indices_of, placements


@st.composite
def wishes(draw):
    ranks = draw(st.integers(1, 6))
    wanted, shapes = {}, {}
    for number in range(draw(st.integers(1, 4))):
        shape = tuple(draw(st.lists(st.integers(0, 9), max_size=3)))
        key = Wanted("model", number, "F32")
        wanted[key] = draw(placements(shape, ranks, may_miss=True))
        shapes[key] = shape
    return wanted, shapes, draw(st.sampled_from([1, 16, 4096]))


class Shape:
    def __init__(self, shape):
        self.shape = shape


@settings(max_examples=200)
@given(wishes())
def test_every_wanted_region_is_read_once(case):
    wanted, shapes, block = case
    reads = deal_reads(wanted, dict.fromkeys(wanted, 32), block=block)
    for key, ranks in wanted.items():
        regions = {region for each in ranks for region in each if region.start < region.stop}
        by_region = {region: np.zeros(prod(shapes[key]), int) for region in regions}
        for rank, parts in enumerate(reads.parts[key]):
            for part in parts:
                whole = ranks[rank][part.piece]
                if part.rows is None:
                    assert part.region == whole
                else:
                    first, stop = part.rows
                    box = whole.box
                    assert part.region == Region.of_box(
                        Box((box.offset[0] + first, *box.offset[1:]), (stop - first, *box.size[1:]))
                    )
                by_region[whole][indices_of(Shape(shapes[key]), part.region)] += 1
        for region, counts in by_region.items():
            expected = np.zeros(prod(shapes[key]), int)
            expected[indices_of(Shape(shapes[key]), region)] = 1
            assert np.array_equal(counts, expected)


def test_replicas_share_evenly_and_large_tensors_are_cut_between_rows():
    sizes = {0: (1000, 64), 1: (10, 64), 2: (10, 64), 3: (8,)}
    wanted = {Wanted("m", n, "F32"): ((Region.whole(shape),),) * 4 for n, shape in sizes.items()}
    reads = deal_reads(wanted, dict.fromkeys(wanted, 32), block=4096)
    loads = [0] * 4
    for ranks in reads.parts.values():
        for rank, parts in enumerate(ranks):
            loads[rank] += sum(part.region.elements * 4 for part in parts)
    total = sum(prod(shape) * 4 for shape in sizes.values())
    assert sum(loads) == total == reads.shared
    assert max(loads) < 1.1 * total / 4
    rows = [part.rows for parts in reads.parts[Wanted("m", 0, "F32")] for part in parts]
    assert len(rows) == 4
    assert all(first * 64 * 4 % 4096 == 0 for first, _ in rows)


def test_what_one_rank_wants_is_its_own():
    halves = [Region.of_box(Box((2 * i, 0), (2, 4))) for i in range(2)]
    wanted = {Wanted("m", 0, "F32"): ((halves[0],), (halves[1],))}
    reads = deal_reads(wanted, {Wanted("m", 0, "F32"): 32}, block=1)
    assert reads.shared == 0
    assert [[part.region for part in parts] for parts in reads.parts[Wanted("m", 0, "F32")]] == [[halves[0]], [halves[1]]]


def test_runs_are_not_cut():
    flat = Region.flat((200,), 10, 110)
    wanted = {Wanted("m", 0, "F32"): ((flat,), (flat,))}
    parts = deal_reads(wanted, {Wanted("m", 0, "F32"): 32}, block=4).parts[Wanted("m", 0, "F32")]
    assert [len(each) for each in parts] in ([1, 0], [0, 1])


