"""Moves decoded bytes of a shard to where they are wanted, by strided copies that run beside other threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pyckpt.engine.buffers import copy_bytes
from pyckpt.format.geometry import Copy, Ints, Region, region_copies

__all__ = ["byte_copies", "scatter"]

_WORDS: Final[dict[int, type[np.generic]]] = {
    8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64, 128: np.complex128,
}


def scatter(source: memoryview, region: Region, target: memoryview, wanted: Region, bits: int) -> None:
    """Copies every element that ``region`` and ``wanted`` share from one row-major memory to the other.

    ``source`` and ``target`` are the bytes of the two regions' memories; ``bits`` is the size of one element.
    """
    for copy in byte_copies(region_copies(region, wanted), bits):
        _copy(source, target, copy, max(8, bits))


def byte_copies(copies: Sequence[Copy], bits: int) -> Sequence[Copy]:
    """The same copies counted in bytes where elements are smaller than that; their innermost rows are whole bytes."""
    return copies if bits % 8 == 0 else [_in_bytes(copy, bits) for copy in copies]


def _in_bytes(copy: Copy, bits: int) -> Copy:
    def scaled(numbers: Ints) -> Ints:
        return tuple([number * bits // 8 for number in numbers])

    return Copy(
        (*copy.shape[:-1], *scaled(copy.shape[-1:])),
        copy.src_start * bits // 8,
        (*scaled(copy.src_strides[:-1]), *copy.src_strides[-1:]),
        copy.dst_start * bits // 8,
        (*scaled(copy.dst_strides[:-1]), *copy.dst_strides[-1:]),
    )


def _copy(source: memoryview, target: memoryview, copy: Copy, bits: int) -> None:
    if copy.is_contiguous:
        size = copy.elements * bits // 8
        src, dst = copy.src_start * bits // 8, copy.dst_start * bits // 8
        copy_bytes(target[dst : dst + size], source[src : src + size])
        return
    word, width = _WORDS[bits], bits // 8
    np.copyto(
        _strided(target, word, copy.shape, copy.dst_start, copy.dst_strides, width),
        _strided(source, word, copy.shape, copy.src_start, copy.src_strides, width),
    )


def _strided(
    memory: memoryview, word: type[np.generic], shape: Ints, start: int, strides: Ints, width: int
) -> np.ndarray[Any, Any]:
    """The elements of a copy on one side; ``width`` is bytes per element."""
    length = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    words = np.frombuffer(memory, np.uint8, length * width, start * width).view(word)
    return as_strided(words, shape, [stride * width for stride in strides])
