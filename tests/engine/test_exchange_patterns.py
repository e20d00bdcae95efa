"""Tensors that are alike are planned once and moved alike, within the budget and evenly between the senders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.engine.exchange_moves import Route
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.exchange_text import figures_of
from pyckpt.engine.exchange_waves import MIN_BUDGET, schedule_of
from pyckpt.format.geometry import Box, Region
from tests.engine.exchange_layouts import World, global_values, memory_of, routes


@st.composite
def layers(draw):
    ranks = draw(st.integers(1, 6))
    nodes = draw(st.lists(st.integers(0, 1), min_size=ranks, max_size=ranks))
    kinds = draw(st.lists(routes(ranks), min_size=1, max_size=2))
    return [replace(route, name=f"{layer}.{route.name}") for layer in range(3) for route in kinds], nodes


@settings(max_examples=100)
@given(layers())
def test_alike_tensors_are_each_moved_whole(exchange):
    several, nodes = exchange
    plan = plan_exchange(several, nodes=nodes, budget=MIN_BUDGET)
    world = World(plan, several)
    world.run()
    for number, route in enumerate(several):
        values = global_values(route)
        for rank, regions in enumerate(route.want):
            for piece, region in enumerate(regions):
                assert np.array_equal(world.targets[number][rank][piece], memory_of(values, region))
    for rank in range(plan.size):
        assert world.peak[rank] <= schedule_of(plan, rank).peak_bytes <= plan.budget
    figures = figures_of(plan)
    assert figures.moves == len(plan.remote) + len(plan.local) + len(plan.echoes)
    assert figures.total == sum(move.nbytes for move in plan.remote)
    assert list(figures.kept) == [
        sum(move.copy.elements for move in plan.local if move.target == rank) for rank in range(plan.size)
    ]


def slabs(shape, dim, count, ranks):
    part = shape[dim] // count
    regions = []
    for rank in range(ranks):
        offset, size = [0] * len(shape), list(shape)
        offset[dim], size[dim] = rank % count * part, part
        regions.append((Region.of_box(Box(tuple(offset), tuple(size))),))
    return tuple(regions)


def test_alike_layers_share_one_pattern():
    shape = (64, 64)
    several = [
        Route(f"{n}", shape, slabs(shape, 0, 8, 8), slabs(shape, n % 2, 4, 8), 16) for n in range(40)
    ]
    plan = plan_exchange(several, nodes=[0] * 8, budget=1 << 20)
    assert len(plan.patterns) == 2
    assert [use.pattern for use in plan.uses] == [0, 1] * 20


def test_where_senders_are_chosen_by_load_layers_take_turns():
    shape = (64, 64)
    whole = Region.whole(shape)
    have = ((whole,), (whole,), (whole,), ())
    want = ((), (), (), (whole,))
    plan = plan_exchange([Route(f"{n}", shape, have, want, 16) for n in range(9)], nodes=[0] * 4, budget=1 << 20)
    assert figures_of(plan).sent == (3 * 64 * 64 * 2,) * 3 + (0,)


def test_the_load_of_shared_patterns_counts_for_later_choices():
    shape = (64, 64)
    whole = Region.whole(shape)
    fixed = Route("fixed", shape, ((whole,), (), ()), ((), (), (whole,)), 16)
    free = Route("free", shape, ((whole,), (whole,), ()), ((), (), (whole,)), 16)
    plan = plan_exchange([fixed] * 4 + [free] * 3, nodes=[0] * 3, budget=1 << 20)
    assert figures_of(plan).sent == (4 * 64 * 64 * 2, 3 * 64 * 64 * 2, 0)


def test_small_tensors_share_waves():
    shape = (64, 64)
    several = [Route(f"{n}", shape, slabs(shape, 0, 4, 4), slabs(shape, 1, 4, 4), 16) for n in range(64)]
    assert plan_exchange(several, nodes=[0] * 4, budget=8 << 20).waves == 1
    # Three messages of 512 bytes, and their alignment, for each tensor and direction: nine fit into a quarter.
    assert plan_exchange(several, nodes=[0] * 4, budget=64 << 10).waves == 8
