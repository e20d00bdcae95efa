"""The saves of a manager, from the decision to save to what is told of it; in the call or in the background."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypedDict

import msgpack

from pyckpt import facade
from pyckpt.engine.background import SaveHandle
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.external import Where
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import RankError, StoreError
from pyckpt.manager.decide import check_same_step
from pyckpt.manager.events import SaveEvent
from pyckpt.manager.flight import Flight, Patience, UnderWay
from pyckpt.manager.log import ALREADY, FULL, call, log_retention, log_save
from pyckpt.manager.names import NamePattern
from pyckpt.manager.pace import Pace
from pyckpt.manager.reference import Reference
from pyckpt.manager.retention import Keeping
from pyckpt.manager.room import tight
from pyckpt.storage.base import Store
from pyckpt.storage.url import Place, checkpoint_url

__all__ = ["Assets", "Saver", "Wish"]

_log = logging.getLogger("pyckpt")

Assets = Mapping[str, Mapping[str, facade.Url | bytes]]
"""Item -> name of the file -> where it is, or its content."""

TIGHT = 4
"""A slow save says what is free if that is less than this many saves: a file system that is nearly full gets slow."""
FLIGHT_MARGIN = 60.0
"""Seconds that garbage collection leaves beside the age of the oldest save in flight."""


class _Particulars(TypedDict):
    metadata: Mapping[str, object]
    assets: Assets
    options: SaveOptions


@dataclass(frozen=True, slots=True)
class Wish:
    """What one save is asked to be."""

    step: int
    state: Mapping[str, object]
    metrics: Mapping[str, float]
    pin: bool = False
    last: bool = False
    """The run leaves after it: it is done in the call, and nothing is begun after it."""
    asked: bool = False
    """Somebody asked for this very save, so that it waits for room whatever ``when_full`` says."""


class Saver:
    """Saves of one manager. ``conversation`` gives the one with the other ranks."""

    def __init__(
        self,
        store: Store,
        pattern: NamePattern,
        conversation: Callable[[], Coordinator],
        retention: Keeping,
        *,
        options: SaveOptions,
        background: bool,
        patience: Patience,
        pace: Pace,
        replace_existing: bool,
        metadata: Mapping[str, object],
        assets: Assets | Callable[[int], Assets],
        on_save: Callable[[SaveEvent], object] | None,
    ) -> None:
        self._store = store
        self._pattern = pattern
        self._conversation = conversation
        self._retention = retention
        self._options = options
        self._background = background
        self._patience = patience
        self._pace = pace
        self._replace = replace_existing
        self._metadata = dict(metadata)
        self._assets = assets
        self._on_save = on_save
        self._under_way = UnderWay(self._follow)
        self._lock = Lock()
        self._leaving = False
        self._rank = 0
        self._written = 0
        self._latest: Flight | None = None
        self.parent = options.parent
        """Digest of what was restored."""
        self.reference = Reference(options.reference)
        self.current: str | None = None
        """Name that this run saved or restored last."""

    def save(self, wish: Wish) -> SaveHandle | None:
        """Saves in the call, or begins to; None if it is skipped.

        Raises the errors of this save and of those before, once more failed in a row than is tolerated.
        """
        name = self._pattern.name_of(wish.step)
        self._rank = self._conversation().rank
        skipped, error, fatal = self._admit(wish, name)
        if skipped:
            event = SaveEvent(wish.step, name, None, rank=self._rank, skipped=skipped, metrics=wish.metrics)
            if self._rank == 0:
                log_save(event)
            call("on_save", self._on_save, event)
            return None
        if self._rank == 0 and (short := tight(self._store, self._written)):
            _log.warning("step %d may not fit: %s, and the last save took %d", wish.step, short, self._written)
        place = Place(self._store, name)
        url = checkpoint_url(self._store.url, name)
        if self._rank == 0:
            self._distrust_damaged()
        reference = self.reference.current
        if error is None:
            try:
                with self._under_way.launching() as began:
                    if self._background and not wish.last:
                        handle = self._begin(wish, place, reference)
                        self.current = name
                        self._under_way.begin(Flight(wish.step, name, wish.metrics, handle, reference, began))
                        return handle
                    handle = self._complete(wish, place, reference)
                    self.current = name
            except Exception as raised:  # noqa: BLE001 - it is counted, and raised if it is one too many
                handle = _failed(url, raised)
        else:
            handle = _failed(url, error)
        flight = Flight(wish.step, name, wish.metrics, handle, reference)
        self._follow(flight)
        if wish.last:
            # It makes good what failed before; if it does not, it raises its own error.
            self._patience.forget()
        self._tell(flight.followed.result())
        if error is not None and fatal:
            self._patience.forget()
            raise error
        if error is None and not (wish.last and self._patience.tolerated):
            self._patience.raise_due()
        return handle

    def hear(self, *, hasty: bool = False) -> None:
        """Tells the caller of what has ended since the last time."""
        for event in self._under_way.take(hasty=hasty):
            self._tell(event)

    def finish(self) -> None:
        """Waits until nothing is under way, and tells of it."""
        self._under_way.wait()
        self.hear()

    def leave(self) -> None:
        """Waits for the saves that were begun, but not for what follows a commit; from now on nothing does."""
        self._leaving = True
        self._under_way.wait(hasty=True)
        self.hear(hasty=True)

    def settle(self) -> None:
        """Waits until nothing is under way on any rank. Raises like ``raise_due``, on all ranks."""
        self.finish()
        if self._background:
            with self.raised_by_all():
                round_trip(self._conversation(), "settle", lambda: b"", self._verdict)

    def raise_due(self) -> None:
        """Raises the error of a save that has failed, if more did in a row than is tolerated."""
        self._patience.raise_due()

    @contextmanager
    def raised_by_all(self) -> Iterator[None]:
        """Around a round in which rank 0 raises what is due: after that no other rank raises its own as well."""
        try:
            yield
        except Exception:
            if self._rank != 0:
                # Rank 0 may have heard of a failure a moment before this rank does.
                self._under_way.wait_for_ends()
                self.hear(hasty=True)
                self._patience.forget()
            raise

    def _verdict(self, _: Sequence[bytes]) -> bytes:
        self._patience.raise_due()
        return b""

    def _admit(self, wish: Wish, name: str) -> tuple[str, StoreError | None, bool]:
        """What rank 0 says: why there is no room for this name, or the error that it met, and whether that is too much.

        Raises on all ranks what is due.
        """

        def decide(told: Sequence[bytes]) -> bytes:
            check_same_step([msgpack.unpackb(each) for each in told])
            if not wish.last:
                self._patience.raise_due()
            skipped, error, fatal = "", ("", "", ""), False
            try:
                skipped = ALREADY if name == self.current else self._retention.admit(name, replace=self._replace)
            except StoreError as met:
                error = met.code, met.message, met.key
                fatal = not (self._patience.tolerated if wish.last else self._patience.left())
            packed: bytes = msgpack.packb([skipped, error, fatal])
            return packed

        with self.raised_by_all():
            answer = round_trip(self._conversation(), "admit", lambda: msgpack.packb(wish.step), decide)
        skipped, (code, message, key), fatal = msgpack.unpackb(answer)
        return skipped, StoreError(code, message, key=key) if code else None, fatal

    def _begin(self, wish: Wish, place: Place, reference: Where | None) -> SaveHandle:
        handle = facade.save_async(place, wish.state, **self._particulars(wish, reference))
        # Its error is this manager's to raise, and not that of the next save.
        handle.seen()
        return handle

    def _complete(self, wish: Wish, place: Place, reference: Where | None) -> SaveHandle:
        handle = SaveHandle(checkpoint_url(place.store.url, place.name))
        report = facade.save(place, wish.state, **self._particulars(wish, reference))
        handle.release()
        handle.end(report, None)
        return handle

    def _particulars(self, wish: Wish, reference: Where | None) -> _Particulars:
        """What a save is given beside the state."""
        pinned = {"pinned": True} if wish.pin else {}
        after = self._retention.after_sequence() if self._rank == 0 else 0
        return {
            "metadata": {**self._metadata, "step": wish.step, "metrics": wish.metrics, **pinned},
            "assets": self._assets(wish.step) if callable(self._assets) else self._assets,
            "options": replace(
                self._options,
                parent=self.parent,
                after_sequence=after,
                reference=reference,
                when_full="wait" if wish.asked else self._options.when_full,
            ),
        }

    def _follow(self, flight: Flight) -> None:
        """What comes after the end of a save; in the thread that follows it, or at once."""
        rank = self._rank
        event = SaveEvent(flight.step, flight.name, None, rank=rank, metrics=flight.metrics)
        error = flight.handle.committed.exception()
        if flight.handle.skipped:
            event = replace(event, skipped=FULL)
        elif error is not None:
            event = replace(event, error=error)
        else:
            report = flight.handle.committed.result()
            self.reference.committed(flight.reference)
            with self._lock:
                self._written = report.written
                self._latest = flight
                slow = self._pace.judge(report)
            short = tight(self._store, TIGHT * report.written) if slow else ""
            event = replace(event, report=report, slow=f"{slow}; {short}" if short else slow)
        # What only says that another rank failed is said by rank 0 for all.
        if rank == 0 or not (event.error is None or isinstance(error, RankError)):
            log_save(event)
        flight.ended.set_result(event)
        if rank == 0 and error is None and not self._leaving:
            kept = self._retention.after_save(
                flight.name, youngest=self._youngest_garbage, superseded=lambda: self._latest is not flight
            )
            self._distrust_damaged()
            log_retention(event, kept)
            event = replace(event, retention=kept)
        flight.followed.set_result(event)

    def _distrust_damaged(self) -> None:
        """What was found damaged since it was committed is referred to no more."""
        latest = self._latest
        if latest is not None and self._retention.is_damaged(latest.name, latest.handle.committed.result().digest):
            self.reference.distrust()

    def _youngest_garbage(self) -> float:
        """Age in seconds below which nothing may be collected, because of saves in flight."""
        oldest = self._under_way.oldest()
        return (oldest or 0.0) + FLIGHT_MARGIN if self._background or oldest is not None else 0.0

    def _tell(self, event: SaveEvent) -> None:
        if not event.skipped:
            self._patience.count(event.error)
        if event.report is None and self.current == event.name:
            self.current = None
        call("on_save", self._on_save, event)


def _failed(url: str, error: BaseException) -> SaveHandle:
    handle = SaveHandle(url)
    handle.end(None, error)
    return handle
