"""What is to go wrong at which request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

__all__ = ["Fault", "FaultKind", "FaultPlan"]

FaultKind: TypeAlias = Literal[
    "fail", "drop_before", "drop_after", "kill_before", "kill_after", "stall", "cut", "short"
]
"""
``fail``: an error answer, nothing is done. ``drop_before``: the connection ends, nothing is done. ``drop_after``: it is
done, and the connection ends without an answer. ``kill_before``, ``kill_after``: the same, and the implementation is
killed. ``stall``: done and answered after a wait. ``cut``: the connection ends within the body of the answer.
``short``: half of the body, as if that were all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong: at the ``at``-th request, counted over those that match; from 1.

    ``method`` and ``operation`` match as they are, ``key`` as a shell pattern whose ``*`` takes in ``/``. ``status`` is
    that of a ``fail``, ``seconds`` the wait of a ``stall``. A ``persistent`` fault befalls all later matches as well.
    """

    kind: FaultKind
    at: int = 1
    method: str | None = None
    operation: str | None = None
    key: str | None = None
    status: int = 503
    seconds: float = 0.0
    persistent: bool = False

    def matches(self, method: str, operation: str, key: str) -> bool:
        """Tell whether a request counts for this fault."""
        return (
            self.method in (None, method)
            and self.operation in (None, operation)
            and (self.key is None or fnmatchcase(key, self.key))
        )


class FaultPlan:
    """Faults with the number of matching requests that each has seen."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)

    def next(self, method: str, operation: str, key: str) -> Fault | None:
        """Count a request; give the first fault that befalls it."""
        struck = None
        for index, fault in enumerate(self._faults):
            if not fault.matches(method, operation, key):
                continue
            self._seen[index] += 1
            due = self._seen[index] == fault.at or (fault.persistent and self._seen[index] > fault.at)
            if due and struck is None:
                struck = fault
        return struck
