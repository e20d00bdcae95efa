"""Exchange plans over random layouts, executed in memory and compared with plain indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.engine.exchange_moves import Route
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.exchange_text import describe, figures_of
from pyckpt.engine.exchange_waves import MIN_BUDGET, schedule_of
from pyckpt.errors import UsageError
from pyckpt.format.geometry import Box, Region
from tests.engine.exchange_layouts import World, global_values, indices_of, memory_of, routes


@st.composite
def exchanges(draw):
    ranks = draw(st.integers(1, 8))
    nodes = draw(st.lists(st.integers(0, 2), min_size=ranks, max_size=ranks))
    return draw(st.lists(routes(ranks), min_size=1, max_size=4)), nodes, draw(st.sampled_from([4096, 5000, 1 << 20]))


@settings(max_examples=200)
@given(exchanges())
def test_equal_to_plain_indexing(exchange):
    several, nodes, budget = exchange
    plan = plan_exchange(several, nodes=nodes, budget=budget)
    world = World(plan, several)
    world.run()
    for number, route in enumerate(several):
        values = global_values(route)
        for rank, regions in enumerate(route.want):
            for piece, region in enumerate(regions):
                assert np.array_equal(world.targets[number][rank][piece], memory_of(values, region))
            # What is wanted has arrived exactly once, and nothing else has.
            wanted = np.zeros(values.size, int)
            for region in regions:
                wanted[indices_of(route, region)] = 1
            assert np.array_equal(world.arrived[number][rank], wanted)
    for rank in range(plan.size):
        assert world.peak[rank] <= schedule_of(plan, rank).peak_bytes <= budget


@settings(max_examples=150)
@given(exchanges())
def test_bytes_on_the_wire_are_the_fewest_possible(exchange):
    """A rank needs from others what it wants and doesn't hold, once."""
    several, nodes, budget = exchange
    figures = figures_of(plan_exchange(several, nodes=nodes, budget=budget))
    fewest = [0] * len(nodes)
    for route in several:
        for rank, regions in enumerate(route.want):
            own = {int(i) for region in route.have[rank] for i in indices_of(route, region)}
            wanted = {int(i) for region in regions for i in indices_of(route, region)}
            fewest[rank] += len(wanted - own) * route.bits // 8
    assert list(figures.received) == fewest
    assert figures.total == sum(fewest) == sum(figures.sent) == sum(nbytes for _, _, nbytes in figures.pairs)


def rows(shape, count, ranks, first=0):
    part = shape[0] // count
    return tuple(
        (Region.of_box(Box(((rank - first) * part, *[0] * (len(shape) - 1)), (part, *shape[1:]))),)
        if first <= rank < first + count
        else ()
        for rank in range(ranks)
    )


def whole_on(shape, ranks, holders):
    return tuple((Region.whole(shape),) if rank in holders else () for rank in range(ranks))


def test_own_copy_then_own_node_then_whoever_sent_least():
    shape = (64, 4)
    have = whole_on(shape, 8, {1, 2, 5, 6})
    want = whole_on(shape, 8, {0, 1, 3, 4, 7})
    plan = plan_exchange(
        [Route(f"w{i}", shape, have, want, 32) for i in range(6)], nodes=[0, 0, 0, 0, 1, 1, 1, 1], budget=1 << 20
    )
    figures = figures_of(plan)
    senders = {target: {s for s, t, _ in figures.pairs if t == target} for target in range(8)}
    assert senders[1] == set()
    assert senders[0] | senders[3] <= {1, 2}
    assert senders[4] | senders[7] <= {5, 6}
    assert len(set(figures.sent[rank] for rank in (1, 2, 5, 6))) == 1


def test_large_moves_are_cut_to_the_budget():
    shape = (1024, 64)
    route = Route("w", shape, rows(shape, 2, 4), whole_on(shape, 4, {2, 3}), 32)
    for budget in (MIN_BUDGET, 40_000, 1 << 30):
        plan = plan_exchange([route], nodes=[0] * 4, budget=budget)
        assert all(schedule_of(plan, rank).peak_bytes <= budget for rank in range(4))
        assert figures_of(plan).total == 2 * 1024 * 64 * 4
        assert plan.waves >= 1024 * 64 * 4 // (budget // 4)
    assert plan.waves == 1


def test_gaps_are_named_all_at_once():
    shape = (8,)
    half = ((Region.flat(shape, 0, 4),), ())
    routes_ = [Route(name, shape, half, whole_on(shape, 2, {1}), 8) for name in ("a", "b")]
    with pytest.raises(UsageError) as caught:
        plan_exchange(routes_, nodes=[0, 0], budget=1 << 20)
    assert [finding.key for finding in caught.value.findings] == ["a", "b"]
    assert "8 elements" in caught.value.findings[0].message
    assert "4 of them" in caught.value.findings[0].message


def test_a_budget_too_small_is_refused():
    with pytest.raises(UsageError, match="budget"):
        plan_exchange([], nodes=[0], budget=100)


def test_elements_of_half_a_byte_are_cut_at_bytes():
    shape = (64, 512)
    route = Route("w", shape, rows(shape, 1, 2), whole_on(shape, 2, {1}), 4)
    plan = plan_exchange([route], nodes=[0, 1], budget=MIN_BUDGET)
    assert all(move.copy.src_start % 2 == 0 and move.copy.elements % 2 == 0 for move in plan.remote)
    assert figures_of(plan).total == 64 * 512 // 2


def test_description_has_every_rank_and_pair():
    shape = (8, 4)
    plan = plan_exchange([Route("w", shape, rows(shape, 2, 3), rows(shape, 1, 3, 2), 32)], nodes=[0] * 3, budget=1 << 20)
    text = describe(plan)
    assert "1 tensors over 3 ranks: 128 bytes on the wire in 1 waves" in text
    assert text.splitlines()[-3].split() == ["0", "-", "-", "64"]


def test_plans_are_frozen_and_alike():
    shape = (8, 4)
    route = Route("w", shape, rows(shape, 4, 4), rows(shape, 2, 4), 32)
    one, other = (plan_exchange([route], nodes=[0] * 4, budget=1 << 20) for _ in range(2))
    assert one == other
    with pytest.raises(AttributeError):
        one.size = 3
