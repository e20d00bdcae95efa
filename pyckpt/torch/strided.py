"""Elements of a tensor by their place in its row-major order, whatever the strides of its memory.

The copies of ``pyckpt.format.copies`` count row-major elements. A tensor that is transposed, narrowed or channels-last
keeps them elsewhere: each stride of a copy is said anew in coordinates, and dimensions that were merged, or that begin
in the middle of a row, are cut into as few views as can say them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pyckpt.errors import UsageError
from pyckpt.format.geometry import Ints, row_major_strides

__all__ = ["Window", "gather", "put", "split_windows", "strided_view", "writing"]

MOST_WINDOWS = 64
"""Beyond so many views one indexed copy is cheaper, and they are nothing that a region's copy brings about."""

_Dims = tuple[tuple[int, int, int], ...]
"""Per dimension: elements, distance in the row-major order, distance in the other memory."""

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


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

    def view_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """These elements of a tensor of the shape that the windows were made for."""
        strides = tensor.stride()
        start = tensor.storage_offset() + _dot(self.first, strides)
        return tensor.as_strided(self.shape, [_dot(step, strides) for step in self.steps], start)


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


def strided_view(tensor: torch.Tensor, start: int, shape: Ints, strides: Ints) -> torch.Tensor | None:
    """The elements at ``start + sum(i * strides)`` of the tensor's own row-major order, as a view of that shape.

    None if no view can say it.
    """
    if 0 in shape:
        return tensor.as_strided(shape, [1] * len(shape))
    if tensor.is_contiguous() and start + _dot([count - 1 for count in shape], strides) < tensor.numel():
        # By far the most common, and there the memory is the row-major order.
        return tensor.as_strided(shape, strides, int(tensor.storage_offset()) + start)
    windows = split_windows(_size(tensor), start, shape, strides, 0, row_major_strides(shape))
    if windows is None or len(windows) != 1:
        return None
    view = windows[0].view_of(tensor.reshape(1) if tensor.dim() == 0 else tensor)
    if view.shape == shape:
        return view
    try:
        return view.view(shape)
    except RuntimeError:
        return None


def gather(tensor: torch.Tensor, start: int, shape: Ints, strides: Ints) -> torch.Tensor:
    """The elements at ``start + sum(i * strides)`` of the tensor's row-major order: a view if one can say it."""
    with torch.no_grad():
        plain = _plain(tensor.detach())
        found = strided_view(plain, start, shape, strides)
        if found is None:
            found = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
            words, out = _words(plain), _words(found)
            windows = split_windows(_size(plain), start, shape, strides, 0, row_major_strides(shape))
            if windows is None:
                out.copy_(_memory(words)[_offsets(words, start, shape, strides)])
            else:
                for window in windows:
                    out.as_strided(window.shape, window.other_strides, window.other_start).copy_(window.view_of(words))
        found = found.conj() if tensor.is_conj() else found
        return found._neg_view() if tensor.is_neg() else found


def put(tensor: torch.Tensor, start: int, shape: Ints, strides: Ints, values: torch.Tensor) -> None:
    """Writes ``values``, of that shape, cast if need be, to ``start + sum(i * strides)`` of the row-major order.

    The elements are distinct. Autograd learns of it as of any change in place.
    """
    if 0 in shape:
        return
    with writing(tensor):
        target, values = _like(tensor.detach(), values.detach())
        values_start = int(values.storage_offset())
        windows = split_windows(_size(target), start, shape, strides, values_start, tuple(values.stride()))
        if windows is None:
            target, values = _words(target), _words(values.to(target))
            _memory(target)[_offsets(target, start, shape, strides)] = values
            return
        if target.dtype == values.dtype:
            target, values = _words(target), _words(values)
        target = target.reshape(1) if target.dim() == 0 else target
        for window in windows:
            window.view_of(target).copy_(values.as_strided(window.shape, window.other_strides, window.other_start))


@contextmanager
def writing(tensor: torch.Tensor) -> Iterator[None]:
    """Lets views of the tensor be written: without gradients, and in the mode that the tensor was made in."""
    # Of a view that is made in the other mode, a write either isn't counted as a new version, or is refused.
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        yield


def _size(tensor: torch.Tensor) -> Ints:
    return tuple(tensor.shape) or (1,)


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


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The memory as it lies, without a pending conjugation or negation."""
    tensor = tensor.conj() if tensor.is_conj() else tensor
    return tensor._neg_view() if tensor.is_neg() else tensor


def _like(tensor: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Target and values such that plain bytes can be moved: what is pending on either is carried out on the values."""
    if tensor.is_conj() or tensor.is_neg():
        values = values.to(tensor.dtype)
        values = values.conj() if tensor.is_conj() else values
        values = values.neg() if tensor.is_neg() else values
    return _plain(tensor), values.resolve_conj().resolve_neg()


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers: torch copies and indexes every width of them, but not every dtype."""
    word = _WORDS.get(tensor.element_size())
    return tensor if word is None else tensor.view(word)


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """Everything between a tensor's first and last element, in one dimension."""
    return tensor.as_strided((1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)),), (1,))


def _offsets(tensor: torch.Tensor, start: int, shape: Ints, strides: Ints) -> torch.Tensor:
    """Where the elements lie in ``_memory``: the coordinates of each, one by one."""
    place = torch.full(shape, start, dtype=torch.int64)
    for axis, (count, stride) in enumerate(zip(shape, strides, strict=True)):
        place += (torch.arange(count) * stride).view(-1, *[1] * (len(shape) - axis - 1))
    offsets = torch.zeros_like(place)
    for pitch, stride in zip(row_major_strides(_size(tensor)), tensor.stride() or (0,), strict=True):
        offsets += place // pitch * stride
        place %= pitch
    return offsets.to(tensor.device)
