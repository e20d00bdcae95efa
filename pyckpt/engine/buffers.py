"""Page-aligned staging buffers that live on: the first touch of fresh pages costs more than the copy into them."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["BufferPool", "copy_bytes", "staging"]

MIN_BUFFER = 1 << 20
"""Sizes are rounded up to powers of two from here on, so that buffers are found again."""
GIL_COPY = 32 << 10
"""Up to this many bytes a copy that holds the interpreter's lock is cheaper than setting up one that doesn't."""


class BufferPool:
    """Buffers reused by all threads, by size; at most ``keep`` stay allocated while nobody uses them."""

    def __init__(self, keep: int = 16) -> None:
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
            view = memoryview(mmap.mmap(-1, size))
        try:
            yield view
        finally:
            with self._lock:
                if sum(map(len, self._free.values())) < self._keep:
                    stock.append(view)

    def clear(self) -> None:
        """Gives all idle buffers back to the system."""
        with self._lock:
            self._free.clear()


staging = BufferPool()
"""Buffers of this process."""


def copy_bytes(target: memoryview, source: memoryview) -> None:
    """Copies equally long bytes; large copies run beside other threads."""
    if len(source) <= GIL_COPY:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))


