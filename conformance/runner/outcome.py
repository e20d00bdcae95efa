"""What came out of a case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from .suite import CaseFile, Level

__all__ = ["FAILURES", "OUTCOMES", "Outcome", "Result", "Verdict", "judged"]

Outcome = Literal["pass", "fail", "warn", "remark", "xfail", "xpass", "skip", "crash", "timeout"]

OUTCOMES: Final[tuple[Outcome, ...]] = (
    "pass", "fail", "crash", "timeout", "xpass", "warn", "remark", "xfail", "skip",
)  # fmt: skip
FAILURES: Final[frozenset[Outcome]] = frozenset({"fail", "crash", "timeout", "xpass"})
"""Outcomes that make a run fail."""


@dataclass(frozen=True)
class Verdict:
    """What a run of a case showed, before its level and what was expected of it count."""

    outcome: Literal["pass", "fail", "skip", "crash", "timeout"]
    reason: str = ""
    """One line; empty if it passed."""
    details: tuple[str, ...] = ()
    step: int | None = None
    """The step that failed, from 1."""
    memory: int | None = None
    """Bytes by which the peak memory grew, where it was measured."""
    runs: int = 1
    """How often the steps were run; more than once in transactions."""
    stderr: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of a case."""

    case: CaseFile
    level: Level
    outcome: Outcome
    verdict: Verdict
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it makes the run fail."""
        return self.outcome in FAILURES

    @property
    def reason(self) -> str:
        """One line; empty if it passed."""
        return self.verdict.reason


def judged(case: CaseFile, level: Level, verdict: Verdict, expected_failure: str | None, seconds: float) -> Result:
    """Let the level and the expected failure count; a crash or a timeout is a failure at every level."""
    outcome: Outcome = verdict.outcome
    if outcome == "fail" and level != "MUST":
        outcome = "warn" if level == "SHOULD" else "remark"
    if expected_failure is not None:
        if outcome == "pass":
            outcome = "xpass"
            verdict = replace(verdict, reason=f"it passes, though its failure is expected: {expected_failure}")
        elif outcome != "skip":
            outcome = "xfail"
            verdict = replace(verdict, reason=f"expected: {expected_failure}. {verdict.reason}")
    return Result(case, level, outcome, verdict, seconds)
