"""Strided copies said in coordinates, for memories whose order is another one than row-major.

A copy counts row-major elements. An array that is transposed, narrowed or channels-last keeps them elsewhere: each
stride is said anew in coordinates, and dimensions that were merged, or that begin in the middle of a row, are cut into
as few windows as can say them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyckpt.errors import UsageError
from pyckpt.format.geometry import Ints, row_major_strides

__all__ = ["Window", "split_windows"]

MOST_WINDOWS = 64
"""Beyond so many views one indexed copy is cheaper, and they are nothing that a region's copy brings about."""

_Dims = tuple[tuple[int, int, int], ...]
"""Per dimension: elements, distance in the row-major order, distance in the other memory."""


@dataclass(frozen=True, slots=True)
class Window:
    """Elements that lie evenly both in a tensor's coordinates and in another memory."""

    shape: Ints
    first: Ints
    """Coordinates of the first element."""
    steps: tuple[Ints, ...]
    """Per dimension of the window, how far the coordinates move."""
    other_start: int
    other_strides: Ints

    def place(self, strides: Sequence[int]) -> tuple[int, Ints]:
        """Start and strides of the window in a memory that has these strides per coordinate, in their unit."""
        return _dot(self.first, strides), tuple([_dot(step, strides) for step in self.steps])


def split_windows(
    size: Ints, start: int, shape: Ints, strides: Ints, other_start: int, other_strides: Ints
) -> tuple[Window, ...] | None:
    """The elements at ``start + sum(i * strides)`` of a row-major ``size``, as windows; None if they are too many.

    ``other_start`` and ``other_strides`` say where element ``i`` lies in another memory. A run of rows that begins and
    ends in their middle takes ``2 * len(size) - 1`` windows at most. ``UsageError`` (state.layout) for elements beyond
    the last.
    """
    if 0 in shape:
        return ()
    windows: list[Window] = []
    pitches = row_major_strides(size)
    todo: list[tuple[int, int, _Dims]] = [(start, other_start, tuple(zip(shape, strides, other_strides, strict=True)))]
    while todo:
        first, other, dims = todo.pop()
        digits = _digits(first, pitches)
        steps = [_digits(stride, pitches) for _, stride, _ in dims]
        counts = [count for count, _, _ in dims]
        dim = _overflow(size, digits, counts, steps)
        if dim is None:
            shape_now, _, other_now = zip(*dims, strict=True) if dims else ((), (), ())
            windows.append(Window(shape_now, digits, tuple(steps), other, other_now))
            continue
        if dim == 0:
            raise UsageError("state.layout", f"elements {start} + {shape} x {strides} leave a tensor of {list(size)}")
        axis = _runaway(size[dim] - digits[dim], counts, [step[dim] for step in steps])
        if axis is None or any(steps[axis][:dim]) or len(windows) + len(todo) >= MOST_WINDOWS:
            return None
        # Along this axis the coordinate runs over the end of its dimension, in steps of ``step``.
        step, at = steps[axis][dim], digits[dim]
        count, stride, other_stride = dims[axis]
        period = size[dim] // step
        cut: list[tuple[int, _Dims]]
        if at >= step or size[dim] % step or count < period:
            head = -(-(size[dim] - at) // step)
            cut = [(0, ((head, stride, other_stride),)), (head, ((count - head, stride, other_stride),))]
        else:
            rows, rest = divmod(count, period)
            split = ((rows, stride * period, other_stride * period), (period, stride, other_stride))
            cut = [(0, split)]
            if rest:
                cut.append((rows * period, ((rest, stride, other_stride),)))
        for skip, inner in reversed(cut):
            kept = tuple(each for each in inner if each[0] != 1)
            todo.append((first + skip * stride, other + skip * other_stride, dims[:axis] + kept + dims[axis + 1 :]))
    return tuple(windows)


def _digits(number: int, pitches: Ints) -> Ints:
    """Coordinates of a row-major position; the first is not bounded, so that an overflow shows."""
    digits = []
    for pitch in pitches:
        digit, number = divmod(number, pitch)
        digits.append(digit)
    return tuple(digits)


def _overflow(size: Ints, digits: Ints, counts: Sequence[int], steps: Sequence[Ints]) -> int | None:
    """The innermost dimension whose coordinate runs over its end, if any does."""
    for dim in range(len(size) - 1, -1, -1):
        reach = digits[dim] + sum([(count - 1) * step[dim] for count, step in zip(counts, steps, strict=True)])
        if reach >= size[dim]:
            return dim
    return None


def _runaway(room: int, counts: Sequence[int], steps: Sequence[int]) -> int | None:
    """The innermost axis of the copy that alone leaves a dimension with so much room, if one does."""
    for axis in range(len(counts) - 1, -1, -1):
        if (counts[axis] - 1) * steps[axis] >= room:
            return axis
    return None


def _dot(numbers: Sequence[int], strides: Sequence[int]) -> int:
    return sum(number * stride for number, stride in zip(numbers, strides, strict=True))
