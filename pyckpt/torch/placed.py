"""Where a tensor of any kind lies in its global tensor: the one answer that saving and loading share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from pyckpt.errors import UnsupportedState, UsageError
from pyckpt.format.geometry import Box, Ints, Region
from pyckpt.torch.dtensor import Held, dtensor_layout
from pyckpt.torch.dtypes import PACKED
from pyckpt.torch.layout import Declared, check_declared

__all__ = [
    "PLAIN_TENSORS",
    "Placed",
    "is_dtensor", "is_flattenable", "is_ordinary", "is_sharded_tensor", "place", "refuse_memoryless"]

PLAIN_TENSORS = frozenset({torch.Tensor, torch.nn.Parameter})
"""Types whose memory is the tensor's own elements and nothing else."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor's global shape and what of it is here."""

    shape: Ints
    """Global shape in the elements of the format (packed dtypes have twice torch's last dimension)."""
    parts: tuple[tuple[Region, torch.Tensor], ...]
    """Regions, each with a view of the local tensor whose row-major order is the region's run."""
    replicas: tuple[int, ...] | None
    """Global ranks that hold the same, ``()`` for nobody else, None for a plain tensor."""


def is_ordinary(tensor: torch.Tensor) -> bool:
    """True for tensors and parameters of one strided memory whose elements are the format's own."""
    return (
        type(tensor) in PLAIN_TENSORS
        and tensor.layout is torch.strided
        and not tensor.is_meta
        and (PACKED is None or tensor.dtype is not PACKED)
    )


def is_dtensor(tensor: torch.Tensor) -> bool:
    """True for DTensors (of parameters too); cheap for plain tensors."""
    if type(tensor) in PLAIN_TENSORS:
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def is_flattenable(tensor: torch.Tensor) -> bool:
    """True for tensor subclasses that are made of inner tensors (quantised weights, say), DTensors aside."""
    return type(tensor) not in PLAIN_TENSORS and hasattr(tensor, "__tensor_flatten__") and not is_dtensor(tensor)


def is_sharded_tensor(tensor: Any) -> bool:
    """True for the older distributed tensors, which FSDP1 without a mesh still hands out."""
    if type(tensor) in PLAIN_TENSORS:
        return False
    module = sys.modules.get("torch.distributed._shard.sharded_tensor")
    return module is not None and isinstance(tensor, module.ShardedTensor)


def refuse_memoryless(tensor: torch.Tensor, key: str) -> None:
    """``UnsupportedState`` for tensors that have no memory of strided elements."""
    if tensor.is_meta:
        raise UnsupportedState(
            "state.unsupported",
            "the tensor is on the meta device: it has a shape but no values",
            key=key,
            hint="materialise it first (module.to_empty(device=...)), then load or initialise it",
        )
    if tensor.layout is not torch.strided:
        raise UnsupportedState(
            "state.unsupported", f"a tensor of layout {tensor.layout}", key=key, hint="store tensor.to_dense()"
        )
    if isinstance(tensor, (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)):
        raise UnsupportedState(
            "state.unsupported", "a lazy parameter without a shape", key=key, hint="run one forward pass first"
        )


def place(tensor: torch.Tensor, key: str, declared: Declared | None = None) -> Placed:
    """Regions and views of ``tensor``. ``UsageError`` or ``UnsupportedState`` naming ``key`` where it has none."""
    if type(tensor) not in PLAIN_TENSORS:
        if is_dtensor(tensor):
            return _place_dtensor(tensor, key)
        if is_sharded_tensor(tensor):
            return _place_sharded_tensor(tensor)
    if tensor.is_meta or tensor.layout is not torch.strided or type(tensor) not in PLAIN_TENSORS:
        refuse_memoryless(tensor, key)
    packed = tensor.dtype is PACKED and PACKED is not None
    if declared is not None:
        return _place_declared(tensor, declared, key)
    shape = tuple(tensor.shape)
    if packed:
        shape = _unpack(shape, key)
    return Placed(shape, ((Region.whole(shape), tensor),), None)


def _place_dtensor(tensor: Any, key: str) -> Placed:
    with torch.no_grad():
        # Detached on the inside, where it does not go through the dispatch of DTensor.
        local = tensor.to_local().detach()
    if hasattr(local, "__tensor_flatten__"):
        raise UnsupportedState(
            "state.unsupported",
            f"a DTensor of {type(local).__name__}: the inner tensors' regions are not those of the outer",
            key=key,
            hint="dequantise it, or save the state before it was quantised",
        )
    refuse_memoryless(local, key)
    held, replicas = _layout_of(tensor, tuple(local.shape), key)
    packed = tensor.dtype is PACKED and PACKED is not None
    parts = []
    for one in held:
        view = local
        for dim, (start, size) in enumerate(zip(one.local, one.box.size, strict=True)):
            if size != view.shape[dim]:
                view = view.narrow(dim, start, size)
        box = Box(_unpack(one.box.offset, key), _unpack(one.box.size, key)) if packed else one.box
        parts.append((Region.of_box(box), view))
    shape = tuple(tensor.shape)
    return Placed(_unpack(shape, key) if packed else shape, tuple(parts), replicas)


def _layout_of(tensor: Any, local_shape: Ints, key: str) -> tuple[tuple[Held, ...], tuple[int, ...]]:
    """``dtensor_layout``, remembered as long as the mesh lives: layers are alike, and an exchange runs every step."""
    spec = tensor._spec
    known = _LAYOUTS.setdefault(spec.mesh, {})
    facts = (spec.placements, tuple(spec.shape), local_shape, getattr(spec, "shard_order", None))
    layout = known.get(facts)
    if layout is None:
        layout = known[facts] = dtensor_layout(tensor, local_shape, key)
    return layout


_LAYOUTS: WeakKeyDictionary[Any, dict[tuple[Any, ...], tuple[tuple[Held, ...], tuple[int, ...]]]] = WeakKeyDictionary()


def _place_sharded_tensor(tensor: Any) -> Placed:
    parts = []
    for shard in tensor.local_shards():
        if shard.tensor.numel():
            box = Box(tuple(shard.metadata.shard_offsets), tuple(shard.metadata.shard_sizes))
            parts.append((Region.of_box(box), shard.tensor))
    return Placed(tuple(tensor.metadata().size), tuple(parts), ())


def _place_declared(tensor: torch.Tensor, declared: Declared, key: str) -> Placed:
    if tensor.dtype is PACKED and PACKED is not None:
        raise UsageError("state.layout", "a declared layout of a packed dtype", key=key, hint="view it as uint8")
    check_declared(declared, tensor, key)
    if len(declared.regions) == 1:
        return Placed(declared.shape, ((declared.regions[0], tensor),), declared.group)
    if not tensor.is_contiguous():
        raise UsageError(
            "state.layout", "several declared regions of a tensor that is not contiguous", key=key
        )
    flat = tensor.detach().view(-1)
    parts = []
    position = 0
    for region in declared.regions:
        parts.append((region, flat.narrow(0, position, region.elements)))
        position += region.elements
    return Placed(declared.shape, tuple(parts), declared.group)


def _unpack(numbers: Ints, key: str) -> Ints:
    if not numbers:
        raise UnsupportedState(
            "state.unsupported", "a scalar of two packed numbers", key=key, hint="give it a dimension: tensor.view(1)"
        )
    return (*numbers[:-1], numbers[-1] * 2)
