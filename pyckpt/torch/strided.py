"""Elements of a tensor by their place in its row-major order, whatever the strides of its memory.

The copies of ``pyckpt.format.copies`` count row-major elements; ``pyckpt.format.windows`` says them in coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyckpt.format.geometry import Ints, row_major_strides
from pyckpt.format.windows import Window, split_windows

__all__ = ["gather", "put", "strided_view", "window_view", "writing"]

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def strided_view(tensor: torch.Tensor, start: int, shape: Ints, strides: Ints) -> torch.Tensor | None:
    """The elements at ``start + sum(i * strides)`` of the tensor's own row-major order, as a view of that shape.

    None if no view can say it.
    """
    if 0 in shape:
        return tensor.as_strided(shape, [1] * len(shape))
    if tensor.is_contiguous() and start + _reach(shape, strides) < tensor.numel():
        # By far the most common, and there the memory is the row-major order.
        return tensor.as_strided(shape, strides, int(tensor.storage_offset()) + start)
    windows = split_windows(_size(tensor), start, shape, strides, 0, row_major_strides(shape))
    if windows is None or len(windows) != 1:
        return None
    view = window_view(tensor, windows[0])
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
                    place = out.as_strided(window.shape, window.other_strides, window.other_start)
                    place.copy_(window_view(words, window))
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
        if shape == (target.numel(),) and strides == (1,) and not start:
            # All of it in its own order: no need to ask where what lies, which for small tensors costs the most.
            if target.dtype == values.dtype:
                target, values = _words(target), _words(values)
            target.copy_(values.reshape(target.shape))
            return
        values_start = int(values.storage_offset())
        windows = split_windows(_size(target), start, shape, strides, values_start, tuple(values.stride()))
        if windows is None:
            target, values = _words(target), _words(values.to(target))
            _memory(target)[_offsets(target, start, shape, strides)] = values
            return
        if target.dtype == values.dtype:
            target, values = _words(target), _words(values)
        for window in windows:
            window_view(target, window).copy_(values.as_strided(window.shape, window.other_strides, window.other_start))


@contextmanager
def writing(tensor: torch.Tensor) -> Iterator[None]:
    """Lets views of the tensor be written: without gradients, and in the mode that the tensor was made in."""
    # Of a view that is made in the other mode, a write either isn't counted as a new version, or is refused.
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        yield


def window_view(tensor: torch.Tensor, window: Window) -> torch.Tensor:
    """The elements of a window, as a view of a tensor of the shape that the window was made for."""
    start, strides = window.place(tensor.stride() or (1,))
    return tensor.as_strided(window.shape, strides, int(tensor.storage_offset()) + start)


def _reach(shape: Ints, strides: Ints) -> int:
    """Distance from the first to the last element."""
    return sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))


def _size(tensor: torch.Tensor) -> Ints:
    return tuple(tensor.shape) or (1,)


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
