"""What to keep: small frozen objects that each name the checkpoints they want. One that any of them wants stays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pyckpt.errors import UsageError

__all__ = ["KeepBest", "KeepEvery", "KeepLast", "KeepNamed", "KeepPolicy", "KeepYounger", "Stored", "wanted"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A committed checkpoint, as far as keeping it goes."""

    name: str
    step: int
    sequence: int
    created: datetime | None = None
    """None where the root's time is in a form that can't be compared."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    pinned: bool = False
    """Marked in its metadata: stays for ever, whatever the policies say."""
    external: tuple[str, ...] = ()
    """Other checkpoints in which parts of it lie."""
    digest: str = ""
    """Of its root."""


class KeepPolicy(Protocol):
    """Chooses among the checkpoints of one manager."""

    def keep(self, stored: Sequence[Stored]) -> set[str]:
        """Names to keep. ``stored`` is newest first, by sequence."""


@dataclass(frozen=True, slots=True)
class KeepLast:
    """The ``n`` newest."""

    n: int

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` for less than 1."""
        if self.n < 1:
            raise UsageError("usage.invalid", f"n is {self.n}, expected at least 1", key="KeepLast")

    def keep(self, stored: Sequence[Stored]) -> set[str]:
        """Their names."""
        return {each.name for each in stored[: self.n]}


@dataclass(frozen=True, slots=True)
class KeepEvery:
    """Those whose step is a multiple of ``k``."""

    k: int

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` for less than 1."""
        if self.k < 1:
            raise UsageError("usage.invalid", f"k is {self.k}, expected at least 1", key="KeepEvery")

    def keep(self, stored: Sequence[Stored]) -> set[str]:
        """Their names."""
        return {each.name for each in stored if each.step % self.k == 0}


@dataclass(frozen=True, slots=True)
class KeepBest:
    """The ``k`` with the least or greatest value of a metric; among equals the newer. NaN is never among the best."""

    k: int
    metric: str
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` for less than 1, or another mode."""
        if self.k < 1 or self.mode not in ("min", "max"):
            raise UsageError(
                "usage.invalid",
                f"k is {self.k} and mode {self.mode!r}, expected at least 1, and min or max",
                key="KeepBest",
            )

    def keep(self, stored: Sequence[Stored]) -> set[str]:
        """Their names."""
        sign = 1.0 if self.mode == "min" else -1.0
        known = [each for each in stored if not math.isnan(each.metrics.get(self.metric, math.nan))]
        best = sorted(known, key=lambda each: (sign * each.metrics[self.metric], -each.sequence))
        return {each.name for each in best[: self.k]}


@dataclass(frozen=True, slots=True)
class KeepYounger:
    """Those created less than ``age`` before the newest one.

    Ages count from the newest checkpoint, not from now: a run that stood still for a week finds what it left.
    """

    age: timedelta

    def __post_init__(self) -> None:
        """UsageError ``usage.invalid`` for what is no timedelta."""
        if not isinstance(self.age, timedelta):
            raise UsageError("usage.invalid", f"age is {self.age}, expected a timedelta", key="KeepYounger")

    def keep(self, stored: Sequence[Stored]) -> set[str]:
        """Their names; one whose time is not known counts as young."""
        times = [each.created for each in stored if each.created is not None]
        newest = max(times, default=None)
        return {
            each.name
            for each in stored
            if each.created is None or newest is None or newest - each.created < self.age
        }


@dataclass(frozen=True, slots=True)
class KeepNamed:
    """Those with these names, for ever."""

    names: frozenset[str]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", frozenset(names))

    def keep(self, stored: Sequence[Stored]) -> set[str]:
        """The names that are there."""
        return {each.name for each in stored if each.name in self.names}


def wanted(policies: Sequence[KeepPolicy], stored: Sequence[Stored]) -> set[str]:
    """Names that stay: what any policy wants, and what is pinned. Without policies, all."""
    if not policies:
        return {each.name for each in stored}
    names = {each.name for each in stored if each.pinned}
    return names.union(*(policy.keep(stored) for policy in policies))
