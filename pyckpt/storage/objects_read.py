"""Reading one object by several ranges at once, each copied once to where it is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np

from pyckpt.storage.base import Bytes, ObjectShort, range_bytes
from pyckpt.storage.objects_errors import translated
from pyckpt.storage.objects_loop import give_up, submit
from pyckpt.storage.objects_services import Service
from pyckpt.storage.vectors import byte_views

__all__ = ["RangeReader", "copy_bytes"]

Fetch: TypeAlias = Callable[[int, int], Coroutine[Any, Any, memoryview]]
"""Bytes [start, stop) of the object."""


class RangeReader:
    """An object of known size; thread-safe, as each read is requests of its own."""

    def __init__(self, service: Service, fetch: Fetch, key: str, size: int, *, piece: int, window: int) -> None:
        self._service = service
        self._fetch = fetch
        self._key = key
        self._piece = piece
        self._window = window
        self.size = size

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectShort, ObjectMissing, StoreError."""
        wanted = range_bytes(self._key, self.size, offset, views)
        # The engine refuses empty ranges.
        if not wanted:
            return
        under_way: deque[tuple[int, int, Future[memoryview]]] = deque()
        target = _Cursor(byte_views(views))
        try:
            for start, stop in self._pieces(offset, offset + wanted):
                if len(under_way) == self._window:
                    self._take(under_way.popleft(), target)
                under_way.append((start, stop, submit(lambda start=start, stop=stop: self._fetch(start, stop))))  # type: ignore[misc]
            while under_way:
                self._take(under_way.popleft(), target)
        finally:
            for _, _, future in under_way:
                give_up(future)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            stop = min(start + self._piece, end)
            yield start, stop
            start = stop

    def _take(self, request: tuple[int, int, Future[memoryview]], target: _Cursor) -> None:
        start, stop, future = request
        try:
            with translated(self._service, self._key, f"reading {stop - start} bytes at offset {start}"):
                data = future.result()
        except BaseException:
            give_up(future)
            raise
        if len(data) != stop - start:
            raise ObjectShort(self._key, start, stop - start, len(data))
        target.fill(data)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> RangeReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Cursor:
    """Where the next bytes go in a list of views."""

    def __init__(self, views: list[memoryview]) -> None:
        self._views = iter(views)
        self._room = memoryview(b"")

    def fill(self, data: memoryview) -> None:
        """Put bytes into the views, going on where the last call ended; there must be room."""
        while len(data):
            if not len(self._room):
                self._room = next(self._views)
            take = min(len(self._room), len(data))
            copy_bytes(self._room[:take], data[:take])
            self._room, data = self._room[take:], data[take:]


def copy_bytes(target: memoryview, source: Bytes) -> None:
    """Copy between flat views of bytes of one length, without keeping other threads waiting as a slice would."""
    if len(target) < 4096:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))
