"""Moved live from any layout into any other: model and optimizer arrive bit for bit, in as few bytes as can be."""

from __future__ import annotations

import traceback

import pytest

pytest.importorskip("torch")

import torch
import torch.distributed as dist

import pyckpt
from tests.ranks.layouts import LAYOUTS, differences, reset, state_of, target_of
from tests.ranks.seats import Seats
from tests.ranks.wire_bytes import counted, fewest

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

WORLD = 8
FIRST = {"overlapping": 0, "disjoint": 4}
"""Where the target begins; the source always does at rank 0."""

_built = {}


def built(rank, make, layout, first):
    """What ``make`` gives on this rank, made once; None where the layout does not lie."""
    seats = Seats(first, LAYOUTS[layout].size)
    seats.found()
    known = make, layout, first
    if known not in _built:
        _built[known] = make(layout, seats) if rank in seats else None
    return _built[known]


def regions(rank, layout, first):
    place = rank - first
    return LAYOUTS[layout].regions(place) if 0 <= place < LAYOUTS[layout].size else {}


def move_into(rank, layout, first):
    """Source -> what is wrong on this rank after a move from there; None if nothing is."""
    target = built(rank, target_of, layout, first)
    want = built(rank, state_of, layout, first)
    out = {}
    for source in LAYOUTS:
        state = built(rank, state_of, source, 0)
        if target is not None:
            reset(target)
        options = pyckpt.ReshardOptions(
            layout=regions(rank, source, 0), into_layout=regions(rank, layout, first), timeout=60.0, silence=20.0
        )
        try:
            got = pyckpt.reshard(state, target, options=options)
            wrong = [] if target is None else differences(got, want)
            if state is not None and state is not want:
                wrong += [f"source: {line}" for line in differences(state, built(rank, state_of, source, 0))]
        except BaseException:
            wrong = [traceback.format_exc()]
        out[source] = wrong
    return out


@pytest.fixture(scope="module")
def moved(ranks):
    """``moved(target, placement)`` gives, by source, what every rank found wrong."""
    results = {}

    def of(target, placement):
        key = target, placement
        if key not in results:
            results[key] = ranks(WORLD).run(move_into, target, FIRST[placement])
        return results[key]

    return of


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("placement", FIRST)
def test_pair(moved, placement, source, target):
    wrong = {rank: out[source] for rank, out in enumerate(moved(target, placement)) if out[source]}
    assert not wrong, "\n".join(f"rank {rank}: {line}" for rank, lines in wrong.items() for line in lines)
