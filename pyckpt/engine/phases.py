"""Seconds by phase, for reports."""

from __future__ import annotations

import time

__all__ = ["Phases"]


class Phases:
    """A clock that is told which phase has just ended; one that comes again adds up."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        """What was done since the last call was this phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def total(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._begin
