"""Saves of a manager that are under way: each is followed to its end by a thread of its own.

The thread that trains never waits for a commit. It learns of the end at its next call, and only then are the caller's
callbacks called, in that thread; whatever has to be done to the store after a commit has been done by then.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

from pyckpt.engine.background import SaveHandle, step_back
from pyckpt.engine.external import Where
from pyckpt.manager import tier_feed  # noqa: F401 - its hook for the interpreter's end has to be set before ours
from pyckpt.manager.events import SaveEvent

__all__ = ["Flight", "Patience", "UnderWay"]


@dataclass(frozen=True, slots=True)
class Flight:
    """One save that was begun."""

    step: int
    name: str
    metrics: Mapping[str, float]
    handle: SaveHandle
    reference: Where | None = None
    """What it was told to refer to."""
    began: float = field(default_factory=time.monotonic)
    """Before anything was written for it."""
    ended: Future[SaveEvent] = field(default_factory=Future)
    """Done as soon as the save has ended; the event says nothing of retention."""
    followed: Future[SaveEvent] = field(default_factory=Future)
    """Done when that which follows a commit is over as well."""


class UnderWay:
    """The saves of which the caller has not been told yet. All but ``follow`` runs in the thread that trains."""

    def __init__(self, follow: Callable[[Flight], None]) -> None:
        self._follow = follow
        self._flights: list[Flight] = []
        self._launching: float | None = None

    @contextmanager
    def launching(self) -> Iterator[float]:
        """Around a call that begins a save, and ``begin``: what it writes counts as in flight from the first byte.

        Gives the time for the flight.
        """
        self._launching = began = time.monotonic()
        try:
            yield began
        finally:
            self._launching = None

    def begin(self, flight: Flight) -> None:
        """Follows a save to its end, and through what comes after."""
        self._flights.append(flight)
        _open.add(self)
        threading.Thread(target=self._run, args=(flight,), name="pyckpt-manager", daemon=True).start()

    def going_on(self) -> int:
        """Saves that have not ended."""
        return sum(not flight.handle.done() for flight in self._flights)

    def oldest(self) -> float | None:
        """Seconds since the first of those began that have not ended. May be asked from any thread."""
        began = [flight.began for flight in tuple(self._flights) if not flight.handle.done()]
        if self._launching is not None:
            began.append(self._launching)
        return time.monotonic() - min(began) if began else None

    def take(self, *, hasty: bool = False) -> list[SaveEvent]:
        """What is over and was not told before; ``hasty`` doesn't ask that what follows a commit is over as well.

        Raises an error in what follows, which would be a mistake in this library.
        """
        told, rest = [], []
        for flight in self._flights:
            outcome = flight.ended if hasty and not flight.followed.done() else flight.followed
            if outcome.done():
                told.append(outcome)
            else:
                rest.append(flight)
        self._flights = rest
        return [outcome.result() for outcome in told]

    def wait(self, *, hasty: bool = False) -> None:
        """Waits until all are over; ``hasty`` as in ``take``."""
        flights = tuple(self._flights)
        self.wait_for_ends()
        if hasty:
            _open.discard(self)
        else:
            wait([flight.followed for flight in flights])

    def wait_for_ends(self) -> None:
        """Waits until all saves have ended, whatever follows them."""
        wait([flight.ended for flight in tuple(self._flights)])

    def forget(self) -> None:
        """For a process that was forked: nobody follows anything here."""
        self._flights = []

    def _run(self, flight: Flight) -> None:
        step_back()
        wait([flight.handle.committed])
        try:
            self._follow(flight)
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody can act on it
            for outcome in (flight.ended, flight.followed):
                if not outcome.done():
                    outcome.set_exception(error)


class Patience:
    """How many saves may fail in a row before the training hears of it."""

    def __init__(self, tolerated: int) -> None:
        self.tolerated = tolerated
        self._failed = 0
        self._due: BaseException | None = None

    def left(self) -> int:
        """How many more may fail."""
        return self.tolerated - self._failed

    def count(self, error: BaseException | None) -> None:
        """One more save has ended: with an error, or well, which forgives those before that were not too many."""
        self._failed = 0 if error is None else self._failed + 1
        if self._failed > self.tolerated:
            self._due = error

    def forget(self) -> None:
        """Begins to count anew: what failed is raised already, or made good."""
        self._failed, self._due = 0, None

    def raise_due(self) -> None:
        """Raises the last error if there were too many in a row, and begins to count anew."""
        error = self._due
        if error is not None:
            self.forget()
            raise error


_open: WeakSet[UnderWay] = WeakSet()
"""What a process has to wait for when it ends."""


def _finish() -> None:
    for each in tuple(_open):
        each.wait()


def _forget() -> None:
    for each in tuple(_open):
        each.forget()
    _open.clear()


# After the hook of ``engine.background``, and so before it: verification needs pools of threads.
threading._register_atexit(_finish)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    # In a process that was forked the saves of its parent go on without it.
    os.register_at_fork(after_in_child=_forget)
