"""Processes that save or copy in a tight loop are killed at any moment, again and again: what they acknowledged is there.

``PYCKPT_KILLS`` says how often, half of them on a disk and half on a real S3 server; every fourth one hits a copy.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from dataclasses import dataclass, field

import pytest

import pyckpt
from tests.manager.victims import EVERY, LAST, NUMPY, Pipe, copier, filled, tight_loop

pytestmark = pytest.mark.ranks

KILLS = int(os.environ.get("PYCKPT_KILLS", "12")) // 2

ENOUGH = 8
"""More checkpoints than these only make the test slow."""


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


@dataclass
class Run:
    """The store of a run, one for copies, and what is known of them."""

    store: str
    copies: str
    environment: dict
    patience: float
    """Seconds that a process is left alone at most."""
    last: int = 0
    everything: set = field(default_factory=set)
    copied: dict = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    def kill(self, work, *arguments, patience=None):
        """Begins the work in a process, kills it some time after its first words; gives its words, as numbers."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["numpy", "pyckpt.manager", "pyckpt.storage.objects", "tests.manager.victims"])
        ours, theirs = os.pipe()
        process = context.Process(target=work, args=(self.environment, Pipe(theirs), *arguments), daemon=True)
        process.start()
        os.close(theirs)
        with open(ours, "rb") as words:
            # Now and then it has to get somewhere first, also where others slow it down.
            wanted = 8 * (self.chance.randint(1, 3) if work is tight_loop else 1)
            first = words.read(wanted)
            assert len(first) == wanted, "it ended by itself"
            process.join(self.chance.uniform(0.0, patience or self.patience))
            assert process.is_alive() or work is copier
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            rest = words.read()
        return [int.from_bytes((first + rest)[at : at + 8], "little") for at in range(0, len(first + rest), 8)]

    def kill_save(self, background, referring):
        begun, *steps = self.kill(tight_loop, self.store, background, referring)
        # A save may have been committed without a word, but nothing that was acknowledged is forgotten.
        assert self.last <= begun <= self.last + 1
        self.last = max([begun, *steps])
        self.everything |= {begun, *steps} - {0}
        listed = {pyckpt.open(url).metadata["step"] for url in pyckpt.list(self.store)}
        assert {step for step in self.everything if step % EVERY == 0 or step > self.last + 1 - LAST} <= listed
        for step in listed:
            self.check(self.store, step)
        for step in sorted(listed)[:-ENOUGH]:
            # By hand: what newer ones refer to goes with them, or stays behind.
            pyckpt.delete(f"{self.store}/step-{step:08d}")
            self.everything.discard(step)

    def kill_copy(self):
        """A copy of the newest; what is listed at the target is whole, and the next try makes it so."""
        source = pyckpt.latest(self.store)
        step = pyckpt.open(source).metadata["step"]
        target = f"{self.copies}/step-{step:08d}"
        self.kill(copier, source, target, patience=self.patience / 5)
        if target in pyckpt.list(self.copies):
            self.check(self.copies, step)
        self.copied[step] = pyckpt.copy(source, target).digest
        assert self.copied[step] == pyckpt.open(source).digest
        self.check(self.copies, step)

    def check(self, store, step):
        loaded = pyckpt.load(f"{store}/step-{step:08d}", options=NUMPY)
        expected = filled(step)
        assert loaded["extra"] == expected["extra"]
        assert {name: value.tobytes() for name, value in loaded["model"].items()} == {
            name: value.tobytes() for name, value in expected["model"].items()
        }

    def drop_copies(self, keep):
        """Deletes all copies but the newest ones, and all that nothing needs any more."""
        for step in sorted(self.copied)[:-keep]:
            pyckpt.delete(f"{self.copies}/step-{step:08d}")
            del self.copied[step]
        pyckpt.gc(self.copies, grace=0)
        for step in self.copied:
            self.check(self.copies, step)


@pytest.fixture
def local(tmp_path):
    return Run(str(tmp_path / "run"), str(tmp_path / "copies"), {}, 0.4)


@pytest.fixture
def s3(seaweed, weed_place, weed_environment):
    pytest.importorskip("obstore", reason="obstore is not installed")
    return Run(f"s3://{weed_place}/run", f"s3://{weed_place}/copies", seaweed.environment(), 0.8)


@pytest.mark.parametrize("place", ["local", "s3"])
def test_nothing_acknowledged_is_lost(request, place):
    run = request.getfixturevalue(place)
    for number in range(KILLS):
        if number % 4 == 3:
            run.kill_copy()
            run.drop_copies(3)
        else:
            run.kill_save(background=number % 2 == 1, referring=number % 3 != 2)
    assert run.last > KILLS // 4
    pyckpt.gc(run.store, grace=0)
    # With everything gone from the first store, the copies are still there.
    for url in pyckpt.list(run.store):
        pyckpt.delete(url)
    pyckpt.gc(run.store, grace=0)
    assert not pyckpt.list(run.store)
    run.drop_copies(1)
    print(f"{KILLS} kills, {run.last} saves acknowledged")
