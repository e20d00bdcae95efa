"""Moved live from any layout into any other: model and optimizer arrive bit for bit, in as few bytes as can be."""

from __future__ import annotations

import traceback

import pytest

pytest.importorskip("torch")

import pyckpt
from pyckpt.engine.exchange_text import figures_of
from tests.ranks.layouts import LAYOUTS, differences, reset, state_of, target_of
from tests.ranks.seats import Seats
from tests.ranks.wire_bytes import counted, elements_of, fewest

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

PLACEMENTS = {"overlapping": (4, 0), "disjoint": (8, 4)}
"""Ranks of the world, and the one where the target begins; the source begins at rank 0."""

_built = {}


def built(rank, make, layout, first):
    """What ``make`` gives on this rank, made once; None where the layout does not lie."""
    seats = Seats(first, LAYOUTS[layout].size)
    seats.found()
    known = make, layout, first
    if known not in _built:
        _built[known] = make(layout, seats) if rank in seats else None
    return _built[known]


def options(rank, source, target, first):
    def regions(layout, place):
        return LAYOUTS[layout].regions(place) if 0 <= place < LAYOUTS[layout].size else {}

    declared = {"layout": regions(source, rank), "into_layout": regions(target, rank - first)}
    return pyckpt.ReshardOptions(**declared, timeout=60.0, silence=20.0)


def move_into(rank, target, first):
    """Source -> what is wrong on this rank after a move from there. The sources are moved on many times unchanged."""
    into = built(rank, target_of, target, first)
    want = built(rank, state_of, target, first)
    out = {}
    for source in LAYOUTS:
        state = built(rank, state_of, source, 0)
        if into is not None:
            reset(into)
        try:
            got = pyckpt.reshard(state, into, options=options(rank, source, target, first))
            out[source] = [] if into is None else differences(got, want)
        except BaseException:
            out[source] = [traceback.format_exc()]
    return out


@pytest.fixture(scope="module")
def moved(ranks):
    """``moved(target, placement)`` gives, by source, what every rank found wrong."""
    results = {}

    def of(target, placement):
        key = target, placement
        if key not in results:
            size, first = PLACEMENTS[placement]
            results[key] = ranks(size).run(move_into, target, first)
        return results[key]

    return of


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_pair(moved, placement, source, target):
    wrong = {rank: out[source] for rank, out in enumerate(moved(target, placement)) if out[source]}
    assert not wrong, "\n".join(f"rank {rank}: {line}" for rank, lines in wrong.items() for line in lines)


def push_again(rank, source, target):
    """What is wrong on this rank after a second execution of one plan, into a target whose state had gone."""
    state, into = built(rank, state_of, source, 0), built(rank, target_of, target, 0)
    if into is not None:
        reset(into)
    resharder = pyckpt.Resharder(state, into, options=options(rank, source, target, 0))
    out = []
    for _ in range(2):
        if into is not None:
            reset(into)
        resharder.run()
        out += [] if into is None else differences(resharder.value, built(rank, state_of, target, 0))
    return out


AGAIN = {("fsdp2-4", target) for target in LAYOUTS} | {(source, "tp-2") for source in LAYOUTS}


@pytest.mark.parametrize(("source", "target"), sorted(AGAIN))
def test_one_plan_executed_twice(ranks, source, target):
    assert ranks(PLACEMENTS["overlapping"][0]).run(push_again, source, target) == [[]] * 4


def elements(rank):
    """Layout -> what this rank has of the model in it."""
    out = {}
    for layout in LAYOUTS:
        state = built(rank, state_of, layout, 0)
        out[layout] = {} if state is None else elements_of(layout, state["model"])
    return out


def count_all(rank):
    """(source, target) -> what went over the wire on this rank for the model: by the group, the report and the plan."""
    out = {}
    for target in LAYOUTS:
        into = built(rank, target_of, target, 0)
        for source in LAYOUTS:
            state = built(rank, state_of, source, 0)
            resharder = pyckpt.Resharder(
                None if state is None else {"model": state["model"]},
                None if into is None else {"model": into["model"]},
                options=options(rank, source, target, 0),
            )
            with counted() as seen:
                report = resharder.run()
            figures = figures_of(resharder.plan)
            out[source, target] = {
                "group": (seen.sent, seen.received),
                "report": (report.sent, report.received),
                "plan": (figures.sent[rank], figures.received[rank]),
            }
    return out


def test_bytes_on_the_wire_are_the_fewest_possible(ranks):
    """For every pair and rank: the elements that it wants and does not hold, once."""
    size = PLACEMENTS["overlapping"][0]
    has = ranks(size).run(elements)
    counts = ranks(size).run(count_all)
    nothing = 0
    for source in LAYOUTS:
        for target in LAYOUTS:
            least = fewest(source, [each[source] for each in has], [each[target] for each in has])
            moved = [each[source, target] for each in counts]
            for who in ("group", "report", "plan"):
                assert [received for _, received in (one[who] for one in moved)] == least, (source, target, who)
                assert sum(sent for sent, _ in (one[who] for one in moved)) == sum(least), (source, target, who)
            assert all(one["group"][0] == one["report"][0] == one["plan"][0] for one in moved), (source, target)
            nothing += not sum(least)
    # What lies where it should is not sent at all, and most of the pairs have something to send.
    assert 12 <= nothing < 72
