"""Elements of tensors by their row-major places, and lists of copies between them that are carried out together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from pyckpt.format.copies import Copy
from pyckpt.format.geometry import Ints, row_major_strides
from pyckpt.format.windows import split_windows
from pyckpt.torch.dtypes import PACKED
from pyckpt.torch.strided import gather, put, strided_view, window_view

__all__ = ["Copies", "Place", "place_of", "place_on_wire"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The elements at ``start + sum(i * strides)`` of a tensor's own row-major order."""

    tensor: torch.Tensor
    start: int
    shape: Ints
    strides: Ints

    def view(self) -> torch.Tensor | None:
        """They as a view of that shape; None if no view can say it, or if what lies there is not their values."""
        if self.tensor.is_conj() or self.tensor.is_neg():
            return None
        if self.tensor.is_contiguous():
            return self.tensor.as_strided(self.shape, self.strides, self.tensor.storage_offset() + self.start)
        return strided_view(self.tensor, self.start, self.shape, self.strides)

    def windows_beside(self, other: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
        """Views of the elements of ``other``, a view of the same shape, each with one of these elements.

        None if they are too many, or if what lies here is not their values.
        """
        tensor = self.tensor
        if tensor.is_conj() or tensor.is_neg() or not tensor.dim():
            return None
        places = int(other.storage_offset()), tuple(other.stride())
        windows = split_windows(tuple(tensor.shape), self.start, self.shape, self.strides, *places)
        if windows is None:
            return None
        return [
            (other.as_strided(window.shape, window.other_strides, window.other_start), window_view(tensor, window))
            for window in windows
        ]

    def is_at(self, other: Place) -> bool:
        """Whether these are the other's elements, one by one: those of the same tensor, or of rows of it."""
        one, two = self.tensor, other.tensor
        if (self.shape, self.strides, one.dtype, one.device) != (other.shape, other.strides, two.dtype, two.device):
            return False
        if (one.is_conj(), one.is_neg()) != (two.is_conj(), two.is_neg()):
            return False
        alike = one.stride() == two.stride() and one.shape[1:] == two.shape[1:]
        return (alike or (one.is_contiguous() and two.is_contiguous())) and self._address() == other._address()

    def _address(self) -> int:
        """Of the first element."""
        offset, index = 0, self.start
        for size, stride in zip(reversed(self.tensor.shape), reversed(self.tensor.stride()), strict=True):
            index, at = divmod(index, size)
            offset += at * stride
        return self.tensor.data_ptr() + offset * self.tensor.element_size()

    def contiguous_bytes(self) -> torch.Tensor | None:
        """Their bytes, if they lie in one gapless range of memory in their own order."""
        tensor = self.tensor
        if not tensor.is_contiguous() or tensor.is_conj() or tensor.is_neg():
            return None
        if self.shape and (len(self.shape) > 1 or self.strides != (1,)):
            return None
        count = self.shape[0] if self.shape else 1
        return tensor.view(-1)[self.start : self.start + count].view(torch.uint8)


def place_of(tensor: torch.Tensor, copy: Copy, *, source: bool) -> Place:
    """One side of a copy, in the memory of ``tensor``; elements of half a byte are counted by bytes."""
    start = copy.src_start if source else copy.dst_start
    strides = copy.src_strides if source else copy.dst_strides
    if not _is_packed(tensor.dtype):
        return Place(tensor, start, copy.shape, strides)
    strides = (*(stride // 2 for stride in strides[:-1]), *strides[-1:])
    return Place(tensor.view(torch.uint8), start // 2, _halved(copy.shape), strides)


def place_on_wire(data: torch.Tensor, dtype: torch.dtype, copy: Copy) -> Place:
    """The elements of a copy in their own row-major order, in bytes that were sent or are to be."""
    if _is_packed(dtype):
        shape = _halved(copy.shape)
        return Place(data, 0, shape, row_major_strides(shape))
    return Place(data.view(dtype), 0, copy.shape, row_major_strides(copy.shape))


def _is_packed(dtype: torch.dtype) -> bool:
    return PACKED is not None and dtype is PACKED


def _halved(shape: Ints) -> Ints:
    # Rows of such elements are whole bytes, so the innermost dimension is even and gapless.
    return (*shape[:-1], shape[-1] // 2)


_Pairs: TypeAlias = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Targets, and the source of each."""


@dataclass(slots=True)
class Copies:
    """Copies that don't depend on each other; found once, carried out any number of times."""

    _normal: _Pairs = field(default_factory=lambda: ([], []))
    _inference: _Pairs = field(default_factory=lambda: ([], []))
    """Into tensors that were made in inference mode: out of it torch refuses to write them."""
    _others: list[tuple[Place, Place]] = field(default_factory=list)

    def add(self, target: Place, source: Place) -> None:
        """One more; the dtypes may differ."""
        onto, values = target.view(), source.view()
        if onto is not None and values is not None:
            pairs: list[tuple[torch.Tensor, torch.Tensor]] | None = [(onto, values)]
        elif onto is not None:
            pairs = source.windows_beside(onto)
        elif values is not None:
            swapped = target.windows_beside(values)
            pairs = None if swapped is None else [(mine, other) for other, mine in swapped]
        else:
            pairs = None
        if pairs is None:
            self._others.append((target, source))
            return
        targets, sources = self._inference if target.tensor.is_inference() else self._normal
        for each, its in pairs:
            targets.append(each)
            sources.append(its)

    def run(self) -> None:
        """Carries them out, on the devices that the tensors lie on."""
        if self._normal[0]:
            torch._foreach_copy_(*self._normal)
        if self._inference[0]:
            with torch.inference_mode():
                torch._foreach_copy_(*self._inference)
        for target, source in self._others:
            values = gather(source.tensor, source.start, source.shape, source.strides)
            put(target.tensor, target.start, target.shape, target.strides, values)
