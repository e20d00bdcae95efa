"""The memory of one rank's tensors: a file in shared memory, so that all arms, in processes of their own, use it."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from benchmarks.harness.workloads import ITEM_BYTES, Layout, Workload

__all__ = ["Placed", "Segment", "place"]

ALIGNMENT = 64
"""Of each tensor, as torch's allocator aligns."""
PERIOD = 4_194_301
"""Elements after which the noise repeats: a prime, so that no row of a tensor equals the next."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One tensor's part on a rank, and where it lies in the rank's segment."""

    name: str
    dtype: str
    global_shape: tuple[int, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    at: int
    """First byte in the segment."""

    @property
    def nbytes(self) -> int:
        """Bytes of the part."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


def place(workload: Workload, layout: Layout, rank: int) -> list[Placed]:
    """The parts that a rank holds, packed one after the other."""
    placed, at = [], 0
    for tensor in workload.tensors:
        offsets, sizes = layout.region(tensor.shape, rank)
        part = Placed(tensor.name, tensor.dtype, tensor.shape, offsets, sizes, at)
        placed.append(part)
        at += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    return placed


class Segment:
    """Packed tensors in a file that several processes map; ``close`` removes it."""

    def __init__(self, path: str, parts: Sequence[Placed]) -> None:
        self.path, self.parts = path, tuple(parts)
        end = max((part.at + part.nbytes for part in parts), default=0)
        self.size = max(4096, -(-end // 4096) * 4096)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.size)
            self._map = mmap.mmap(descriptor, self.size)
        finally:
            os.close(descriptor)
        self._bytes = np.frombuffer(self._map, np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(part.nbytes for part in self.parts)

    def fill(self) -> None:
        """Gives every element its value, which depends on its tensor and its place in the global tensor alone."""
        for part in self.parts:
            self._view(part)[:] = expected(part)

    def zero(self) -> None:
        """Sets everything to zero."""
        self._bytes[:] = 0

    def wrong(self, parts: Iterable[Placed] | None = None) -> str | None:
        """Name of the first tensor (of ``parts``, or all) that is not as ``fill`` makes it; None: all are right."""
        for part in self.parts if parts is None else parts:
            if not np.array_equal(self._view(part), expected(part)):
                return part.name
        return None

    def differs(self, other: Segment) -> str | None:
        """Name of the first tensor whose bytes are not those of ``other``, a segment of the same parts."""
        for part in self.parts:
            if not np.array_equal(self._view(part), other._view(part)):
                return part.name
        return None

    def close(self) -> None:
        """Gives the memory back."""
        self._bytes = np.empty(0, np.uint8)
        self._map.close()
        os.unlink(self.path)

    def _view(self, part: Placed) -> np.ndarray:
        return self._bytes[part.at : part.at + part.nbytes]


def expected(part: Placed) -> np.ndarray:
    """The bytes of a part, in row-major order."""
    noise = _noise(part.dtype)
    start = zlib.crc32(part.name.encode()) % PERIOD
    run, rows = _runs(part)
    out = np.empty(part.nbytes // noise.itemsize, noise.dtype)
    at = 0
    for first in rows:
        at = _copy(noise, (start + first) % PERIOD, out, at, run)
    return out.view(np.uint8)


def _runs(part: Placed) -> tuple[int, Iterable[int]]:
    """Elements of one contiguous run of the part, and where each begins in the global tensor."""
    if 0 in part.shape:
        return 0, ()
    split = len(part.shape)
    while split > 0 and part.shape[split - 1] == part.global_shape[split - 1]:
        split -= 1
    strides = [prod(part.global_shape[at + 1 :]) for at in range(len(part.shape))]
    base = sum(offset * stride for offset, stride in zip(part.offsets, strides, strict=True))
    if split == 0:
        return prod(part.shape), (base,)
    firsts = np.array([base])
    for size, stride in zip(part.shape[: split - 1], strides[: split - 1], strict=True):
        firsts = (firsts[:, None] + np.arange(size) * stride).ravel()
    return prod(part.shape[split - 1 :]), firsts.tolist()


def _copy(noise: np.ndarray, begin: int, out: np.ndarray, at: int, count: int) -> int:
    while count > 0:
        take = min(count, PERIOD - begin)
        out[at : at + take] = noise[begin : begin + take]
        at, count, begin = at + take, count - take, 0
    return at


@cache
def _noise(dtype: str) -> np.ndarray:
    """Values as weights have them: normal, and for bf16 the upper half of their bits."""
    values = np.random.default_rng(0).standard_normal(PERIOD, np.float32) * np.float32(0.02)
    if dtype == "float32":
        return values
    return (values.view(np.uint32) >> 16).astype(np.uint16)
