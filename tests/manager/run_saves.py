"""Saves of a manager, its restarts and its returns to older steps, as rules of the random histories."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import pyckpt
from pyckpt.errors import AlreadyExists, Corrupt, NotFound, SaveAborted, StoreError
from pyckpt.manager import AtSteps, KeepBest, KeepEvery
from tests.manager.run_model import EVERY, LAST, Record, always_kept, blank, kept, same
from tests.manager.run_stores import NUMPY, Stores, picks

OPTIONS = pyckpt.SaveOptions(threads=1, block_bytes=4096, max_in_flight=2)
REFERRING = pyckpt.SaveOptions(threads=1, block_bytes=4096, max_in_flight=2, reference="newest")
N, AT = 3, 7
"""``step`` saves at the multiples of N, and at step AT."""
changed = st.frozensets(st.sampled_from(["frozen", "adapter", "base"]), max_size=2)


class Saves(Stores):
    """One manager at a time."""

    def start(self, background, referring):
        self.known_damaged = set()
        self.background, self.referring = background, referring
        self.events, self.flying, self.before, self.hit = [], [], [], False
        self.manager = pyckpt.CheckpointManager(
            self.inner.url,
            save_every_n_steps=N,
            policies=[AtSteps(AT)],
            keep_last_n=LAST,
            keep=[KeepBest(1, "loss"), KeepEvery(EVERY)],
            verify_saved="deep",
            grace=timedelta(0),
            options=REFERRING if referring else OPTIONS,
            async_save=background,
            tolerate_failures=1000 if background else 0,
            on_save=self.events.append,
        )
        self.at, self.previous = 0, None
        self.parent = None
        self.tainted = any(each.damage for each in self.everything()) or self.scars
        """A save may refer to damage of which this manager can't know."""

    scars = False
    """Damage was done to something."""

    def good(self):
        return [each for each in self.records if not each.damage]

    @rule(
        ahead=st.integers(1, 3),
        changed=changed,
        loss=st.sampled_from([0.5, 1.0, 2.0, math.nan]),
        how=st.sampled_from(["save"] * 7 + ["pin", "step", "step"]),
        fail=st.none() | st.none() | st.integers(1, 40),
        when=st.sampled_from(["before", "after"]),
        stays=st.booleans(),
        linger=st.booleans(),
    )
    def save(self, ahead, changed, loss, how, fail, when, stays, linger):
        """Saves; where it goes on in the background it may ``linger`` there until the next rule, which may be a save."""
        due = how != "step" or self.is_due(self.at + ahead)
        if not self.flying:
            self.before = list(self.records)
        self.at += ahead
        if due:
            values = self.next_values(changed)
            new = Record(f"step-{self.at:08d}", self.at, values, loss, how == "pin")
            self.note_hit()
            self.arm(self.store, fail, when, stays=stays)
            self.flying.append(new)
        state = values.state() if due else {}
        try:
            metrics = {"loss": loss, "serial": self.serial}
            if how == "step":
                handle = self.manager.step(self.at, state, metrics)
                self.previous = self.at
                assert due or handle is None
            else:
                self.manager.save(self.at, state, metrics, pin=how == "pin")
        except (StoreError, SaveAborted, AlreadyExists):
            assert due
            assert not self.background
            self.previous = self.at if how == "step" else self.previous
        if due and not (self.background and linger and len(self.flying) == 1):
            self.settle()

    def is_due(self, step):
        reached = range((step if self.previous is None else self.previous + 1), step + 1)
        return any(each % N == 0 or each == AT for each in reached)

    def note_hit(self):
        self.hit = self.disarm(self.store) or self.hit

    def settle(self):
        """Waits for what is under way, and compares what has come of it with what may have come of it."""
        if not self.flying:
            return
        self.manager.wait()
        self.note_hit()
        events = {event.step: event for event in self.events}
        (self.one if len(self.flying) == 1 else self.two)(self.flying, [events[new.step] for new in self.flying])
        if any("is damaged" in text for event in self.events if event.retention for text in event.retention.problems):
            self.tainted = False
        self.events.clear()
        self.flying, self.hit = [], False

    def is_there(self, new, event):
        """Whether it was committed. What is acknowledged is sound, but for damage of which nobody has told the manager."""
        root = self.root(new.name)
        if root is None or root.metadata["metrics"]["serial"] != new.values.serial:
            return False
        if not self.holds(new):
            assert self.tainted and self.referring
            new.damage = "object"
            told = event.retention is not None and any("is damaged" in text for text in event.retention.problems)
            assert told or self.hit or event is not self.events[-1]
            self.known_damaged |= {new.name} if told else set()
        return True

    def one(self, flying, events):
        (new,), (event,) = flying, events
        name, before = new.name, self.before
        there = next((each for each in before if each.name == name), None)
        good_before = [each for each in before if not each.damage]
        assert event.error is None or self.hit
        if event.report is not None:
            assert self.root(name).parent == self.parent
            assert self.root(name).metadata["step"] == new.step
        committed = self.is_there(new, event)
        assert committed or event.report is None
        if event.skipped:
            assert there is not None
            others = [each for each in good_before if each.name != name and each.name not in self.known_damaged]
            assert there.damage == "root" or there.pinned or not others
            assert self.names() == {each.name for each in before}
            return
        if committed:
            self.check_origins(name)
            self.records = [each for each in self.records if each.name != name] + [new]
            if not new.damage:
                self.known_damaged.discard(name)
            stay = kept(self.records, self.known_damaged) | {name}
            stay |= {each.name for each in self.records if each.damage == "root"}
            stay |= self.external(name) & {each.name for each in self.records}
            if new.damage:
                stay = {each.name for each in self.records}
        else:
            stay = {each.name for each in before} - {name}
        gone = {each.name for each in self.records} - self.names()
        assert not gone & stay, "retention took what it should keep"
        if committed and not self.hit:
            assert self.names() == stay, "retention left what it should not keep"
            assert set(event.retention.deleted) == {each.name for each in before} - stay - {name}
            # In the background there is some grace, for which also a deleted checkpoint has to be readable.
            if not any(each.damage for each in self.everything()) and not (self.background and self.scars):
                assert event.retention.problems == ()
        self.records = [each for each in self.records if each.name in self.names()]
        assert self.good() or not good_before, "the only good one is gone"

    def two(self, flying, events):
        """Retention after the first may have seen the second or not: what no order of the two lets go is there."""
        tried = [new for new, event in zip(flying, events, strict=True) if not event.skipped]
        committed = [new for new, event in zip(flying, events, strict=True) if new in tried and self.is_there(new, event)]
        for new, event in zip(flying, events, strict=True):
            assert event.error is None or self.hit
            # The first one may have been what retention after the second let go.
            assert event.report is None or new in committed or new is flying[0]
        if events[-1].report is not None:
            assert flying[-1] in committed
        base = [each for each in self.before if each.name not in {new.name for new in tried}]
        done = [new for new, event in zip(flying, events, strict=True) if event.report is not None or new in committed]
        self.known_damaged -= {new.name for new in done if not new.damage}
        # Retention after the first may also have come before the second made room for itself.
        early = [each for each in self.before if each.name != tried[0].name] if tried[:1] == flying[:1] else self.before
        must = always_kept(base, done, self.known_damaged)
        for seen in ([], [each for each in done if each is flying[0]]):
            must &= kept(early + seen, self.known_damaged) | {each.name for each in done}
        assert must <= self.names(), "retention took what it should keep"
        self.records = [each for each in [*base, *committed] if each.name in self.names()]
        assert self.good() or all(each.damage for each in self.before), "the only good one is gone"

    @rule(background=st.booleans(), referring=st.booleans())
    def restart(self, background, referring):
        self.settle()
        self.manager.close()
        self.start(background, referring)
        self.resume(None)

    @rule(pick=picks)
    def roll_back(self, pick):
        self.settle()
        if self.records:
            self.resume(self.pick(self.records, pick).step)

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
            self.tainted = False
            return
        if wanted is None and self.records:
            with pytest.raises(Corrupt) as raised:
                self.manager.restore(state, options=NUMPY)
            assert {finding.key for finding in raised.value.findings} == {each.name for each in self.records}
            self.tainted = False
            return
        found = self.manager.restore(state, step=step, options=NUMPY)
        if wanted is None:
            assert found.fresh
            assert found.step == 0
            assert same(state, blank())
            return
        assert found.step == wanted.step
        assert same(state, wanted.values.state())
        newer = [each.name for each in readable if readable.index(each) > readable.index(wanted)]
        passed = set(newer) | ({each.name for each in self.records if each.damage == "root"} if step is None else set())
        assert {each.name for each in found.passed} == passed
        self.known_damaged |= passed
        self.at, self.previous, self.parent = wanted.step, wanted.step, found.digest
        self.tainted = False
