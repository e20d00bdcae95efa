"""A manager with several tiers: copies in the background, outages, damage, kills, names that come back."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.open import open_root
from pyckpt.errors import Corrupt, NotFound, StoreError, UsageError
from pyckpt.manager import BeforePreemption, KeepLast, Tier
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from pyckpt.storage.url import open_store

NUMPY = pyckpt.LoadOptions(framework="numpy")
numbers = itertools.count()


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def filled(value):
    return {"model": {"w": np.full(2000, float(value))}, "extra": {"n": value}}


class Shaky:
    """A store that can be switched off; a stand-in for a server that is down, which can't be had in an instant."""

    def __init__(self, store):
        self.inner = store
        self.off = False
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def __getattr__(self, name):
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        def call(*args, **more):
            if name in ("create_writer", "put_new"):
                self.reached.set()
                self.gate.wait(20)
            if self.off:
                self.asked += 1
                raise StoreError("store.io", "the server is on fire", key=self.inner.url)
            return value(*args, **more)

        return call


@pytest.fixture
def shaky(monkeypatch):
    """Stores by URL, each of which can be switched off."""
    stores = {}

    def opened(url, **options):
        return stores.setdefault(str(url), Shaky(open_store(url, **options)))

    monkeypatch.setattr("pyckpt.manager.tier.open_store", opened)
    monkeypatch.setattr("pyckpt.manager.tier_health.FIRST_PAUSE_SECONDS", 0.02)
    return stores


@pytest.fixture
def place(tmp_path):
    """Directories of two tiers and a name in memory for the third."""
    cold = MemoryStore(f"cold-{next(numbers)}")
    yield str(tmp_path / "fast"), str(tmp_path / "slow"), cold.url
    cold.clear()


@contextmanager
def managing(*tiers, **options):
    events = []
    options.setdefault("tier_wait", timedelta(seconds=20))
    manager = pyckpt.CheckpointManager(tiers=tiers, on_tier=events.append, **options)
    manager.events = events
    try:
        yield manager
    finally:
        manager.close()


def names(url):
    return [Path(each).name.removeprefix("step-").lstrip("0") for each in pyckpt.list(url)]


def steps(manager, *which):
    for step in which:
        assert manager.save(step, filled(step)) is not None


def damage(directory, name):
    path = next((Path(directory) / name).rglob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def wait_until(condition, seconds=10):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_each_tier_gets_and_keeps_what_it_should(place):
    fast, slow, cold = place
    with managing(Tier(fast, KeepLast(2)), Tier(slow, timedelta(days=7)), Tier(cold, every=2)) as manager:
        assert manager.restore(filled(0)).fresh
        steps(manager, *range(10, 60, 10))
    assert names(fast) == ["50", "40"]
    assert names(slow) == ["50", "40", "30", "20", "10"]
    assert names(cold) == ["40", "20"]
    for url in (slow, cold):
        assert pyckpt.verify(pyckpt.latest(url)).ok
    assert pyckpt.open(f"{slow}/step-00000040").digest == pyckpt.open(f"{cold}/step-00000040").digest
    copied = [(each.name, each.tier) for each in manager.events if each.what == "copied"]
    assert len(copied) == len(set(copied)) == 7


def test_the_nearest_is_restored_and_promoted(place):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 1, 2)
    with managing(*tiers) as manager:
        found = manager.restore(filled(0), options=NUMPY)
        assert (found.step, found.tier, found.passed) == (2, fast, ())
    shutil.rmtree(fast)
    with managing(*tiers) as manager:
        state = filled(0)
        found = manager.restore(state, promote=True, options=NUMPY)
        assert (found.step, found.tier, state["extra"]["n"]) == (2, slow, 2)
        assert found.url == f"{slow}/step-00000002"
        wait_until(lambda: manager.events)
    assert names(fast) == ["2"]
    assert pyckpt.verify(f"{fast}/step-00000002").ok


