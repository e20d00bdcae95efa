"""Moves decoded bytes of a shard to where they are wanted, by strided copies that run beside other threads."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pyckpt.engine.buffers import copy_bytes
from pyckpt.format.geometry import Copy, Ints, Region, region_copies

__all__ = ["scatter"]

_WORDS: Final[dict[int, type[np.generic]]] = {
    8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64, 128: np.complex128,
}


def scatter(source: memoryview, region: Region, target: memoryview, wanted: Region, bits: int) -> None:
    """Copies every element that ``region`` and ``wanted`` share from one row-major memory to the other.

    ``source`` and ``target`` are the bytes of the two regions' memories; ``bits`` is the size of one element.
    """
    for copy in region_copies(region, wanted):
        _copy(source, target, copy, bits)


def _copy(source: memoryview, target: memoryview, copy: Copy, bits: int) -> None:
    if copy.is_contiguous:
        size = copy.elements * bits // 8
        src, dst = copy.src_start * bits // 8, copy.dst_start * bits // 8
        copy_bytes(target[dst : dst + size], source[src : src + size])
        return
    word = _WORDS.get(bits)
    if word is None:
        _copy_rows(source, target, copy, bits)
        return
    width = bits // 8
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


def _copy_rows(source: memoryview, target: memoryview, copy: Copy, bits: int) -> None:
    """Sub-byte elements: only their innermost rows are whole bytes, so rows are copied one by one."""
    if copy.src_strides[-1] != 1 or copy.dst_strides[-1] != 1:
        rows, width = copy.shape, 1
        src_strides, dst_strides = copy.src_strides, copy.dst_strides
    else:
        rows, width = copy.shape[:-1], copy.shape[-1]
        src_strides, dst_strides = copy.src_strides[:-1], copy.dst_strides[:-1]
    for index in np.ndindex(*rows):
        src = copy.src_start + sum(i * s for i, s in zip(index, src_strides, strict=True))
        dst = copy.dst_start + sum(i * s for i, s in zip(index, dst_strides, strict=True))
        size = width * bits // 8
        target[dst * bits // 8 : dst * bits // 8 + size] = source[src * bits // 8 : src * bits // 8 + size]
