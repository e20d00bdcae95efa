"""Policies: when to save and what to keep, against definitions that are written another way."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.engine.report import SaveReport
from pyckpt.errors import InvalidKey, UsageError
from pyckpt.manager import (
    AtSteps,
    BeforePreemption,
    Every,
    EveryNSteps,
    KeepBest,
    KeepEvery,
    KeepLast,
    KeepNamed,
    KeepYounger,
    Moment,
    Needs,
    OnFile,
    OnSignal,
    Stored,
    all_of,
    any_of,
)
from pyckpt.manager.keep import wanted
from pyckpt.manager.names import NamePattern
from pyckpt.manager.pace import Pace
from pyckpt.manager.stored import parse_metrics

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def saved_at(policy, steps, previous=None):
    out = []
    for step in steps:
        if policy.should_save(Moment(step, previous)):
            out.append(step)
        previous = step
    return out


@given(n=st.integers(1, 20), strides=st.lists(st.integers(1, 30), max_size=30))
def test_every_n_steps_misses_no_multiple(n, strides):
    steps = [sum(strides[: count + 1]) for count in range(len(strides))]
    before = [0, *steps]
    crossed = [new for old, new in zip(before, steps) if any(at % n == 0 for at in range(old + 1, new + 1))]
    assert saved_at(EveryNSteps(n), steps, previous=0) == crossed


def test_every_n_steps_alone_at_multiples():
    assert saved_at(EveryNSteps(3), range(10)) == [3, 6, 9]
    assert saved_at(EveryNSteps(5), [7, 8], previous=None) == []
    # Back to an older step without a restore: nothing is passed twice.
    assert saved_at(EveryNSteps(10), [19, 21, 12, 20]) == [21, 20]


def test_at_steps():
    assert saved_at(AtSteps(3, 10), [1, 3, 4, 11, 12]) == [3, 11]


@given(seconds=st.floats(0, 100), period=st.floats(0, 100))
def test_every(seconds, period):
    policy = Every(timedelta(seconds=period))
    assert policy.should_save(Moment(1, seconds=seconds)) == (seconds >= policy.period.total_seconds())


def test_requests():
    moment = Moment(1, signals=frozenset({signal.SIGUSR1}), files=frozenset({"SAVE"}))
    assert OnSignal().should_save(moment)
    assert not OnSignal(signal.SIGUSR2).should_save(moment)
    assert OnFile("SAVE").should_save(moment)
    assert not OnFile("OTHER").should_save(moment)
    assert not BeforePreemption().should_save(moment)


@given(
    parts=st.lists(st.sampled_from([EveryNSteps(2), EveryNSteps(3), AtSteps(5), AtSteps(6)]), max_size=4),
    step=st.integers(0, 12),
)
def test_combinations(parts, step):
    moment = Moment(step)
    answers = [part.should_save(moment) for part in parts]
    assert any_of(*parts).should_save(moment) == any(answers)
    assert all_of(*parts).should_save(moment) == (bool(parts) and all(answers))
    assert not any_of(*parts).needs


def test_combinations_need_what_their_parts_need():
    policy = any_of(EveryNSteps(2), all_of(Every(timedelta(1)), OnFile("a")), OnSignal(10))
    assert policy.needs == Needs(True, frozenset({10}), frozenset({"a"}))


stored = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([1.0, 2.0, 3.0, math.nan, None]), st.integers(0, 99), st.booleans()),
    max_size=12,
).map(
    lambda rows: [
        Stored(
            f"c{at}",
            step,
            100 - at,
            START + timedelta(hours=hours),
            {} if loss is None else {"loss": loss},
            pinned,
        )
        for at, (step, loss, hours, pinned) in enumerate(rows)
    ]
)


@given(stored, st.integers(1, 5))
def test_keep_last(rows, n):
    assert KeepLast(n).keep(rows) == {each.name for each in rows if each.sequence > 100 - n}


@given(stored, st.integers(1, 5), st.sampled_from(["min", "max"]))
def test_keep_best(rows, k, mode):
    names = KeepBest(k, "loss", mode).keep(rows)
    scored = [each for each in rows if not math.isnan(each.metrics.get("loss", math.nan))]
    assert len(names) == min(k, len(scored))
    sign = 1 if mode == "min" else -1
    for inside in scored:
        for outside in scored:
            if inside.name in names and outside.name not in names:
                assert sign * inside.metrics["loss"] <= sign * outside.metrics["loss"]
                if inside.metrics["loss"] == outside.metrics["loss"]:
                    assert inside.sequence > outside.sequence


@given(stored, st.integers(0, 99))
def test_keep_younger(rows, hours):
    latest = max((each.created for each in rows), default=None)
    names = KeepYounger(timedelta(hours=hours)).keep(rows)
    assert names == {each.name for each in rows if latest - each.created < timedelta(hours=hours)}


@given(stored)
def test_kept_is_what_any_policy_wants(rows):
    policies = [KeepLast(2), KeepEvery(7), KeepNamed("c3")]
    names = wanted(policies, rows)
    pinned = {each.name for each in rows if each.pinned}
    assert names == {each.name for each in rows if any(each.name in policy.keep(rows) for policy in policies)} | pinned
    assert wanted([], rows) == {each.name for each in rows}


@pytest.mark.parametrize(
    "make",
    [
        lambda: EveryNSteps(0),
        lambda: Every(timedelta(-1)),
        lambda: KeepLast(0),
        lambda: KeepEvery(0),
        lambda: KeepBest(0, "loss"),
        lambda: KeepBest(1, "loss", "least"),
        lambda: BeforePreemption(exit_code=256),
        lambda: BeforePreemption(signals=frozenset()),
        lambda: NamePattern("step"),
        lambda: NamePattern("{step}-{step}"),
        lambda: NamePattern("{run}-{step}"),
        lambda: NamePattern("step-{step:x}"),
        lambda: NamePattern("step-{step"),
        lambda: NamePattern("s{}"),
    ],
)
def test_refused(make):
    with pytest.raises(UsageError):
        make()


def test_names():
    pattern = NamePattern("global_step_{step:04d}.ckpt")
    assert pattern.name_of(7) == "global_step_0007.ckpt"
    assert pattern.step_of("global_step_123456.ckpt") == 123456
    for other in ("global_step_7.ckpt", "global_step_0007", "global_step_0007xckpt", "x", "global_step_٠٠٠٧.ckpt"):
        assert pattern.step_of(other) is None
    with pytest.raises(InvalidKey):
        NamePattern("a/{step}")


@given(st.integers(0, 10**12))
def test_names_and_back(step):
    pattern = NamePattern("step-{step:08d}")
    assert pattern.step_of(pattern.name_of(step)) == step


def test_metrics_are_numbers():
    numpy = pytest.importorskip("numpy")
    given_ = {"a": 1, "b": numpy.float32(0.5), "c": "1.5", "d": None, "e": True, "f": 10**400, "g": numpy.array([1, 2])}
    assert parse_metrics(given_) == {"a": 1.0, "b": 0.5}


def report(seconds, write):
    return SaveReport("u", "d", "a", 1, (), 0, 0, 0, 0, seconds, {"write": write, "commit": seconds - write})


def test_a_slow_save_says_so_and_where():
    pace = Pace(3.0)
    assert [pace.judge(report(1.0, 0.5)) for _ in range(5)] == [""] * 5
    assert pace.judge(report(2.5, 2.0)) == ""
    said = pace.judge(report(8.0, 7.0))
    assert "took 8.0 s, 8.0 times the usual 1.0 s" in said
    assert "the phase 'write' took 6.5 s more than usual" in said


def test_what_a_save_waited_before_it_began_is_not_its_own_slowness():
    pace = Pace(3.0)
    assert not any(pace.judge(replace(report(1.0, 0.5), seconds=waited)) for waited in (1, 1, 1, 1, 60))


def test_short_saves_are_never_slow():
    pace = Pace(2.0)
    assert not any(pace.judge(report(seconds, 0.0)) for seconds in (0.01, 0.01, 0.01, 0.01, 0.9))
