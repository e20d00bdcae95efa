"""Notices a save that takes much longer than the saves before it: a full disk, a busy store, a slow node."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median

from pyckpt.engine.report import SaveReport

__all__ = ["Pace"]

MEMORY = 16
"""Saves that are looked back on."""
ENOUGH = 3
"""Saves that make a past."""
NOISE_SECONDS = 1.0
"""What a save may always take longer: short ones vary by any factor."""


class Pace:
    """Durations of the last saves."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._past: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=MEMORY)

    def judge(self, report: SaveReport) -> str:
        """What is to be said of this save, empty if it was as quick as ever; remembers it."""
        said = ""
        # Not from the call to the end: a save in the background may have waited for the one before.
        seconds = sum(report.phases.values())
        if len(self._past) >= ENOUGH:
            usual = median(seconds for seconds, _ in self._past)
            if seconds > max(self._factor * usual, usual + NOISE_SECONDS):
                said = f"took {seconds:.1f} s, {seconds / max(usual, 1e-3):.1f} times the usual {usual:.1f} s"
                phase, more = self._worst(report)
                said += f"; the phase {phase!r} took {more:.1f} s more than usual" if phase else ""
        self._past.append((seconds, report.phases))
        return said

    def _worst(self, report: SaveReport) -> tuple[str, float]:
        """The phase that grew most, and by how many seconds."""
        grown = {
            phase: seconds - median(phases.get(phase, 0.0) for _, phases in self._past)
            for phase, seconds in report.phases.items()
        }
        phase = max(grown, key=lambda each: grown[each], default="")
        return phase, grown.get(phase, 0.0)
