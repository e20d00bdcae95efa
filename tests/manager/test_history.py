"""Random histories of a run over a store that fails: what was acknowledged and should be kept is there, bit for bit.

The model below knows nothing of the manager's code: it keeps a list of what was committed, in order, and works out by
itself what retention has to leave.
"""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import pyckpt
from pyckpt.engine.listing import list_checkpoints
from pyckpt.errors import AlreadyExists, Corrupt, NotFound, PyckptError, SaveAborted, StoreError, UsageError
from pyckpt.manager import KeepBest, KeepEvery
from pyckpt.storage.memory import MemoryStore
from tests.storage.faulty import FaultyStore

NUMPY = pyckpt.LoadOptions(framework="numpy", threads=1)
OPTIONS = pyckpt.SaveOptions(threads=1, block_bytes=4096, max_in_flight=2)
LAST, EVERY = 2, 5
FOREIGN = {"other-1/notes.txt": b"mine", "step-1/model/notes.txt": b"not eight digits", "step-00000003/log.txt": b"log"}
numbers = itertools.count()


@dataclass
class Record:
    """A checkpoint that exists, as the model has it."""

    name: str
    step: int
    value: int
    loss: float
    pinned: bool
    damage: str = ""


def filled(value):
    """Three blocks that belong to no other value."""
    return {"model": {"w": np.arange(3000, dtype=np.uint32) * 7 + value, "none": np.zeros((0, 2))}, "note": {"v": value}}


def blank():
    return {"model": {"w": np.zeros(3000, np.uint32), "none": np.zeros((0, 2))}, "note": {"v": -1}}


def kept(records, overlooked=()):
    """Names that stay after a save, worked out for the last of ``records``."""
    counted = [each for each in records if each.name not in overlooked and each.damage != "root"]
    best = min(
        (each for each in counted if not math.isnan(each.loss)), key=lambda each: (each.loss, -counted.index(each)), default=None
    )
    names = {each.name for each in counted[-LAST:]} | {each.name for each in counted if each.step % EVERY == 0}
    return names | {each.name for each in records if each.pinned} | ({best.name} if best else set())


def chosen(number, choices):
    """One of them."""
    return choices[number % len(choices)]


