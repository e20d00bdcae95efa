"""The figures of a case as rows: against the limit and against peers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness.results import ArmResult, CaseResult, Ratio, Series, ratio

__all__ = ["Row", "best", "limit_of", "rows", "settings"]


@dataclass(frozen=True, slots=True)
class Row:
    """One arm and way in one step."""

    name: str
    kind: str
    seconds: float
    least: float
    most: float
    of_limit: Ratio | None
    """Share of the limit's speed that it reaches."""
    to_ours: Ratio | None
    """How many times as fast pyckpt is."""
    peak: int
    cpu: float
    read: float
    written: float
    stored: float
    resident: float | None


def rows(case: CaseResult, step: str) -> list[Row]:
    """All that did the step: limits, pyckpt, peers."""
    named = case.named(step)
    # Copies and digests are different things: none is the limit of the others.
    limit = limit_of(case, step) if step != "work" else None
    ours = named.get("pyckpt")
    found = []
    for name, (arm, samples) in named.items():
        seconds = [each.seconds for each in samples]
        resident = [each.resident for each in samples if each.resident is not None]
        found.append(
            Row(
                name,
                arm.kind,
                statistics.median(seconds),
                min(seconds),
                max(seconds),
                ratio(limit[1], samples) if limit else None,
                ratio(samples, ours[1]) if ours else None,
                max(each.peak for each in samples),
                statistics.median(each.cpu for each in samples),
                # Mapped files are not read by calls; what comes from the cache is not read from the device.
                statistics.median(max(each.calls_read, each.device_read) for each in samples),
                statistics.median(max(each.calls_written, each.device_written) for each in samples),
                statistics.median(each.stored for each in samples),
                max(resident) if resident else None,
            )
        )
    order = {"limit": 0, "pyckpt": 1}
    return sorted(found, key=lambda row: order.get(row.kind, 2))


def limit_of(case: CaseResult, step: str) -> tuple[str, Series] | None:
    """The fastest limit of the step, by its median."""
    return best(case, step, "limit")


def best(case: CaseResult, step: str, kind: str, names: Sequence[str] = ("",)) -> tuple[str, Series] | None:
    """The fastest of a kind whose name begins with one of ``names``, by its median."""
    found: list[tuple[float, str, Series]] = []
    for name, (arm, samples) in case.named(step).items():
        if arm.kind == kind and name.startswith(tuple(names)):
            found.append((statistics.median(each.seconds for each in samples), name, samples))
    if not found:
        return None
    _, name, samples = min(found, key=lambda each: each[0])
    return name, samples


def settings(arm: ArmResult) -> str:
    """The settings in one line."""
    return ", ".join(f"{name}={value}" for name, value in arm.settings.items()) or "as they are by default"
