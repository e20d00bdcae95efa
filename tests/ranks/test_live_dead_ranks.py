"""Ranks that die or stop during a live move: the others fail in time with RankError."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.errors import RankError
from pyckpt.format.geometry import Box, Region
from tests.ranks.pool import Outcome, Ranks

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 4
VICTIM = 1
SILENCE = 3.0
TIMEOUT = 9.0
"""For a rank that does not come at all."""
SLACK = 8.0
ROWS = 1 << 19


def strike(how):
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(3600)


def at_wave(number, how):
    """Strikes when this rank is about to post its messages of a wave."""
    from pyckpt.torch.wire import Wire

    post, seen = Wire.post, []

    def post_or_die(self, sends, receives):
        seen.append(1)
        if len(seen) > number:
            strike(how)
        return post(self, sends, receives)

    Wire.post = post_or_die


def attempt(rank, ring, moment, how):
    """Rows of all ranks to all ranks, or round a ring: then some have nothing to do with the victim."""
    shape = (SIZE, ROWS)
    mine = Region.of_box(Box((rank, 0), (1, ROWS)))
    next_ = Region.of_box(Box(((rank + 1) % SIZE, 0), (1, ROWS)))
    want = next_ if ring else Region.of_box(Box((0, rank * ROWS // SIZE), (SIZE, ROWS // SIZE)))
    state = {"w": torch.full((1, ROWS), float(rank))}
    target = {"w": torch.zeros(want.box.size)}
    options = pyckpt.ReshardOptions(
        layout={"state": {"w": pyckpt.Declared(shape, (mine,))}},
        into_layout={"state": {"w": pyckpt.Declared(shape, (want,))}},
        budget_bytes=1 << 20,
        silence=SILENCE,
        timeout=TIMEOUT,
    )
    resharder = pyckpt.Resharder(state, target, options=options)
    resharder.run()
    assert resharder.plan.waves > 4
    if rank == VICTIM and moment == "before":
        strike(how)
    if rank == VICTIM and moment == "first":
        at_wave(0, how)
    if rank == VICTIM and moment == "later":
        at_wave(2, how)
    begin = time.perf_counter()
    try:
        resharder.run()
    except RankError as error:
        return error.code, error.key, str(error), time.perf_counter() - begin
    return None


@dataclass(frozen=True)
class Case:
    ring: bool
    moment: str
    how: str

    def __str__(self) -> str:
        return f"{'ring' if self.ring else 'all'}-{self.moment}-{self.how}"


CASES = [Case(ring, moment, how) for ring in (False, True) for moment, how in (
    ("before", "SIGKILL"), ("first", "SIGKILL"), ("later", "SIGKILL"), ("later", "SIGSTOP"),
)]  # fmt: skip


def play(case: Case) -> list[Outcome]:
    ranks = Ranks(SIZE)
    try:
        return ranks.outcomes(attempt, case.ring, case.moment, case.how, lost=[VICTIM], timeout=60.0)
    except AssertionError as error:
        return [Outcome(gone=rank == VICTIM, trace=str(error)) for rank in range(SIZE)]
    finally:
        ranks.close()


@pytest.fixture(scope="module")
def played():
    """Outcomes by case. They mostly wait, so several are played at once."""
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(CASES, pool.map(play, CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_others_fail_in_time(played, case):
    outcomes = played[case]
    assert outcomes[VICTIM].gone
    for rank, one in enumerate(outcomes):
        if rank == VICTIM:
            continue
        assert one.ok, one.trace
        assert one.value is not None, f"rank {rank} noticed nothing"
        code, key, text, seconds = one.value
        # Who died before it came is only late, as for a save.
        assert code == ("rank.timeout" if case.moment == "before" else "rank.failed"), text
        assert key.startswith("rank "), text
        # Who has nothing to do with the victim hears of it from those who have left, one after the other.
        assert seconds < SILENCE * (2 if case.ring else 1) + SLACK, text
        if case.moment == "before":
            assert key == f"rank {VICTIM}"
        elif case.how == "SIGKILL" and not case.ring:
            assert f"rank {VICTIM}" in key, text
