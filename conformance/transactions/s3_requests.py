"""The journal of the simulator: every request in the order of arrival, with what became of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .s3_faults import Fault, FaultPlan

__all__ = ["Journal", "Outcome", "Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request.

    ``status`` is that of the answer, None where none was sent. ``acted`` tells whether the store carried the request
    out, answered or not. ``size`` and ``sha256`` are of the body as decoded. ``stored`` is the SHA-256 of the object
    that was made, ``replaced`` tells whether one was there before, ``removed`` has the keys that were deleted.
    ``span`` has the bytes [a, b) of an object that were asked for and sent.
    """

    status: int | None = None
    acted: bool = False
    size: int = 0
    sha256: str = ""
    stored: str | None = None
    replaced: bool = False
    removed: tuple[str, ...] = ()
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.

    ``number`` counts arrivals from 1. ``begin`` and ``end`` come from one sequence: an ``end`` below another request's
    ``begin`` means that the other one arrived after this one's answer was ready. ``end`` is None while it is in hand.
    ``conditional`` tells of ``If-None-Match: *``.
    """

    number: int
    begin: int
    end: int | None
    method: str
    operation: str
    bucket: str
    key: str
    query: Mapping[str, str]
    conditional: bool
    range: str | None
    fault: Fault | None
    outcome: Outcome

    @property
    def succeeded(self) -> bool:
        """Tell whether the client was told of success."""
        return self.outcome.status is not None and 200 <= self.outcome.status < 300


class Journal:
    """Requests and the plan of faults, which count them alike."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plan = FaultPlan()
        self._sequence = 0
        self._requests: list[Request] = []

    def plan(self, faults: Iterable[Fault]) -> None:
        """Put these faults in place of the former ones; they count from here."""
        with self._lock:
            self._plan = FaultPlan(faults)

    def clear(self) -> None:
        """Forget requests and faults; numbers begin anew."""
        with self._lock:
            self._plan = FaultPlan()
            self._requests = []

    def begin(self, make: Request) -> Request:
        """Enter a request that has arrived; give it with its number, its place and its fault."""
        with self._lock:
            self._sequence += 1
            entered = replace(
                make,
                number=len(self._requests) + 1,
                begin=self._sequence,
                fault=self._plan.next(make.method, make.operation, make.key),
            )
            self._requests.append(entered)
            return entered

    def end(self, request: Request, outcome: Outcome) -> None:
        """Enter what became of a request, before its answer is sent."""
        with self._lock:
            self._sequence += 1
            index = request.number - 1
            if index < len(self._requests) and self._requests[index] is request:
                self._requests[index] = replace(request, end=self._sequence, outcome=outcome)

    def requests(self) -> tuple[Request, ...]:
        """Give all requests so far."""
        with self._lock:
            return tuple(self._requests)