def test_a_damaged_copy_gives_way_to_the_next_tier_before_anything_older(place, caplog):
    fast, slow, _ = place
    tiers = Tier(fast, KeepLast(2)), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 1, 2, 3)
    damage(fast, "step-00000003")
    for on_damage in ("previous", "raise"):
        with managing(*tiers) as manager:
            state = filled(0)
            found = manager.restore(state, on_damage=on_damage, options=NUMPY)
            assert (found.step, found.tier, state["extra"]["n"]) == (3, slow, 3)
            (passed,) = found.passed
            assert (passed.name, passed.tier, passed.code) == ("step-00000003", fast, "block.digest")
    assert f"its copy in {slow} is tried" in caplog.text
    damage(slow, "step-00000003")
    with managing(*tiers) as manager:
        assert manager.restore(filled(0), options=NUMPY).step == 2
        steps(manager, 4)
    # What nobody can copy any more is not counted, and still not thrown away where nothing newer stands.
    assert names(fast)[:2] == ["4", "2"] or names(fast)[:3] == ["4", "3", "2"]
    with managing(*tiers) as manager, pytest.raises(Corrupt):
        manager.restore(filled(0), step=3, options=NUMPY)


def test_an_empty_first_tier_does_not_make_new_saves_old(place):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 1, 2, 3)
    shutil.rmtree(fast)
    with managing(*tiers) as manager:
        # Nobody asked for a restore: the run begins anew, over a tier that remembers.
        steps(manager, 1)
        assert open_root(LocalStore(fast), "step-00000001").root.sequence == 4
    with managing(*tiers) as manager:
        assert manager.restore(filled(0), options=NUMPY).step == 1


def test_a_tier_that_was_never_seen_is_outdone_as_well(place, shaky):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 7, 8, 9)
    shutil.rmtree(fast)
    shaky[slow].off = True
    with managing(*tiers, tier_wait=timedelta(0)) as manager:
        steps(manager, 1)
    shaky[slow].off = False
    with managing(*tiers) as manager:
        assert manager.restore(filled(0), options=NUMPY).step == 1
        steps(manager, 2)
    assert names(slow) == ["2", "1", "9", "8", "7"]


def test_an_outage_is_told_once_and_made_good(place, shaky, caplog):
    fast, slow, _ = place
    caplog.set_level(logging.INFO, "pyckpt")
    with managing(Tier(fast, KeepLast(1)), Tier(slow)) as manager:
        steps(manager, 1)
        wait_until(lambda: "1" in names(slow))
        shaky[slow].off = True
        steps(manager, 2, 3, 4)
        before = shaky[slow].asked
        wait_until(lambda: shaky[slow].asked > before + 3)
        assert caplog.text.count("does not answer") == 1
        assert "the server is on fire" in caplog.text
        assert set(names(fast)) >= {"4", "3", "2"}, "deleted while nobody knew whether it was copied"
        shaky[slow].off = False
    assert names(slow) == ["4", "3", "2", "1"]
    assert names(fast) == ["4"]
    assert caplog.text.count("is back after") == 1


def test_closing_says_what_is_missing_where(place, shaky, caplog):
    fast, slow, _ = place
    with managing(Tier(fast), Tier(slow), tier_wait=timedelta(seconds=0.1)) as manager:
        steps(manager, 1)
        wait_until(lambda: "1" in names(slow))
        shaky[slow].off = True
        steps(manager, 2, 3)
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    assert f"{slow} lacks step-00000003, step-00000002 ([store.io]" in caplog.text
    shaky[slow].off = False
    with managing(Tier(fast), Tier(slow)) as manager:
        manager.restore(filled(0), options=NUMPY)
    assert names(slow) == ["3", "2", "1"]


