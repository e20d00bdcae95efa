"""When to save: small frozen objects that each answer one question about a moment, and combine."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from pyckpt.errors import UsageError

__all__ = [
    "AtSteps",
    "BeforePreemption",
    "Every",
    "EveryNSteps",
    "Moment",
    "Needs",
    "OnFile",
    "OnSignal",
    "SavePolicy",
    "all_of",
    "any_of",
]

TRY_AGAIN = 75
"""``EX_TEMPFAIL`` of sysexits.h: nothing is wrong, run it again."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a policy has to know beside the step. With none of it all ranks decide alike without a message."""

    clock: bool = False
    signals: frozenset[int] = frozenset()
    files: frozenset[str] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.clock or other.clock, self.signals | other.signals, self.files | other.files)

    def __bool__(self) -> bool:
        return self.clock or bool(self.signals) or bool(self.files)


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known when the manager is asked whether to save."""

    step: int
    previous: int | None = None
    """The step of the call before, or the one that was restored; None in a run that has just begun."""
    seconds: float = 0.0
    """Since the end of the last save, or the start of the manager. Rank 0's clock."""
    signals: frozenset[int] = frozenset()
    """Those needed that any rank got since the last save."""
    files: frozenset[str] = frozenset()
    """Those needed that exist, as rank 0 sees it."""

    def passes(self, step: int) -> bool:
        """Whether this call reaches ``step`` for the first time, also where the loop strides over it."""
        if self.previous is None or self.previous >= self.step:
            return step == self.step
        return self.previous < step <= self.step


class SavePolicy(Protocol):
    """Decides at every step. Asked on all ranks if it needs nothing, otherwise on rank 0 alone."""

    @property
    def needs(self) -> Needs:
        """What has to be in the moment."""

    def should_save(self, moment: Moment) -> bool:
        """Whether this moment is one to save at."""


@dataclass(frozen=True, slots=True)
class EveryNSteps:
    """At the multiples of ``n``; where the loop strides over one, at the first step after it."""

    n: int
    needs: Needs = Needs()

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` for less than 1."""
        if self.n < 1:
            raise UsageError("usage.invalid", f"n is {self.n}, expected at least 1", key="EveryNSteps")

    def should_save(self, moment: Moment) -> bool:
        """Whether a multiple has just been reached; never at step 0."""
        multiple = moment.step // self.n * self.n
        return multiple > 0 and moment.passes(multiple)


@dataclass(frozen=True, slots=True)
class Every:
    """When so much time has gone by since the last save."""

    period: timedelta
    needs: Needs = Needs(clock=True)

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` for a negative period, or for what is no timedelta."""
        if not isinstance(self.period, timedelta) or self.period < timedelta(0):
            raise UsageError(
                "usage.invalid", f"period is {self.period}, expected a timedelta of 0 or more", key="Every"
            )

    def should_save(self, moment: Moment) -> bool:
        """Whether the period is over."""
        return moment.seconds >= self.period.total_seconds()


@dataclass(frozen=True, slots=True)
class AtSteps:
    """At the given steps."""

    steps: frozenset[int]
    needs: Needs = Needs()

    def __init__(self, *steps: int) -> None:
        object.__setattr__(self, "steps", frozenset(steps))
        object.__setattr__(self, "needs", Needs())

    def should_save(self, moment: Moment) -> bool:
        """Whether one of them has just been reached."""
        return any(moment.passes(step) for step in self.steps)


@dataclass(frozen=True, slots=True)
class OnSignal:
    """At the step after a signal, sent to any rank."""

    number: int = signal.SIGUSR1

    @property
    def needs(self) -> Needs:
        """The signal."""
        return Needs(signals=frozenset({self.number}))

    def should_save(self, moment: Moment) -> bool:
        """Whether it has come."""
        return self.number in moment.signals


@dataclass(frozen=True, slots=True)
class OnFile:
    """At the step after a file has appeared where rank 0 sees it; the save removes the file."""

    path: str

    @property
    def needs(self) -> Needs:
        """The file."""
        return Needs(files=frozenset({self.path}))

    def should_save(self, moment: Moment) -> bool:
        """Whether it is there."""
        return self.path in moment.files


@dataclass(frozen=True, slots=True)
class BeforePreemption:
    """After one of these signals, sent to any rank: save at the next step, then leave with ``exit_code``."""

    signals: frozenset[int] = frozenset({signal.SIGTERM})
    exit_code: int = TRY_AGAIN

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` without a signal, or for what is no exit code."""
        if not self.signals or not 0 <= self.exit_code <= 255:
            raise UsageError(
                "usage.invalid",
                f"found {len(self.signals)} signals and exit code {self.exit_code}, expected one or more and 0 to 255",
                key="BeforePreemption",
            )

    @property
    def needs(self) -> Needs:
        """The signals."""
        return Needs(signals=self.signals)

    def should_save(self, moment: Moment) -> bool:
        """Whether one of them has come."""
        return bool(self.signals & moment.signals)


@dataclass(frozen=True, slots=True)
class _Combined:
    parts: tuple[SavePolicy, ...]
    every: bool

    @property
    def needs(self) -> Needs:
        """What any part needs."""
        needs = Needs()
        for part in self.parts:
            needs |= part.needs
        return needs

    def should_save(self, moment: Moment) -> bool:
        """Whether all parts, or any, would save."""
        answers = [part.should_save(moment) for part in self.parts]
        return bool(answers) and (all(answers) if self.every else any(answers))


def any_of(*policies: SavePolicy) -> SavePolicy:
    """Saves when one of the policies does; of none, never."""
    return _Combined(policies, every=False)


def all_of(*policies: SavePolicy) -> SavePolicy:
    """Saves when all of the policies do at the same step; of none, never."""
    return _Combined(policies, every=True)
