"""The hardware's limits for the same bytes: raw writes and reads, copies in memory, digests. Nothing is faster here."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.harness.arms.base import Arm, Unavailable, Ways
from benchmarks.harness.state import State

__all__ = ["Digest", "Memcpy", "Pieces", "RawFile"]

PIECE = 8 << 20
"""Bytes of one call."""
WRITE_NOW = 2
"""SYNC_FILE_RANGE_WRITE."""


class Pieces(Arm):
    """Work in pieces, by threads."""

    kind = "limit"
    piece = PIECE

    def open(self, state: State, target: State) -> None:
        """Starts the threads."""
        super().open(state, target)
        self.pool = ThreadPoolExecutor(self.options["threads"])

    def each(self, work: Callable[[int, int], object], size: int) -> None:
        """Calls ``work(start, stop)`` for all pieces, in threads."""
        list(self.pool.map(lambda at: work(at, min(at + self.piece, size)), range(0, size, self.piece)))

    def close(self) -> None:
        """Ends the threads."""
        self.pool.shutdown()


class RawFile(Pieces):
    """One file for each rank, its bytes as they lie in memory; modes ``direct``, ``buffered``, ``writeback``."""

    durable = True

    def open(self, state: State, target: State) -> None:
        """Direct reads are never warm."""
        super().open(state, target)
        self.warm = self.options["mode"] == "buffered"

    def ways(self, step: str) -> Ways:
        """Early write-back is a way to write alone."""
        without = {"writeback": ("load", "part"), "direct": ("part",)}
        return {} if step in without.get(self.options["mode"], ()) else super().ways(step)

    def save(self, path: str) -> None:
        """Writes in parallel, then syncs."""
        os.makedirs(path, exist_ok=True)
        memory, mode = self.state.memory, self.options["mode"]
        libc = ctypes.CDLL(None, use_errno=True)
        name = f"{path}/{self.state.rank}"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | self._flags(path), 0o644)
        try:
            if self._flags(path):
                os.posix_fallocate(descriptor, 0, len(memory))

            def write(start: int, stop: int) -> None:
                if os.pwrite(descriptor, memory[start:stop], start) != stop - start:
                    raise OSError(f"{name}: a short write")
                if mode == "writeback":
                    begin, count = ctypes.c_int64(start), ctypes.c_int64(stop - start)
                    libc.sync_file_range(descriptor, begin, count, ctypes.c_uint(WRITE_NOW))

            self.each(write, len(memory))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def part(self, path: str) -> None:
        """Reads the bytes of the tensor."""
        part = next(each for each in self.target.parts if each.name == self.wanted)
        memory = self.target.memory[part.at : part.at + part.nbytes]
        descriptor = os.open(f"{path}/{self.target.rank}", os.O_RDONLY)
        try:
            self.each(lambda start, stop: os.preadv(descriptor, [memory[start:stop]], part.at + start), part.nbytes)
        finally:
            os.close(descriptor)

    def load(self, path: str) -> None:
        """Reads as many bytes as the target has, in parallel, into its memory; in another layout not the same ones."""
        memory = self.target.memory
        own = f"{path}/{self.target.rank}"
        if len(os.listdir(path)) == self.target.ranks and os.path.getsize(own) == len(memory):
            sources = [(own, 0)]
        else:
            sources = list(self._share(path, len(memory)))
        at = 0
        for name, begin in sources:
            descriptor = os.open(name, os.O_RDONLY | self._flags(path))
            try:
                size = min(os.fstat(descriptor).st_size - begin, len(memory) - at)

                def read(start: int, stop: int, fd: int = descriptor, shift: int = at, first: int = begin) -> None:
                    os.preadv(fd, [memory[shift + start : shift + stop]], first + start)

                self.each(read, size)
                at += size
            finally:
                os.close(descriptor)

    def _share(self, path: str, size: int) -> Iterator[tuple[str, int]]:
        """Files and first bytes of this rank's part of all that was written, one after the other."""
        skip = self.target.rank * size
        for number in sorted(map(int, os.listdir(path))):
            length = os.path.getsize(f"{path}/{number}")
            if skip < length:
                yield f"{path}/{number}", skip // 4096 * 4096
            skip = max(0, skip - length)

    def _flags(self, path: str) -> int:
        from benchmarks.harness.cold import in_memory

        if self.options["mode"] != "direct":
            return 0
        if in_memory(path):
            raise Unavailable("a file system in memory has no direct IO")
        return os.O_DIRECT


class Memcpy(Pieces):
    """A copy of the state within memory, into pages that are resident or fresh from the system."""

    def ways(self, step: str) -> Ways:
        """One way to work."""
        return {"": self._copy} if step == "work" else {}

    def _copy(self, path: str) -> None:
        del path
        source = self.state.memory
        size = len(source)
        fresh = mmap.mmap(-1, size) if self.options["pages"] == "fresh" else None
        target = memoryview(fresh) if fresh is not None else self.target.memory
        into, out_of = _address(target), _address(source)
        self.each(lambda start, stop: _memmove(into + start, out_of + start, stop - start), size)
        if fresh is not None:
            target.release()
            fresh.close()


class Digest(Pieces):
    """One digest of each piece of the state."""

    def open(self, state: State, target: State) -> None:
        """Looks the function up."""
        super().open(state, target)
        self.function = _digests()[self.options["digest"]]

    def ways(self, step: str) -> Ways:
        """One way to work."""
        return {"": self._digest} if step == "work" else {}

    def _digest(self, path: str) -> None:
        del path
        memory, function = self.state.memory, self.function
        self.each(lambda start, stop: function(memory[start:stop]) and None, len(memory))


def _digests() -> Mapping[str, Callable[[Any], Any]]:
    from blake3 import blake3

    known: dict[str, Callable[[Any], Any]] = {
        "blake3": lambda view: blake3(view).digest(),
        "sha256": lambda view: hashlib.sha256(view).digest(),
    }
    try:
        import xxhash

        known["xxh3-128"] = lambda view: xxhash.xxh3_128_digest(view)
    except ImportError:
        known["xxh3-128"] = _absent
    return known


def _absent(view: object) -> None:
    del view
    raise Unavailable("xxhash is not installed")


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def _memmove(into: int, out_of: int, count: int) -> None:
    ctypes.memmove(into, out_of, count)
