"""Ranks that die or stop: the others fail in time, say who it was, and what was there before is untouched."""

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
from tests.ranks.pool import Outcome, Ranks

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 3
SILENCE, TIMEOUT = 3.0, 20.0
SLACK = 6.0
"""Seconds granted beyond the stated limit on a machine that does other things."""


def state(rank, value):
    """A replicated tensor of several blocks, so that every rank writes, and one of its own."""
    return {
        "model": {
            "shared": torch.full((1 << 20,), float(value)),
            "own": pyckpt.local_shard(torch.full((2, 4), float(value)), (2 * SIZE, 4), (2 * rank, 0)),
        }
    }


def options(timeout=TIMEOUT, **more):
    return {"silence": SILENCE, "timeout": timeout, **more}


def save_before(rank, store):
    """The checkpoint that must survive everything."""
    pyckpt.save(f"{store}/before", state(rank, 1), options=pyckpt.SaveOptions(**options()))


def strike(how):
    """What happens to this process: it never comes back from here."""
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(3600)


def at_round(what, how):
    """Strikes when this rank is about to send its contribution to the round ``what``."""
    from pyckpt.torch.group import GroupCoordinator

    gather = GroupCoordinator.gather

    def gather_or_die(self, now, payload):
        if now == what:
            strike(how)
        return gather(self, now, payload)

    GroupCoordinator.gather = gather_or_die


def at_announcement(what, how):
    """Strikes when this rank has gathered the round ``what`` and is about to tell the outcome."""
    from pyckpt.torch.group import GroupCoordinator

    announce = GroupCoordinator.announce

    def announce_or_die(self, now, payload):
        if now == what:
            strike(how)
        return announce(self, now, payload)

    GroupCoordinator.announce = announce_or_die


def attempt(rank, store, victim, moment, how, timeout):
    """One save or load during which ``victim`` is struck at ``moment``."""
    mine = rank == victim
    operation, _, when = moment.partition(":")
    if mine and when == "never begins":
        strike(how)
    if mine and when.startswith("round "):
        at_round(when[6:], how)
    if mine and when.startswith("announces "):
        at_announcement(when[10:], how)
    progress = (lambda done, total: strike(how)) if mine and when == "bytes" else None
    if operation == "save":
        pyckpt.save(f"{store}/new", state(rank, 2), options=pyckpt.SaveOptions(**options(timeout, progress=progress)))
    else:
        into = state(rank, 0)
        pyckpt.load(f"{store}/before", into=into, options=pyckpt.LoadOptions(**options(timeout, progress=progress)))


@dataclass(frozen=True)
class Case:
    victim: int
    moment: str
    how: str = "SIGKILL"
    host: str = "parent"
    """Who holds the process group's store."""
    limit: float = SILENCE
    """Seconds in which the others must have failed."""
    timeout: float = TIMEOUT

    def __str__(self) -> str:
        return f"{self.moment} {self.how} rank {self.victim} store {self.host}".replace(" ", "-")


CASES = [
    Case(1, "save:bytes"),
    Case(2, "save:round commit"),
    Case(1, "save:round begin"),
    Case(1, "save:bytes", "SIGSTOP"),
    Case(2, "save:never begins", "SIGSTOP", limit=8.0, timeout=8.0),
    Case(0, "save:bytes"),
    Case(0, "save:bytes", host="rank0"),
    Case(0, "save:round commit", "SIGSTOP"),
    Case(0, "save:round commit", "SIGSTOP", host="rank0"),
    Case(1, "save:bytes", host="rank0"),
    Case(1, "load:bytes"),
    Case(2, "load:round bind", "SIGSTOP"),
    Case(0, "load:bytes"),
    Case(0, "load:bytes", host="rank0"),
]


def play(case: Case, store: str) -> list[Outcome]:
    ranks = Ranks(SIZE, host=case.host)
    try:
        ranks.run(save_before, store)
    except BaseException:
        ranks.close()
        raise
    try:
        lot = (case.victim, case.moment, case.how, case.timeout)
        return ranks.outcomes(attempt, store, *lot, lost=[case.victim], timeout=TIMEOUT + 30)
    except AssertionError as error:
        return [Outcome(gone=rank == case.victim, trace=str(error)) for rank in range(SIZE)]
    finally:
        ranks.close()


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Store and outcomes by case. They mostly wait, so several are played at once."""
    stores = {case: str(tmp_path_factory.mktemp("dead")) for case in CASES}
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda case: play(case, stores[case]), CASES)
        return {case: (stores[case], outcomes) for case, outcomes in zip(CASES, results, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_others_fail_in_time_and_name_it(played, case):
    store, outcomes = played[case]
    assert outcomes[case.victim].gone
    survivors = [one for rank, one in enumerate(outcomes) if rank != case.victim]
    for one in survivors:
        assert isinstance(one.error, RankError), one.trace or one.value
        assert one.error.code in ("rank.failed", "rank.timeout")
        assert f"rank {case.victim}" in one.error.key
        assert f"rank {case.victim}" in str(one.error)
        others = [rank for rank in range(SIZE) if rank != case.victim]
        assert not any(f"rank {rank}" in one.error.key for rank in others), str(one.error)
        assert one.seconds < case.limit + SLACK


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_was_there_is_untouched(played, case):
    store, _ = played[case]
    assert [url.rpartition("/")[2] for url in pyckpt.list(store)] == ["before"]
    assert pyckpt.verify(f"{store}/before").findings == ()
    assert pyckpt.load(f"{store}/before")["model"]["own"].eq(1).all()
    # What the dead left behind is in nobody's way, and goes with the next collection.
    pyckpt.save(f"{store}/new", {"model": {"w": torch.ones(3)}})
    assert pyckpt.verify(f"{store}/new").ok


AFTER_COMMIT = Case(0, "save:announces commit", "SIGKILL")


def test_coordinator_that_dies_after_the_commit(tmp_path):
    """The root exists, though nobody heard of it: the checkpoint must be whole, whatever the others were told."""
    outcomes = play(AFTER_COMMIT, str(tmp_path))
    for one in outcomes[1:]:
        assert isinstance(one.error, RankError), one.trace
        assert one.error.key == "rank 0"
        assert one.seconds < SILENCE + SLACK
    assert {url.rpartition("/")[2] for url in pyckpt.list(tmp_path)} == {"before", "new"}
    assert pyckpt.verify(f"{tmp_path}/new").findings == ()
    assert pyckpt.load(f"{tmp_path}/new")["model"]["own"].eq(2).all()
