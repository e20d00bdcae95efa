"""Host memory for whole states: taken once, lent to one save after the other.

The first touch of fresh pages costs several times the copy into them, so memory that a save gave back is kept for the
next one, which hardly ever wants another amount.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyckpt.engine.buffers import fresh_pages

__all__ = ["ALIGNMENT", "Allocate", "Loan", "StagingMemory", "staging_memory"]

Allocate = Callable[[int], memoryview]
"""Gives so many bytes of host memory, format ``B``, aligned to a page."""

SEGMENT_BYTES = 64 << 20
"""Memory comes in segments of up to this size; only what is larger than that has a larger one of its own."""
ALIGNMENT = 64
"""Of each piece, in bytes."""


class Loan:
    """Memory for one save, until it is given back."""

    def __init__(
        self, places: Sequence[memoryview | None], segments: Sequence[memoryview], owner: StagingMemory
    ) -> None:
        self.places = places
        """For each size that was asked for: its memory, or None where the budget was spent."""
        self._segments = list(segments)
        self._owner = owner

    def close(self) -> None:
        """Gives the memory back; nothing may use it any more. Again does nothing."""
        self.places = ()
        segments, self._segments = self._segments, []
        self._owner.take_back(segments)


class StagingMemory:
    """Segments of this process, lent and idle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[int, list[memoryview]] = {}
        self._lent = 0

    def lend(self, sizes: Sequence[int], *, budget: int | None = None, allocate: Allocate = fresh_pages) -> Loan:
        """Memory for pieces of these sizes, each contiguous and aligned to 64 bytes; its content is arbitrary.

        All that is lent and kept at one time stays within ``budget``; pieces that do not fit any more get none.
        """
        with self._lock:
            packed = _pack(sizes, None if budget is None else budget - self._lent)
            found = [self._idle[size].pop() if self._idle.get(size) else None for size in packed.sizes]
            if None in found or (budget is not None and self._kept() + sum(packed.sizes) + self._lent > budget):
                # What fits nothing now is rather given back than kept beside new memory.
                self._idle.clear()
            self._lent += sum(packed.sizes)
        segments: list[memoryview] = []
        try:
            for known, size in zip(found, packed.sizes, strict=True):
                segments.append(allocate(size) if known is None else known)
        except BaseException:
            with self._lock:
                self._lent -= sum(packed.sizes)
            raise
        places = [
            None if at is None else segments[at[0]][at[1] : at[1] + size]
            for at, size in zip(packed.at, sizes, strict=True)
        ]
        return Loan(places, segments, self)

    def take_back(self, segments: Sequence[memoryview]) -> None:
        """Keeps the segments for the next loan."""
        with self._lock:
            for segment in segments:
                self._lent -= len(segment)
                self._idle.setdefault(len(segment), []).append(segment)

    def forget(self) -> None:
        """For a process that was forked: the pages are shared with its parent, which goes on using them."""
        self._lock = threading.Lock()
        self._idle = {}
        self._lent = 0

    @property
    def idle_bytes(self) -> int:
        """Bytes that are kept and not lent."""
        with self._lock:
            return self._kept()

    def _kept(self) -> int:
        return sum(size * len(stock) for size, stock in self._idle.items())


staging_memory = StagingMemory()
"""Of this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=staging_memory.forget)


@dataclass(frozen=True, slots=True)
class _Packed:
    sizes: list[int]
    """Of the segments."""
    at: list[tuple[int, int] | None]
    """Segment and offset of each piece."""


def _pack(sizes: Sequence[int], room: int | None) -> _Packed:
    """Puts pieces into segments, in order, within ``room`` bytes."""
    segments: list[int] = []
    at: list[tuple[int, int] | None] = []
    used = 0  # of the last segment; it grows with what comes into it
    spent = 0  # of all segments before the last
    for size in sizes:
        need = -(-size // ALIGNMENT) * ALIGNMENT
        joins = bool(segments) and used + need <= SEGMENT_BYTES
        before = spent if joins else spent + (_pages(used) if segments else 0)
        begin = used if joins else 0
        if room is not None and before + _pages(begin + need) > room:
            at.append(None)
            continue
        if not joins:
            segments.append(0)
        spent, used = before, begin + need
        at.append((len(segments) - 1, begin))
        segments[-1] = _pages(used)
    return _Packed(segments, at)


def _pages(size: int) -> int:
    return max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE
