"""Random histories of a run on three real stores, with its thread: the newest acknowledged checkpoint is never lost."""

from __future__ import annotations

import itertools
import os
from datetime import timedelta

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import pyckpt
from pyckpt.engine.listing import list_checkpoints
from pyckpt.errors import PyckptError, StoreError
from pyckpt.manager import KeepEvery, KeepLast, Tier
from pyckpt.storage.memory import MemoryStore
from tests.manager.test_tiers import Shaky

NUMPY = pyckpt.LoadOptions(framework="numpy", threads=1)
OPTIONS = pyckpt.SaveOptions(threads=1, block_bytes=4096)
HISTORIES = int(os.environ.get("PYCKPT_TIER_RUNS", "5"))
STORES = {}
BLANK = 10**6
numbers = itertools.count()


def filled(value):
    return {"model": {"w": np.arange(3000, dtype=np.uint32) * 7 + value}, "note": {"v": value}}


class Run(RuleBasedStateMachine):
    """Three tiers that may each be off, and a manager that is closed and made anew now and then."""

    @initialize(fast=st.integers(1, 2), slow=st.integers(1, 3), every=st.integers(1, 2))
    def begin(self, fast, slow, every):
        number = next(numbers)
        self.inner = [MemoryStore(f"tier-{number}-{at}") for at in range(3)]
        for store in self.inner:
            STORES[store.url] = Shaky(store)
        urls = [store.url for store in self.inner]
        keeps = KeepLast(fast), KeepLast(slow), [KeepLast(1), KeepEvery(3)]
        self.tiers = [Tier(url, keep, each) for url, keep, each in zip(urls, keeps, (1, 1, every), strict=True)]
        self.step = self.value = 0
        self.newest = None
        self.start()

    def start(self):
        self.manager = pyckpt.CheckpointManager(
            tiers=self.tiers,
            tier_wait=timedelta(seconds=0.5),
            options=OPTIONS,
            grace=timedelta(hours=1),
        )

    def teardown(self):
        if hasattr(self, "inner"):
            self.manager.close()
            for store in self.inner:
                store.clear()
                del STORES[store.url]

    @rule(ahead=st.integers(1, 2), times=st.integers(1, 3))
    def save(self, ahead, times):
        for _ in range(times):
            self.step += ahead
            self.value += 1
            if self.manager.save(self.step, filled(self.value)) is not None:
                self.newest = self.value

    @rule(at=st.integers(1, 2))
    def outage(self, at):
        shaky = STORES[self.inner[at].url]
        shaky.off = not shaky.off

    @rule(promote=st.booleans(), wipe=st.booleans())
    def restart(self, promote, wipe):
        """The process ends; its fast tier may go with it, once the others have what it held."""
        self.manager.close()
        if wipe and self.newest in self.values(1) | self.values(2):
            self.inner[0].clear()
        self.start()
        self.resume(promote)

    def resume(self, promote=False, step=None):
        state = filled(BLANK)
        if any(STORES[store.url].off for store in self.inner):
            try:
                self.manager.restore(state, options=NUMPY)
            except StoreError:
                return
            raise AssertionError("went by half of the tiers")
        found = self.manager.restore(state, step=step, promote=promote, options=NUMPY)
        self.step = found.step
        if step is None:
            assert state["note"]["v"] == (BLANK if self.newest is None else self.newest)

    @precondition(lambda self: not any(STORES[store.url].off for store in self.inner))
    @rule(data=st.data())
    def roll_back(self, data):
        steps = {each.root.metadata["step"] for store in self.inner for each in list_checkpoints(store)}
        if steps:
            self.resume(step=data.draw(st.sampled_from(sorted(steps))))

    @rule(data=st.data(), at=st.integers(0, 1))
    def damage(self, data, at):
        """One object of a checkpoint that another tier has too."""
        elsewhere = set().union(*(self.values(each) for each in range(3) if each != at))
        names = [name for name, value in self.held(at).items() if value in elsewhere]
        if names:
            name = data.draw(st.sampled_from(sorted(names)))
            key = next(info.key for info in self.inner[at].list(f"{name}/") if info.key.endswith(".safetensors"))
            content = bytearray(self.inner[at].get(key, limit=1 << 24))
            content[-5] ^= 4
            self.inner[at].put(key, content)

    @invariant()
    def the_newest_is_there(self):
        if getattr(self, "newest", None) is not None:
            assert any(self.newest in self.values(at) for at in range(3))

    def values(self, at):
        return set(self.held(at).values())

    def held(self, at):
        """Name -> value of what loads, bit for bit."""
        held = {}
        for listed in list_checkpoints(self.inner[at]):
            try:
                loaded = pyckpt.load(f"{self.inner[at].url}/{listed.name}", options=NUMPY)
            except PyckptError:
                continue
            value = loaded["note"]["v"]
            assert loaded["model"]["w"].tobytes() == filled(value)["model"]["w"].tobytes()
            held[listed.name] = value
        return held


def test_histories(monkeypatch):
    from pyckpt.storage.url import open_store

    monkeypatch.setattr("pyckpt.manager.tier.open_store", lambda url, **options: STORES.get(str(url)) or open_store(url, **options))
    monkeypatch.setattr("pyckpt.manager.tier_health.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)
    monkeypatch.setattr("pyckpt.engine.listing._log.disabled", True)
    run_state_machine_as_test(
        Run,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=12,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