class History(RuleBasedStateMachine):
    """One store, one manager at a time."""

    @initialize(background=st.booleans())
    def begin(self, background):
        self.inner = MemoryStore(f"history-{next(numbers)}")
        self.store = FaultyStore(self.inner, count_only=True)
        STORES[self.inner.url] = self.store
        for key, data in FOREIGN.items():
            self.inner.put(key, data)
        pyckpt.save(f"{self.inner.url}/other-1", filled(10**6), options=OPTIONS)
        self.records = []
        self.value = 0
        self.start(background)

    def start(self, background):
        self.known_damaged = set()
        self.background = background
        self.events, self.flying, self.before, self.hit = [], [], [], False
        self.manager = pyckpt.CheckpointManager(
            self.inner.url,
            keep_last_n=LAST,
            keep=[KeepBest(1, "loss"), KeepEvery(EVERY)],
            verify_saved="deep",
            grace=timedelta(0),
            options=OPTIONS,
            async_save=background,
            tolerate_failures=1000 if background else 0,
            on_save=self.events.append,
        )
        self.at = 0
        self.parent = None

    def teardown(self):
        if hasattr(self, "inner"):
            self.manager.close()
            self.inner.clear()
            del STORES[self.inner.url]

    def good(self):
        return [each for each in self.records if not each.damage]

    @rule(
        ahead=st.integers(1, 3),
        loss=st.sampled_from([0.5, 1.0, 2.0, math.nan]),
        pin=st.integers(0, 9).map(lambda number: number == 0),
        fail=st.none() | st.integers(1, 30),
        when=st.sampled_from(["before", "after"]),
        linger=st.booleans(),
    )
    def save(self, ahead, loss, pin, fail, when, linger):
        """Saves; where it goes on in the background it may ``linger`` there until the next rule, which may be a save."""
        if not self.flying:
            self.before = list(self.records)
        self.at += ahead
        self.value += 1
        new = Record(f"step-{self.at:08d}", self.at, self.value, loss, pin)
        self.note_hit()
        self.store.when, self.store.fail_at = when, None if fail is None else self.store.count + fail
        self.flying.append(new)
        try:
            self.manager.save(self.at, filled(self.value), {"loss": loss}, pin=pin)
        except (StoreError, SaveAborted, AlreadyExists):
            assert not self.background
        if not (self.background and linger and len(self.flying) == 1):
            self.settle()

    def note_hit(self):
        self.hit = self.hit or (self.store.fail_at is not None and self.store.count >= self.store.fail_at)

    def settle(self):
        """Waits for what is under way, and compares what has come of it with what may have come of it."""
        if not self.flying:
            return
        self.manager.wait()
        self.note_hit()
        self.store.fail_at = None
        events = {event.step: event for event in self.events}
        (self.one if len(self.flying) == 1 else self.two)(self.flying, [events[new.step] for new in self.flying])
        self.events.clear()
        self.flying, self.hit = [], False

    def one(self, flying, events):
        (new,), (event,) = flying, events
        name, before = new.name, self.before
        there = next((each for each in before if each.name == name), None)
        good_before = [each for each in before if not each.damage]
        assert event.error is None or self.hit
        if event.report is not None:
            assert self.root(name).parent == self.parent
            assert self.root(name).metadata["step"] == new.step
        committed = name in self.standing() and self.holds(new)
        assert committed or event.report is None
        if event.skipped:
            assert there is not None
            others = [each for each in good_before if each.name != name and each.name not in self.known_damaged]
            assert there.damage == "root" or there.pinned or not others
            assert self.names() == {each.name for each in before}
            return
        if committed:
            self.records = [each for each in self.records if each.name != name] + [new]
            self.known_damaged.discard(name)
            stay = kept(self.records, self.known_damaged) | {name}
            stay |= {each.name for each in self.records if each.damage == "root"}
        else:
            stay = {each.name for each in before} - {name}
        gone = {each.name for each in self.records} - self.names()
        assert not gone & stay, "retention took what it should keep"
        if committed and not self.hit:
            assert self.names() == stay, "retention left what it should not keep"
            assert set(event.retention.deleted) == {each.name for each in before} - stay - {name}
            if not any(each.damage for each in before) and not self.scars:
                assert not event.retention.problems
        self.records = [each for each in self.records if each.name in self.names()]
        assert self.good() or not good_before, "the only good one is gone"

    def two(self, flying, events):
        """Retention after the first may have seen the second or not: what no order of the two lets go is there."""
        tried = [new for new, event in zip(flying, events, strict=True) if not event.skipped]
        committed = [new for new in tried if new.name in self.standing() and self.holds(new)]
        for new, event in zip(flying, events, strict=True):
            assert event.error is None or self.hit
            # The first one may have been what retention after the second let go.
            assert event.report is None or new in committed or new is flying[0]
        if events[-1].report is not None:
            assert flying[-1] in committed
        base = [each for each in self.before if each.name not in {new.name for new in tried}]
        done = [new for new, event in zip(flying, events, strict=True) if event.report is not None or new in committed]
        self.known_damaged -= {new.name for new in done}
        # Retention after the first may also have come before the second made room for itself.
        early = [each for each in self.before if each.name != tried[0].name] if tried[:1] == flying[:1] else self.before
        must = self.always(base, done)
        for seen in ([], [each for each in done if each is flying[0]]):
            must &= kept(early + seen, self.known_damaged) | {each.name for each in done}
        assert must <= self.names(), "retention took what it should keep"
        self.records = [each for each in [*base, *committed] if each.name in self.names()]
        assert self.good() or all(each.damage for each in self.before), "the only good one is gone"

    def always(self, base, new):
        """Names that stay whichever of the new ones were seen by retention."""
        states = [base + list(seen) for count in range(len(new) + 1) for seen in itertools.combinations(new, count)]
        stay = set.intersection(*(kept(state, self.known_damaged) | {each.name for each in new} for state in states))
        everything = base + list(new)
        loose = {each.name for each in new} - kept(everything, self.known_damaged)
        return (stay | {each.name for each in base if each.damage == "root"}) - loose

    scars = False
    """Damage was done to a manifest, so that collection may have nothing to go by."""

    @rule(background=st.booleans())
    def restart(self, background):
        self.settle()
        self.manager.close()
        self.start(background)
        self.resume(None)

    # What is drawn may not hang on what is there: threads may come to it in another order when it is done again.

    @rule(number=st.integers(0, 99))
    def roll_back(self, number):
        self.settle()
        if self.records:
            self.resume(chosen(number, sorted(each.step for each in self.records)))

    def resume(self, step):
        state = blank()
        readable = [each for each in self.records if each.damage != "root"]
        if step is not None:
            readable = [each for each in readable if each.step == step]
        sound = [each for each in readable if not each.damage]
        wanted = sound[-1] if sound else None
        if step is not None and not sound:
            with pytest.raises((Corrupt, NotFound)):
                self.manager.restore(state, step=step, options=NUMPY)
            return
        if wanted is None and self.records:
            with pytest.raises(Corrupt) as raised:
                self.manager.restore(state, options=NUMPY)
            assert {finding.key for finding in raised.value.findings} == {each.name for each in self.records}
            return
        found = self.manager.restore(state, step=step, options=NUMPY)
        if wanted is None:
            assert found.fresh
            assert found.step == 0
            assert state["note"]["v"] == -1
            return
        assert found.step == wanted.step
        self.compare(state, wanted)
        newer = [each.name for each in readable if readable.index(each) > readable.index(wanted)]
        passed = set(newer) | ({each.name for each in self.records if each.damage == "root"} if step is None else set())
        assert {each.name for each in found.passed} == passed
        self.known_damaged |= passed
        self.at, self.parent = wanted.step, found.digest

    @rule(number=st.integers(0, 99), other=st.integers(0, 99), what=st.sampled_from(["object", "manifest", "root"]))
    def damage(self, number, other, what):
        self.settle()
        if len(self.good()) < 2:
            return
        record = chosen(number, self.good())
        marks = {"object": ".safetensors", "manifest": "/manifest-", "root": "/checkpoint.json"}
        keys = [info.key for info in self.inner.list(f"{record.name}/") if marks[what] in info.key]
        reached = self.reached(record.name)
        key = chosen(other, sorted(key for key in keys if what == "root" or key in reached))
        bytes_ = bytearray(self.inner.get(key, limit=1 << 24))
        bytes_[-5] ^= 4
        self.inner.put(key, bytes_)
        record.damage = what
        self.scars = True

    @rule()
    def collect(self):
        self.settle()
        try:
            pyckpt.gc(self.inner.url, grace=0)
        except UsageError:
            assert self.scars

    @invariant()
    def all_good_ones_load(self):
        if not hasattr(self, "inner"):
            return
        safe = {each.name for each in self.records}
        if self.flying:
            safe = self.always(self.records, self.flying) - {each.name for each in self.flying}
        for each in self.good():
            assert each.name not in safe or self.holds(each), each
        assert self.flying or self.names() == safe
        for key, data in FOREIGN.items():
            assert self.inner.get(key, limit=100) == data
        other = pyckpt.load(f"{self.inner.url}/other-1", options=NUMPY)
        assert other["note"]["v"] == 10**6

    def names(self):
        """Names of this pattern with a root, damaged ones as well."""
        return {each.name for each in list_checkpoints(self.inner) if each.name != "other-1"}

    def standing(self):
        return {each.name for each in list_checkpoints(self.inner) if each.root is not None}

    def root(self, name):
        return next(each.root for each in list_checkpoints(self.inner) if each.name == name)

    def reached(self, name):
        from pyckpt.engine.open import descriptor_key, load_item

        root = self.root(name)
        keys = set()
        for item, entry in root.items.items():
            keys |= {descriptor_key(name, entry.manifest), *load_item(self.inner, name, item, root).object_keys}
        return keys

    def holds(self, record):
        try:
            loaded = pyckpt.load(f"{self.inner.url}/{record.name}", options=NUMPY)
        except PyckptError:
            return False
        return self.equal(loaded, record.value)

    def equal(self, loaded, value):
        expected = filled(value)
        return loaded["note"] == expected["note"] and loaded["model"]["w"].tobytes() == expected["model"]["w"].tobytes()

    def compare(self, state, record):
        assert state["model"]["w"].tobytes() == filled(record.value)["model"]["w"].tobytes()


HISTORIES = int(os.environ.get("PYCKPT_HISTORIES", "40"))
PHASES = [Phase.generate]
"""Making a failure smaller takes minutes, with nothing on the screen; set all phases by hand where that is wanted."""
STORES = {}
"""URL -> the faulty store that the library gets for it."""


def test_histories(monkeypatch):
    from pyckpt.storage import url as urls

    opened = urls.open_store

    def through_faults(url, **options):
        return STORES.get(str(url)) or opened(url, **options)

    monkeypatch.setattr("pyckpt.facade.address.open_store", through_faults)
    monkeypatch.setattr("pyckpt.manager.manager.open_store", through_faults)
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)
    monkeypatch.setattr("pyckpt.engine.listing._log.disabled", True)
    # On a machine that others use, threads that let everybody go first take for ever.
    monkeypatch.setattr("pyckpt.manager.flight.step_back", lambda: None)
    monkeypatch.setattr("pyckpt.engine.background.step_back", lambda: None)
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=HISTORIES, stateful_step_count=20, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck), print_blob=True
        ),
    )
