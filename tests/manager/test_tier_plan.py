"""What is copied and deleted between tiers, over random histories of saves, roll-backs, outages and wrong clocks."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pyckpt.errors import UsageError
from pyckpt.manager import KeepBest, KeepEvery, KeepLast, Stored, Tier
from pyckpt.manager.keep import wanted
from pyckpt.manager.tier import check_tiers
from pyckpt.manager.tier_plan import TierView, age_of, plan_copies, plan_deletions

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
KEEPS = [None, KeepLast(1), KeepLast(2), timedelta(hours=3), [KeepEvery(2)], [KeepBest(1, "loss"), KeepEvery(3)]]
HISTORIES = int(os.environ.get("PYCKPT_TIER_HISTORIES", "60"))


class World(RuleBasedStateMachine):
    """Three tiers as sets of checkpoints; nothing of it knows how the plans are made."""

    @initialize(
        keeps=st.tuples(*[st.sampled_from(KEEPS)] * 3), every=st.tuples(*[st.integers(1, 3)] * 2), names=st.booleans()
    )
    def begin(self, keeps, every, names):
        self.tiers = [Tier(f"t{at}", keep=keep, every=(1, *every)[at]) for at, keep in enumerate(keeps)]
        self.held = [{}, {}, {}]
        self.damaged = [set(), set(), set()]
        self.down = [False] * 3
        self.clock, self.step, self.sequence = START, 0, 0
        self.replace_names = names

    def views(self):
        return [
            TierView(None)
            if down
            else TierView(tuple(sorted(held.values(), key=age_of, reverse=True)), frozenset(), frozenset(damaged))
            for held, damaged, down in zip(self.held, self.damaged, self.down, strict=True)
        ]

    @rule(ahead=st.integers(-4, 3), hours=st.integers(-30, 30), loss=st.integers(0, 5), pin=st.integers(0, 9))
    def save(self, ahead, hours, loss, pin):
        """Time may stand still, run back or jump; a step back takes names again, where the manager lets it."""
        self.step = max(1, self.step + (ahead or 1))
        self.clock += timedelta(hours=hours)
        name = f"step-{self.step}"
        there = self.held[0].get(name)
        if there is not None and (there.pinned or len(self.sound(0)) < 2):
            return
        self.sequence += 1
        digest = f"{self.sequence:04d}"
        self.held[0][name] = Stored(
            name, self.step, self.sequence, self.clock, {"loss": float(loss)}, pin == 0, digest=digest
        )

    @rule(at=st.integers(0, 2))
    def outage(self, at):
        self.down[at] = not self.down[at]

    @rule(data=st.data(), at=st.integers(0, 2))
    def damage(self, data, at):
        """Found by a load or a copy; the newest of all is left whole somewhere."""
        sound = self.sound(at)
        if sound:
            found = data.draw(st.sampled_from(sorted(sound, key=age_of)))
            if found.digest != self.newest() or sum(self.has(each, found.digest) for each in range(3)) > 1:
                self.damaged[at].add(found.digest)

    @rule(fail=st.sets(st.integers(0, 5)))
    def cycle(self, fail):
        newest = self.newest()
        copies, blocked = plan_copies(self.tiers, self.views(), replace_names=self.replace_names)
        ages = [age_of(job.stored) for job in copies]
        assert ages == sorted(ages, reverse=True), "the newest goes first"
        for number, job in enumerate(copies):
            assert not self.down[job.target]
            if number in fail:
                continue
            assert self.has(job.sources[0], job.stored.digest)
            older = self.held[job.target].get(job.stored.name)
            assert older == job.replaces
            if older is not None:
                assert self.replace_names
                assert not older.pinned
                assert age_of(older) < age_of(job.stored)
                assert any(self.has(job.target, self.held[job.target][name].digest) for name in job.leaves)
            self.held[job.target][job.stored.name] = job.stored
        assert not {(each.target, each.stored.digest) for each in blocked} & {
            (job.target, job.stored.digest) for job in copies
        }
        self.delete()
        assert newest is None or any(self.has(at, newest) for at in range(3)), "the newest is gone"

    def delete(self):
        before = [max(map(age_of, self.sound(at)), default=None) for at in range(3)]
        for job in plan_deletions(self.tiers, self.views()):
            at, gone = job.tier, job.stored
            assert not gone.pinned
            assert not any(self.down[at:]), "what a later tier holds is not known"
            witness, proof = job.proof
            assert self.has(witness, proof.digest), "the proof is not there"
            assert proof == gone if witness > at else witness == at
            if witness == at:
                assert age_of(proof) > age_of(gone)
                superseded = any(age_of(each) > age_of(gone) for each in self.named(gone.name))
                for later in range(at + 1, 3):
                    may_go = gone.pinned or all(gone.sequence % tier.every == 0 for tier in self.tiers[1 : later + 1])
                    older = {each.digest: each for held in self.held[: later + 1] for each in held.values()}.values()
                    older = sorted((each for each in older if age_of(each) <= age_of(gone)), key=age_of, reverse=True)
                    meant = gone.name in wanted(self.tiers[later].policies, older)
                    if may_go and meant and not superseded:
                        assert any(age_of(each) > age_of(gone) for each in self.sound(later)), "was awaiting its copy"
            del self.held[at][gone.name]
        assert before == [max(map(age_of, self.sound(at)), default=None) for at in range(3)], "a tier lost its newest"

    def named(self, name):
        return [held[name] for held in self.held if name in held]

    def sound(self, at):
        return [each for each in self.held[at].values() if each.digest not in self.damaged[at]]

    def has(self, at, digest):
        return any(each.digest == digest for each in self.sound(at))

    def newest(self):
        return max((age_of(each) for at in range(3) for each in self.sound(at)), default=(0, None))[1]

    @invariant()
    def rests(self):
        """Without outages two cycles leave nothing to do, and the first tier holds no more than its policy wants."""
        if not hasattr(self, "held") or any(self.down) or any(self.damaged):
            return
        kept = [dict(held) for held in self.held]
        for _ in range(4):
            self.cycle(set())
        copies, blocked = plan_copies(self.tiers, self.views(), replace_names=self.replace_names)
        assert not copies
        assert not plan_deletions(self.tiers, self.views())
        if not blocked and self.tiers[0].keep == KeepLast(1) and all(tier.every == 1 for tier in self.tiers):
            assert sum(not each.pinned for each in self.held[0].values()) <= 1
        self.held = kept


def test_random_histories():
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def stored(step, sequence=None, **more):
    sequence = step if sequence is None else sequence
    return Stored(f"step-{step}", step, sequence, START + timedelta(hours=sequence), digest=f"{sequence:04d}", **more)


def views(*held):
    return [None if each is None else TierView(tuple(sorted(each, key=age_of, reverse=True))) for each in held]


def test_awaiting_its_copy_is_not_deleted():
    tiers = [Tier("a", keep=KeepLast(1)), Tier("b")]
    old, new = stored(1), stored(2)
    assert plan_deletions(tiers, views([old, new], [])) == []
    assert plan_deletions(tiers, [*views([old, new]), TierView(None)]) == []
    assert plan_deletions(tiers, views([old, new], [new])) == []
    (job,) = plan_deletions(tiers, views([old, new], [old]))
    assert (job.stored, job.tier, job.proof) == (old, 0, (1, old))


def test_a_copy_that_is_damaged_is_no_copy():
    tiers = [Tier("a", keep=KeepLast(1)), Tier("b")]
    old, new = stored(1), stored(2)
    here, there = views([old, new], [old, new])
    assert plan_deletions(tiers, [here, TierView(there.held, frozenset(), frozenset({old.digest}))]) == []


def test_what_a_later_tier_does_not_want_goes_once_it_has_something_newer():
    tiers = [Tier("a", keep=KeepLast(1)), Tier("b", keep=KeepLast(1))]
    old, new = stored(1), stored(2)
    assert plan_deletions(tiers, views([old, new], [])) == []
    (job,) = plan_deletions(tiers, views([old, new], [new]))
    assert job.proof == (0, new)


def test_what_a_later_tier_never_wants_does_not_fill_the_first():
    tiers = [Tier("a", keep=KeepLast(1)), Tier("b", keep=KeepEvery(10))]
    assert [job.stored.step for job in plan_deletions(tiers, views([stored(1), stored(2)], []))] == [1]
    assert plan_deletions(tiers, views([stored(10), stored(11)], [])) == []


def test_every_so_many_go_on():
    tiers = [Tier("a"), Tier("b", every=2), Tier("c", every=3)]
    held = [stored(step, pinned=step == 5) for step in range(1, 8)]
    copies, _ = plan_copies(tiers, views(held, [], []), replace_names=True)
    assert [(job.stored.step, job.target) for job in copies] == [(6, 1), (6, 2), (5, 1), (5, 2), (4, 1), (2, 1)]


def test_a_name_is_taken_from_an_older_checkpoint_only_where_another_is_left():
    tiers = [Tier("a"), Tier("b")]
    old, new, other = stored(5, 1), stored(5, 9), stored(4, 2)
    (job,), blocked = plan_copies(tiers, views([new], [old, other]), replace_names=True)
    assert (job.replaces, job.leaves, blocked) == (old, ("step-4",), [])
    for there, replaces, why in (
        ([old], True, "no other one"),
        ([old, other], False, "'skip'"),
        ([stored(5, 1, pinned=True), other], True, "pinned"),
    ):
        copies, (blocked,) = plan_copies(tiers, views([new], there), replace_names=replaces)
        assert not copies
        assert why in blocked.why
    # What an old disk still has under that name does not come back.
    assert plan_copies(tiers, views([old, other], [new, other]), replace_names=True) == ([], [])
    copies, _ = plan_copies([*tiers, Tier("c")], views([old, other], [other], [new]), replace_names=True)
    assert [(job.stored, job.target) for job in copies] == [(other, 2)]


def test_tiers_that_make_no_sense():
    for wrong in ({"every": 0}, {"scope": "rack"}, {"keep": 7}, {"keep": [7]}, {"keep": timedelta(0)}):
        with pytest.raises(UsageError):
            Tier("a", **wrong)
    for tiers in (
        [],
        [Tier("a", every=2)],
        [Tier("a"), Tier("a/")],
        [Tier("a"), Tier("b", scope="node")],
    ):
        with pytest.raises(UsageError):
            check_tiers(tiers)


def test_what_the_newest_refers_to_stays_where_saves_commit():
    tiers = [Tier("a", keep=KeepLast(1)), Tier("b", keep=KeepLast(1))]
    base, new = stored(1), stored(2, external=("step-1",))
    both = views([base, new], [base, new])
    assert [(job.stored, job.tier) for job in plan_deletions(tiers, both)] == [(base, 1)]