def test_a_restore_does_not_go_by_half_the_tiers(place, shaky):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 1)
    shaky[slow].off = True
    with managing(*tiers, tier_wait=timedelta(0)) as manager:
        with pytest.raises(StoreError, match="on fire"):
            manager.restore(filled(0), options=NUMPY)
        assert manager.restore(filled(0), on_outage="pass", options=NUMPY).step == 1
    shutil.rmtree(fast)
    with managing(*tiers, tier_wait=timedelta(0)) as manager, pytest.raises(StoreError, match="not all tiers"):
        manager.restore(filled(0), on_outage="pass", options=NUMPY)


def test_a_step_that_is_saved_anew_takes_its_name_on_all_tiers(place):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 1, 2)
    with managing(*tiers) as manager:
        manager.restore(filled(0), step=1, options=NUMPY)
        assert manager.save(2, filled(22)) is not None
    for url in (fast, slow):
        assert pyckpt.load(f"{url}/step-00000002", options=NUMPY)["extra"]["n"] == 22
        assert pyckpt.open(f"{url}/step-00000002").digest == pyckpt.open(f"{fast}/step-00000002").digest
    # The only one that a tier has is not given away for one that is still to come: step 1 is copied before.
    shutil.rmtree(Path(slow) / "step-00000001")
    with managing(*tiers) as manager:
        manager.restore(filled(0), step=1, options=NUMPY)
        assert manager.save(2, filled(222)) is not None
    assert names(slow) == ["2", "1"]
    assert pyckpt.load(f"{slow}/step-00000002", options=NUMPY)["extra"]["n"] == 222


def test_the_only_one_of_a_tier_is_not_replaced(place):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        steps(manager, 2)
    shutil.rmtree(fast)
    with managing(*tiers) as manager:
        old = pyckpt.open(f"{slow}/step-00000002").digest
        steps(manager, 2)
        wait_until(lambda: any(each.what == "blocked" for each in manager.events))
        assert pyckpt.open(f"{slow}/step-00000002").digest == old
        steps(manager, 3)
    assert names(slow) == ["3", "2"]
    assert pyckpt.open(f"{slow}/step-00000002").digest == pyckpt.open(f"{fast}/step-00000002").digest


def test_pins_and_on_exists_hold_on_later_tiers(place):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers) as manager:
        assert manager.save(1, filled(1), pin=True)
        steps(manager, 2)
    shutil.rmtree(fast)
    with managing(*tiers, on_exists="skip") as manager:
        assert manager.save(2, filled(22)) is None
    with managing(*tiers) as manager:
        assert manager.save(1, filled(11)) is None
    assert pyckpt.load(f"{slow}/step-00000001", options=NUMPY)["extra"]["n"] == 1


def test_retention_leaves_a_name_that_was_saved_anew(place, shaky):
    fast, slow, _ = place
    with managing(Tier(fast, KeepLast(1)), Tier(slow)) as manager:
        retention = manager._retention._set
        steps(manager, 1, 2)
        wait_until(lambda: names(slow) == ["2", "1"])
        digest = pyckpt.open(f"{fast}/step-00000002").digest
        with pytest.raises(Corrupt, match="another checkpoint under the expected name"):
            retention.delete(0, "step-00000002", "0" * 64)
        assert pyckpt.open(f"{fast}/step-00000002").digest == digest
        with pytest.raises(NotFound):
            retention.delete(0, "step-00000007", digest)


def test_damage_at_the_source_is_found_by_the_copy(place, shaky):
    fast, slow, _ = place
    with managing(Tier(fast), Tier(slow)) as manager:
        shaky_slow = shaky[slow]
        shaky_slow.off = True
        steps(manager, 1, 2)
        damage(fast, "step-00000001")
        shaky_slow.off = False
        wait_until(lambda: any(each.what == "damaged" for each in manager.events))
    assert names(slow) == ["2"]
    assert set(names(fast)) == {"1", "2"}


