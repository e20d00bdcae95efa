"""What the manager tells its caller: a save, a restore, and that it is time to leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyckpt.engine.report import LoadReport, SaveReport

__all__ = ["PassedOver", "Preempted", "Restored", "RetentionReport", "SaveEvent", "TierEvent"]


class Preempted(SystemExit):
    """The run was asked to leave, and has saved. If nobody catches it, the process ends with ``code``."""

    def __init__(self, code: int, step: int) -> None:
        super().__init__(code)
        self.step = step
        """The step after which it was saved."""


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What became of older checkpoints after a save."""

    deleted: tuple[str, ...] = ()
    """Names of checkpoints that are gone; their bytes follow after the grace period."""
    collected: int = 0
    """Keys that garbage collection removed."""
    collected_bytes: int = 0
    problems: tuple[str, ...] = ()
    """What did not work. It is tried again after the next save."""


@dataclass(frozen=True, slots=True)
class SaveEvent:
    """One save of the manager, as ``on_save`` gets it on every rank: done, skipped or failed."""

    step: int
    name: str
    report: SaveReport | None
    """None if the save was skipped or has failed."""
    rank: int = 0
    """The rank that is told."""
    skipped: str = ""
    """Why it was skipped."""
    error: BaseException | None = None
    """Why it failed; then there is no such checkpoint."""
    slow: str = ""
    """How much slower than its own past it was, if it was much slower."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    retention: RetentionReport | None = None
    """On rank 0, of a save that was done, unless there was no time for it before the next one or before leaving."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A checkpoint that was not restored, though it would have come first."""

    name: str
    code: str
    """A code of the registry of error codes."""
    why: str
    tier: str = ""
    """The store that it lies in, where there are several."""
    digest: str = ""
    """Of its root; empty if that is damaged."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore found; the same on every rank, the load report aside."""

    step: int
    """Steps that lie behind: the restored step, 0 for a fresh start."""
    url: str | None
    """Of the checkpoint that was restored; None for a fresh start."""
    digest: str | None
    metadata: Mapping[str, object]
    report: LoadReport | None
    passed: tuple[PassedOver, ...] = ()
    """Newer checkpoints and nearer copies that are damaged; damaged roots, of which nobody knows how new they are."""
    tier: str = ""
    """The store that it came from, where there are several."""

    @property
    def fresh(self) -> bool:
        """True if the store has no checkpoint of this manager, and nothing was changed."""
        return self.url is None


@dataclass(frozen=True, slots=True)
class TierEvent:
    """One thing that happened between tiers, as ``on_tier`` gets it in the background, on rank 0."""

    what: Literal["copied", "deleted", "damaged", "blocked"]
    tier: str
    """The store that it happened in."""
    name: str
    source: str = ""
    """The store that a copy came from."""
    bytes: int = 0
    """Those that a copy had to send."""
    seconds: float = 0.0
    why: str = ""
