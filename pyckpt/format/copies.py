"""Strided copies between two memories, in their simplest form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

__all__ = ["Copy", "Ints", "join_copies", "merge_dims", "split_copy"]

Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """One strided copy between the row-major memories of two regions; everything counts elements.

    Dimensions of size 1 are dropped and adjacent ones merged where both sides allow it: a contiguous copy has the shape
    ``(n,)`` and strides ``(1,)``, one element has the shape ``()``. Starts count from the beginning of the region's
    memory.
    """

    shape: Ints
    src_start: int
    src_strides: Ints
    dst_start: int
    dst_strides: Ints

    @property
    def elements(self) -> int:
        """Number of elements copied, at least 1."""
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """Whether both sides are one gapless range."""
        return self.shape == () or (len(self.shape) == 1 and self.src_strides == self.dst_strides == (1,))


def merge_dims(copy: Copy) -> Copy:
    """The same copy without dimensions of size 1, adjacent ones merged where both memories allow it."""
    dims: list[tuple[int, int, int]] = []
    for count, src_stride, dst_stride in zip(copy.shape, copy.src_strides, copy.dst_strides, strict=True):
        if count == 1:
            continue
        if dims and dims[-1][1] == src_stride * count and dims[-1][2] == dst_stride * count:
            dims[-1] = (dims[-1][0] * count, src_stride, dst_stride)
        else:
            dims.append((count, src_stride, dst_stride))
    shape, src_strides, dst_strides = zip(*dims, strict=True) if dims else ((), (), ())
    return Copy(shape, copy.src_start, src_strides, copy.dst_start, dst_strides)


def split_copy(copy: Copy, limit: int) -> Iterator[Copy]:
    """The copy in parts of at most ``limit`` elements, in the order of its elements; ``limit`` is at least 1."""
    if copy.elements <= limit:
        yield copy
        return
    row = copy.elements // copy.shape[0]
    step = max(1, limit // row)
    for first in range(0, copy.shape[0], step):
        part = replace(
            copy,
            shape=(min(step, copy.shape[0] - first), *copy.shape[1:]),
            src_start=copy.src_start + first * copy.src_strides[0],
            dst_start=copy.dst_start + first * copy.dst_strides[0],
        )
        yield from split_copy(merge_dims(part), limit)


def join_copies(first: Copy, second: Copy) -> Copy | None:
    """The two copies as one, where together they repeat the same rows at an even distance; else None."""
    step = (second.src_start - first.src_start, second.dst_start - first.dst_start)
    for count, first_step, rows in _as_rows(first):
        for more, second_step, other_rows in _as_rows(second):
            pitch = first_step or second_step or step
            if rows != other_rows or step != (count * pitch[0], count * pitch[1]) or second_step not in (None, pitch):
                continue
            shape, src_strides, dst_strides = rows
            joined = Copy(
                (count + more, *shape),
                first.src_start,
                (pitch[0], *src_strides),
                first.dst_start,
                (pitch[1], *dst_strides),
            )
            return merge_dims(joined)
    return None


def _as_rows(copy: Copy) -> list[tuple[int, tuple[int, int] | None, tuple[Ints, Ints, Ints]]]:
    """A copy as (number of rows, their distance on both sides, one row): cut along its first dimension, or whole."""
    single = (1, None, (copy.shape, copy.src_strides, copy.dst_strides))
    if not copy.shape:
        return [single]
    row = (copy.shape[1:], copy.src_strides[1:], copy.dst_strides[1:])
    return [(copy.shape[0], (copy.src_strides[0], copy.dst_strides[0]), row), single]
