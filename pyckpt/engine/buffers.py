"""Page-aligned staging buffers that live on: the first touch of fresh pages costs more than the copy into them."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from pyckpt.engine.leaves import Staging

__all__ = ["BufferPool", "CountedStaging", "copy_bytes", "fresh_pages", "staging"]

MIN_BUFFER = 1 << 20
"""Sizes are rounded up to powers of two from here on, so that buffers are found again."""
GIL_COPY = 32 << 10
"""Up to this many bytes a copy that holds the interpreter's lock is cheaper than setting up one that doesn't."""


def fresh_pages(size: int) -> memoryview:
    """Memory of the system, in whole pages."""
    return memoryview(mmap.mmap(-1, size))


class BufferPool:
    """Buffers reused by all threads, by size; at most ``keep`` stay allocated while nobody uses them."""

    def __init__(self, keep: int = 16, allocate: Callable[[int], memoryview] = fresh_pages) -> None:
        self._allocate = allocate
        self._lock = threading.Lock()
        self._free: dict[int, list[memoryview]] = {}
        self._keep = keep

    @contextmanager
    def buffer(self, size: int) -> Iterator[memoryview]:
        """Lends a buffer of at least ``size`` bytes, aligned to a page, format ``B``; its content is arbitrary."""
        size = max(MIN_BUFFER, 1 << (size - 1).bit_length())
        with self._lock:
            stock = self._free.setdefault(size, [])
            view = stock.pop() if stock else None
        if view is None:
            view = self._allocate(size)
        try:
            yield view
        finally:
            with self._lock:
                if sum(map(len, self._free.values())) < self._keep:
                    stock.append(view)

    def forget(self) -> None:
        """For a process that was forked: the pages are shared with its parent, which goes on using them."""
        self._lock = threading.Lock()
        self._free = {}

    def clear(self) -> None:
        """Gives all idle buffers back to the system."""
        with self._lock:
            self._free.clear()


staging = BufferPool()
"""Buffers of this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=staging.forget)


class CountedStaging:
    """Lends the buffers of a pool and knows how many bytes were lent at once."""

    def __init__(self, pool: Staging) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._lent = 0
        self.peak = 0
        """Most bytes lent at one time."""

    @contextmanager
    def buffer(self, size: int) -> Iterator[memoryview]:
        """A buffer of the pool, counted in full while it is lent."""
        with self._pool.buffer(size) as view:
            with self._lock:
                self._lent += len(view)
                self.peak = max(self.peak, self._lent)
            try:
                yield view
            finally:
                with self._lock:
                    self._lent -= len(view)


def copy_bytes(target: memoryview, source: memoryview) -> None:
    """Copies equally long bytes; large copies run beside other threads."""
    if len(source) <= GIL_COPY:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))