def test_training_does_not_wait_for_a_slow_tier(place, shaky):
    fast, slow, _ = place
    with managing(Tier(fast, KeepLast(1)), Tier(slow, KeepLast(1))) as manager:
        steps(manager, 1)
        wait_until(lambda: names(slow) == ["1"])
        shaky[slow].gate.clear()
        shaky[slow].reached.clear()
        steps(manager, 2)
        assert shaky[slow].reached.wait(10)
        begin = time.monotonic()
        steps(manager, *range(3, 8))
        assert time.monotonic() - begin < 5
        shaky[slow].gate.set()
    # Those between were wanted by nobody any more by the time that there was room.
    assert names(slow) == ["7"]
    assert names(fast) == ["7"]


KILLED = """
import sys
import numpy as np
import pyckpt, pyckpt.frameworks, pyckpt.manager.tier as tier
from tests.storage.faulty import FaultyStore
pyckpt.frameworks._torch_wanted = lambda: False
opened = tier.open_store
fast, slow, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
def through_faults(url, **options):
    store = opened(url, **options)
    return FaultyStore(store, fail_at=at, action="kill") if url == slow else store
tier.open_store = through_faults
options = pyckpt.SaveOptions(threads=1)
manager = pyckpt.CheckpointManager(tiers=[pyckpt.manager.Tier(fast), pyckpt.manager.Tier(slow)], options=options)
rng = np.random.default_rng(1)
manager.save(1, {str(n): {"w": rng.random(40_000)} for n in range(4)})
manager.close()
"""


def test_a_process_killed_in_the_middle_of_a_copy(place):
    fast, slow, _ = place
    done = subprocess.run([sys.executable, "-c", KILLED, fast, slow, "9"], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert names(fast) == ["1"]
    assert names(slow) == []
    there = {path.name for path in Path(slow).rglob("*.safetensors")}
    assert there
    with managing(Tier(fast), Tier(slow)) as manager:
        state = {str(n): {"w": np.zeros(40_000)} for n in range(4)}
        assert manager.restore(state, options=NUMPY).step == 1
    assert names(slow) == ["1"]
    assert pyckpt.verify(f"{slow}/step-00000001").ok
    (event,) = manager.events
    assert 0 < event.bytes < 4 * 40_000 * 8


def test_a_store_and_tiers_are_not_given_together(tmp_path):
    for options in (
        {},
        {"store": tmp_path, "tiers": [Tier(tmp_path)]},
        {"tiers": [Tier(tmp_path)], "keep_last_n": 2},
    ):
        with pytest.raises(UsageError):
            pyckpt.CheckpointManager(**options)


def test_saves_in_the_background_go_on_to_the_next_tier(place):
    fast, slow, _ = place
    with managing(Tier(fast, KeepLast(2)), Tier(slow), async_save=True, save_every_n_steps=1) as manager:
        for step in range(1, 5):
            assert manager.step(step, filled(step)) is not None
    assert names(fast) == ["4", "3"]
    assert names(slow) == ["4", "3", "2", "1"]


def test_what_is_saved_before_preemption_is_copied(place):
    fast, slow, _ = place
    tiers = Tier(fast), Tier(slow)
    with managing(*tiers, preemption=BeforePreemption(), async_save=True) as manager:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(pyckpt.Preempted):
            manager.step(1, filled(1))
    assert names(slow) == ["1"]


def test_a_tier_that_hangs_does_not_hold_up_saves(place, shaky, monkeypatch):
    fast, slow, _ = place
    monkeypatch.setattr("pyckpt.manager.tier_set.LOOK_SECONDS", 1.0)
    with managing(Tier(fast), Tier(slow), tier_wait=timedelta(seconds=0)) as manager:
        hanging = threading.Event()
        shaky[slow].list_names = lambda prefix: hanging.wait(30) and []
        steps(manager, 1)
        begin = time.monotonic()
        steps(manager, 2, 3, 4)
        assert time.monotonic() - begin < 2.5
        hanging.set()
