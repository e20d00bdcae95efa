"""Tensors as leaves: one leaf per distinct tensor of an item, so that an alias is the same object twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from pyckpt.engine.leaves import Piece, TensorLeaf
from pyckpt.errors import UsageError
from pyckpt.format.geometry import Ints, Region
from pyckpt.format.tree import Path, path_text
from pyckpt.torch.dtypes import NAMES, registry_name
from pyckpt.torch.layout import Declared
from pyckpt.torch.placed import is_dtensor, is_ordinary, is_sharded_tensor, place
from pyckpt.torch.source import TensorSource

__all__ = ["KnownLeaves", "LeafMaker", "memory_key"]


def _pointer(tensor: torch.Tensor) -> int:
    """Address of the first element; 0 for tensors without memory, which are nobody's alias."""
    if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return 0
    return tensor.data_ptr()


def memory_key(tensor: torch.Tensor) -> tuple[Any, ...] | None:
    """What equal for two tensors means that they are one memory seen alike; None for tensors without any.

    All empty tensors have the pointer 0, so they never are aliases by memory.
    """
    pointer = _pointer(tensor)
    return (pointer, *_view_key(tensor)) if pointer else None


def _view_key(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What, equal for two tensors at one address, means that they are one memory seen alike."""
    return (tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())


class _Known(NamedTuple):
    tensor: Any
    """Kept alive with its spec, so that nothing else gets their identity."""
    spec: Any
    memory: tuple[Any, ...] | None
    leaf: TensorLeaf


class KnownLeaves:
    """Leaves of DTensors by the object, for a state that is walked again and again.

    A leaf is given again while the DTensor has the same layout and its part lies in the same memory.
    """

    def __init__(self) -> None:
        self._leaves: dict[tuple[Any, ...], _Known] = {}
        self._before: dict[tuple[Any, ...], _Known] = {}

    def begin(self) -> None:
        """A walk begins; what the one before it did not meet is let go."""
        self._before, self._leaves = self._leaves, {}

    def leaf(self, tensor: Any, use: tuple[Any, ...], make: Callable[[], TensorLeaf]) -> TensorLeaf:
        """The leaf of this very object for the same use; made if it is new, or if anything about it has changed."""
        key = (id(tensor), *use)
        memory = memory_key(tensor._local_tensor)
        known = self._before.get(key)
        same = known is not None and known.tensor is tensor and known.spec is tensor._spec
        if known is None or not same or memory is None or known.memory != memory:
            known = _Known(tensor, tensor._spec, memory, make())
        self._leaves[key] = known
        return known.leaf


class LeafMaker:
    """Makes the tensor leaves of one item on one rank; ``seen`` are those of earlier walks over the same state."""

    def __init__(self, item: str, seen: KnownLeaves | None = None) -> None:
        self.item = item
        self._seen = seen
        self._by_object: dict[tuple[int, bool], TensorLeaf] = {}
        self._by_pointer: dict[tuple[int, bool], list[tuple[tuple[Any, ...], TensorLeaf]]] = {}
        self._whole: dict[Ints, Region] = {}
        # Ids are only unique among objects that are alive.
        self._alive: list[torch.Tensor] = []

    def leaf(
        self,
        tensor: torch.Tensor,
        path: Path,
        *,
        declared: Declared | None = None,
        alone: bool = False,
        owner: bool | None = None,
    ) -> TensorLeaf:
        """The leaf of ``tensor``.

        ``alone``: only this rank has the path (a value of its own index), so that nobody else holds the tensor.
        ``owner``: True if this rank's copy counts and the others' do not (buffers under DDP), False if it is such an
        other copy, None for everything else.
        """
        known = self._by_object.get((id(tensor), alone))
        if known is not None:
            return known
        ordinary = is_ordinary(tensor)
        pointer = 0
        if ordinary or not (is_dtensor(tensor) or is_sharded_tensor(tensor)):
            pointer = _pointer(tensor)
        if pointer:
            others = self._by_pointer.setdefault((pointer, alone), [])
            for other, leaf in others:
                if other == _view_key(tensor):
                    known = leaf
        if self._seen is not None and is_dtensor(tensor):
            use = self.item, alone, owner, declared
            known = self._seen.leaf(tensor, use, lambda: self._make(tensor, path, declared, alone, owner))
        if known is None:
            if ordinary and declared is None and owner is None:
                known = self._ordinary(tensor, alone)
            known = known or self._make(tensor, path, declared, alone, owner)
            if pointer:
                others.append((_view_key(tensor), known))
        self._by_object[id(tensor), alone] = known
        self._alive.append(tensor)
        return known

    def _ordinary(self, tensor: torch.Tensor, alone: bool) -> TensorLeaf | None:
        """The one case that comes by the ten thousand; None for a dtype that needs a message."""
        name = NAMES.get(tensor.dtype)
        if name is None:
            return None
        shape = tuple(tensor.shape)
        region = self._whole.get(shape)
        if region is None:
            region = self._whole[shape] = Region.whole(shape)
        piece = Piece(region, TensorSource(tensor, tensor.nbytes))
        return TensorLeaf(name, shape, (piece,), () if alone else None, claimed=not alone)

    def _make(
        self, tensor: torch.Tensor, path: Path, declared: Declared | None, alone: bool, owner: bool | None
    ) -> TensorLeaf:
        key = path_text((self.item, *path))
        name = registry_name(tensor.dtype, key)
        placed = place(tensor, key, declared)
        replicas = placed.replicas
        if alone:
            if replicas is not None and is_dtensor(tensor):
                raise UsageError(
                    "state.layout",
                    "a DTensor within a per-rank value: it belongs to its whole mesh",
                    key=key,
                    hint="store it outside of pyckpt.per_rank, or its to_local()",
                )
            replicas = ()
        parts = placed.parts
        if owner is not None and replicas is None:
            replicas = ()
            parts = parts if owner else ()
        pieces = tuple(Piece(region, TensorSource(part, part.nbytes)) for region, part in parts)
        return TensorLeaf(name, placed.shape, pieces, replicas, claimed=replicas is None or bool(replicas))
