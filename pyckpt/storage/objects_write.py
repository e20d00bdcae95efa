"""Writing one object: in one request if it is small, else in parts, several of them on their way at once.

Bytes are copied once, into the memory of a part: the caller's may change as soon as a write returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.objects_errors import translated
from pyckpt.storage.objects_loop import give_up, io_loop, submit, wait
from pyckpt.storage.objects_read import copy_bytes
from pyckpt.storage.objects_services import Service
from pyckpt.storage.vectors import byte_views

__all__ = ["PartMemory", "PartWriter", "Upload", "part_size"]

Memory: TypeAlias = npt.NDArray[np.uint8]
Upload: TypeAlias = Callable[["Memory | AsyncIterator[Memory]", int], Coroutine[Any, Any, None]]
"""Stores the object: from memory in one request, or from parts of the given size."""

_PARTS: Final = 9000
"""Uploads take 10,000 parts; some room is left."""
_UNKNOWN_PART: Final = 64 << 20
_POLL: Final = 0.1
_ABORT_SECONDS: Final = 10.0


def part_size(size: int | None, least: int) -> int:
    """Give the bytes of a part for an object of a size, if that is known, so that there are not too many."""
    return max(least, _UNKNOWN_PART) if size is None else max(least, -(-size // _PARTS))


class PartMemory:
    """Memory for parts: bounded while they are on their way, and used again."""

    def __init__(self, part_bytes: int, in_flight: int) -> None:
        self._bytes = part_bytes
        self._permits = threading.Semaphore(in_flight)
        self._free: deque[Memory] = deque(maxlen=in_flight)

    def lend(self, size: int) -> Memory:
        """Give memory of so many bytes, with anything in it."""
        if size == self._bytes:
            with contextlib.suppress(IndexError):
                return self._free.pop()
        return np.empty(size, np.uint8)

    def send(self, memory: Memory, filled: int, failed: Callable[[], bool]) -> Memory | None:
        """Give the filled bytes as what may go on its way, once there is room for it; None if the upload has failed.

        When the last reference to what is given has gone, the memory is free again.
        """
        while not self._permits.acquire(timeout=_POLL):
            if failed():
                return None
        part = memory[:filled]
        weakref.finalize(part, self._back, memory).atexit = False
        return part

    def _back(self, memory: Memory) -> None:
        if len(memory) == self._bytes:
            self._free.append(memory)
        self._permits.release()


class _Abandoned(Exception):
    """Ends an upload that is not wanted any more; the engine then drops its parts on the server."""


class _Parts:
    """The parts of an object as the engine takes them; keeps no reference to what it has handed out."""

    def __init__(self) -> None:
        self._loop = io_loop()
        self._queue: asyncio.Queue[Memory | _Abandoned | None] = asyncio.Queue()

    def put(self, part: Memory | None) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, part)

    def abandon(self) -> None:
        """End the upload before what is still waiting."""
        self._loop.call_soon_threadsafe(self.drop)
        self._loop.call_soon_threadsafe(self._queue.put_nowait, _Abandoned())

    def drop(self) -> None:
        """Forget what nobody will take; in the loop's thread."""
        while not self._queue.empty():
            self._queue.get_nowait()

    def __aiter__(self) -> _Parts:
        return self

    async def __anext__(self) -> Memory:
        part = await self._queue.get()
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, _Abandoned):
            raise part
        return part


class PartWriter:
    """A new object, written in ascending order; there when ``close`` has returned, and not before."""

    alignment = 1

    def __init__(
        self, service: Service, upload: Upload, key: str, size: int | None, memory: PartMemory, least: int
    ) -> None:
        self._service = service
        self._upload = upload
        self._key = key
        self._size = size
        self._memory = memory
        self._part = part_size(size, least)
        self._buffer: Memory | None = None
        self._filled = 0
        self._position = 0
        self._open = True
        self._parts: _Parts | None = None
        self._under_way: Future[None] | None = None

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Append the views. UsageError unless ``offset`` is where the last write ended; StoreError."""
        if not self._open:
            raise UsageError("usage.invalid", "this writer is closed", key=self._key)
        if offset != self._position:
            raise UsageError(
                "usage.invalid",
                f"this store is written in order: expected offset {self._position}, found {offset}",
                key=self._key,
            )
        for view in byte_views(views):
            self._append(view)

    def _append(self, view: memoryview) -> None:
        while len(view):
            buffer = self._room()
            take = min(len(view), len(buffer) - self._filled)
            copy_bytes(buffer[self._filled : self._filled + take].data, view[:take])
            self._filled += take
            self._position += take
            view = view[take:]
            # Whole parts only: the engine keeps a shorter one until the upload ends, and others may wait for its place.
            if self._filled == self._part:
                self._send()

    def _room(self) -> Memory:
        """Give the memory of the part that is being filled, with room in it."""
        if self._buffer is None:
            rest = self._part if self._size is None else self._size - self._position
            self._buffer = self._memory.lend(min(self._part, max(1, rest)))
        elif self._filled == len(self._buffer):
            # More than was announced.
            longer = self._memory.lend(self._part)
            longer[: self._filled] = self._buffer
            self._buffer = longer
        return self._buffer

    def _send(self) -> None:
        """Put the bytes that are collected on their way."""
        if self._under_way is None or self._parts is None:
            self._begin()
        assert self._parts is not None
        assert self._under_way is not None
        assert self._buffer is not None
        part = self._memory.send(self._buffer, self._filled, self._under_way.done)
        self._buffer, self._filled = None, 0
        if part is not None:
            self._parts.put(part)
        if self._under_way.done():
            with self._translated(f"writing the object up to byte {self._position}"):
                self._under_way.result()
                raise StoreError("store.io", "the upload ended before the object did", key=self._key)

    def _begin(self) -> None:
        parts = _Parts()

        async def run() -> None:
            try:
                await self._upload(parts, self._part)
            finally:
                parts.drop()

        self._parts = parts
        self._under_way = submit(run)

    def close(self, size: int) -> None:
        """Complete the object. StoreError, and then there is none."""
        if not self._open:
            raise UsageError("usage.invalid", "this writer is closed", key=self._key)
        try:
            self._complete(size)
        except BaseException:
            self.abort()
            raise
        self._open = False

    def _complete(self, size: int) -> None:
        if size != self._position:
            raise StoreError("store.io", f"expected {size} bytes, but {self._position} were written", key=self._key)
        if self._under_way is None or self._parts is None:
            whole = np.empty(0, np.uint8) if self._buffer is None else self._buffer[: self._filled]
            self._buffer = None
            with self._translated(f"writing {len(whole)} bytes"):
                wait(lambda: self._upload(whole, len(whole)))
            return
        if self._filled:
            self._send()
        self._parts.put(None)
        with self._translated("completing the upload"):
            self._under_way.result()

    def _translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return translated(self._service, self._key, doing, writing=True)

    def abort(self) -> None:
        """Drop the upload as far as the server can; what it keeps nevertheless is no object."""
        if not self._open:
            return
        self._open = False
        self._buffer = None
        if self._parts is None or self._under_way is None:
            return
        self._parts.abandon()
        # Exceptions of the upload itself included: it was given up.
        with contextlib.suppress(BaseException):
            self._under_way.result(_ABORT_SECONDS)
        give_up(self._under_way)
