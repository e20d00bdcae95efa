"""The memory of tensors that take part in a live exchange: found behind sources and sinks, and compared."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeAlias

import torch

from pyckpt.engine.leaves import BoundItem, Sink, Source
from pyckpt.errors import UsageError
from pyckpt.torch.dtypes import registry_name
from pyckpt.torch.sink import DeviceSink, TensorSink
from pyckpt.torch.source import TensorSource

__all__ = [
    "Part",
    "has_accelerator",
    "refuse_shared_memory",
    "same_memory",
    "sink_dtype",
    "tensor_of",
    "tensors_of",
]

Part: TypeAlias = tuple[Hashable, torch.Tensor]
"""Which elements of the whole state (equal for equal ones), and their memory."""


def tensor_of(end: Source | Sink) -> torch.Tensor:
    """The tensor that a source reads or a sink fills. UsageError for memory of another framework."""
    if isinstance(end, (TensorSource, TensorSink, DeviceSink)):
        return end.tensor
    raise UsageError("usage.invalid", f"a {type(end).__name__} holds no torch tensor")


def tensors_of(bound: Mapping[str, BoundItem]) -> list[torch.Tensor]:
    """All tensors that are to be filled."""
    requests = (request for each in bound.values() for request in each.requests)
    return [tensor_of(sink) for request in requests for _, sink in request.target.pieces]


def has_accelerator(tensors: Iterable[torch.Tensor]) -> bool:
    """True if one of them is not in host memory."""
    return any(tensor.device.type != "cpu" for tensor in tensors)


def sink_dtype(sink: Sink) -> str:
    """Registry name of the dtype in a sink's memory."""
    return registry_name(tensor_of(sink).dtype, "")


def same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """True if two tensors are the same elements in the same memory."""
    return (
        one.data_ptr() == other.data_ptr()
        and one.shape == other.shape
        and one.stride() == other.stride()
        and one.dtype == other.dtype
        and one.device == other.device
        and one.is_conj() == other.is_conj()
        and one.is_neg() == other.is_neg()
    )


def refuse_shared_memory(sources: Iterable[Part], targets: Iterable[Part]) -> None:
    """UsageError if a target overlaps the memory of a source and is not that very source, for the same elements."""
    by_storage: dict[int, list[Part]] = {}
    for place, source in sources:
        if source.numel():
            by_storage.setdefault(source.untyped_storage().data_ptr(), []).append((place, source))
    for wanted, target in targets:
        if not target.numel():
            continue
        for place, source in by_storage.get(target.untyped_storage().data_ptr(), ()):
            if place == wanted and same_memory(source, target):
                continue
            first, last = _extent(source)
            low, high = _extent(target)
            if low < last and first < high:
                raise UsageError(
                    "usage.invalid",
                    f"a target of shape {list(target.shape)} shares memory with a source of shape {list(source.shape)}",
                    hint="give the target memory of its own: values would be overwritten before they are sent",
                )


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte and the byte behind the last, as addresses."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size()
