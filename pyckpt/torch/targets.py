"""Where the tensors of a live exchange go: objects that are filled, wanted placements, or whole tensors dealt out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.placement_types import Placement

from pyckpt.engine.deal import deal
from pyckpt.engine.leaves import Binder, BoundItem, ItemView
from pyckpt.errors import UsageError
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Box, Region
from pyckpt.format.tree import Node, Path, TensorRef, path_text, walk
from pyckpt.torch.bind import BindOptions, binders
from pyckpt.torch.dtensor import empty_dtensor
from pyckpt.torch.dtypes import FLOATING, PACKED, torch_dtype
from pyckpt.torch.filling import Filling, allocate
from pyckpt.torch.layout import Declared, LocalShard, Shard
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.placed import place

__all__ = ["WHOLE", "Placing", "as_items", "is_single", "target_binders", "whole_owners"]

WHOLE = "whole"
"""The target in which every tensor lies whole on one rank, all ranks having about as many bytes."""

SINGLE = "state"
"""Item name of a state that is one module, or one tree of tensors."""

Placing: TypeAlias = tuple[DeviceMesh, Sequence[Placement]] | Declared
"""Where one tensor shall lie: over a mesh, or the regions that this rank wants of it, one after the other."""


_TENSORS = (torch.Tensor, np.ndarray, LocalShard)


def is_single(state: object) -> bool:
    """True for a module, or a mapping with a tensor or array in it: one item, and not a mapping of items."""
    if not isinstance(state, Mapping):
        return True
    return any(isinstance(value, _TENSORS) or _is_placing(value) for value in state.values())


def as_items(state: object) -> Mapping[str, object]:
    """The state as a mapping of items."""
    if is_single(state):
        return {SINGLE: state}
    return state  # type: ignore[return-value]


def _is_placing(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and isinstance(value[0], DeviceMesh)
    return isinstance(value, (Declared, Shard))


def target_binders(
    target: object, items: Mapping[str, ItemView], options: BindOptions, *, dtype: torch.dtype | None
) -> dict[str, Binder]:
    """A binder for every item that ``target`` wants, of those that the ranks hold.

    ``dtype`` is that of the floating-point tensors that are made anew; None keeps theirs.
    """
    if isinstance(target, str):
        if target != WHOLE:
            raise UsageError("usage.invalid", f"target is {target!r}, expected {WHOLE!r}, placements or objects")
        owners = whole_owners(items.values(), options.world_size)
        return {name: _FreshBinder(_Whole(owners[name], dtype), options) for name in items}
    wanted: dict[str, Binder] = {}
    objects: dict[str, object] = {}
    if target is None:
        return {}
    flat = is_single(target)
    if flat and isinstance(target, Mapping) and any(map(_is_placing, target.values())):
        # Names and patterns, for whatever items there are.
        return {name: _FreshBinder(_Placed(_parse(target), dtype), options) for name in items}
    for name, value in as_items(target).items():
        if isinstance(value, Mapping) and value and all(map(_is_placing, value.values())):
            wanted[name] = _FreshBinder(_Placed(_parse(value), dtype), options)
        else:
            objects[name] = value
    strangers = sorted({*wanted, *objects} - set(items))
    if strangers:
        known = ", ".join(sorted(items)) or "none"
        raise UsageError(
            "usage.invalid", f"targets of items that no rank holds: {', '.join(strangers)}", hint=f"items: {known}"
        )
    wanted.update(binders(objects, options))
    return wanted


def _parse(rules: Mapping[Any, Any]) -> dict[str, Placing]:
    parsed: dict[str, Placing] = {}
    for name, value in rules.items():
        if not isinstance(name, str):
            raise UsageError("usage.invalid", f"a target for {name!r}; names and patterns are strings")
        if isinstance(value, tuple) and _is_placing(value):
            mesh, placements = value
            placements = (placements,) if isinstance(placements, Placement) else tuple(placements)
            if len(placements) != mesh.ndim:
                text = f"{len(placements)} placements for a mesh of {mesh.ndim} dimensions"
                raise UsageError("usage.invalid", text, key=name)
            partial = [placement for placement in placements if placement.is_partial()]
            if partial:
                raise UsageError("state.partial", f"{partial[0]!r} is no layout of values", key=name)
            parsed[name] = (mesh, placements)
        elif isinstance(value, Declared):
            parsed[name] = value
        else:
            text = f"a target {value!r:.80}; expected (mesh, placements) or regions as pyckpt.Declared"
            raise UsageError("usage.invalid", text, key=name)
    return parsed


def whole_owners(items: Collection[ItemView], size: int) -> dict[str, dict[int, int]]:
    """Item -> tensor -> the rank that gets it whole, bytes dealt evenly, the same on every rank."""
    listed = [(item.name, number, _nbytes(item, number)) for item in items for number in _numbers(item.tree)]
    owners: dict[str, dict[int, int]] = {item.name: {} for item in items}
    # A fair share larger than everything keeps every tensor in one piece.
    total = max(1, sum(nbytes for _, _, nbytes in listed))
    for part in deal([nbytes for _, _, nbytes in listed], range(size), quantum=[total] * len(listed)):
        name, number, _ = listed[part.piece]
        owners[name][number] = part.writer
    return owners


def _nbytes(item: ItemView, number: int) -> int:
    return byte_count(dtype_of(item.dtype(number)), prod(item.shape(number)))


def _numbers(node: Node) -> list[int]:
    return list(dict.fromkeys(leaf.index for _, leaf in walk(node) if isinstance(leaf, TensorRef)))


class _Make(Protocol):
    """Makes targets."""

    def rule(self, fill: Filling, path: Path) -> Placing | None:
        """What is said of this name; None if nothing is."""

    def __call__(self, fill: Filling, tensor: int, path: Path) -> torch.Tensor | None:
        """The target of a tensor (by number), planned to be filled; None if this rank gets nothing of it."""


@dataclass(slots=True)
class _Fresh:
    """Builds the value of an item with tensors made by ``make``; what is not for this rank is left out of maps."""

    fill: Filling
    make: _Make
    _made: dict[int, list[tuple[Placing | None, torch.Tensor | None]]] = field(default_factory=dict)

    def value(self, node: Node, path: Path) -> Any:
        if isinstance(node, TensorRef):
            return self._tensor(node.index, path)
        if isinstance(node, Mapping):
            made = {key: (inner, self.value(inner, (*path, key))) for key, inner in node.items()}
            return {key: value for key, (inner, value) in made.items() if value is not None or inner is None}
        if isinstance(node, (list, tuple)):
            return type(node)(self.value(inner, (*path, i)) for i, inner in enumerate(node))
        return self.fill.fresh(node, path)

    def _tensor(self, index: int, path: Path) -> torch.Tensor | None:
        """One tensor for all names of it, unless they are to lie differently."""
        rule = self.make.rule(self.fill, path)
        known = self._made.setdefault(index, [])
        for other, made in known:
            if rule is None or rule == other:
                return made
        new = self.make(self.fill, index, path)
        known.append((rule, new))
        return new


@dataclass(frozen=True, slots=True)
class _FreshBinder:
    """Binds an item to new tensors."""

    make: _Make
    options: BindOptions

    def bind(self, item: ItemView) -> BoundItem:
        """Requests for what ``make`` made; ``finish`` gives the nested value."""
        fill = Filling(item, replace(self.options, dtype="cast"), ParamNames(), _no_target)
        value = _Fresh(fill, self.make).value(item.tree, ())
        return fill.result(lambda: value)


@dataclass(frozen=True, slots=True)
class _Whole:
    """Makes the tensors that this rank owns."""

    owners: Mapping[int, int]
    dtype: torch.dtype | None

    def rule(self, fill: Filling, path: Path) -> Placing | None:
        """Names make no difference."""
        del fill, path
        return None

    def __call__(self, fill: Filling, tensor: int, path: Path) -> torch.Tensor | None:
        if self.owners[tensor] != fill.rank:
            return None
        shape, key = fill.item.shape(tensor), fill.key(path)
        stored = torch_dtype(fill.item.dtype(tensor), key)
        new = allocate(shape, _target_dtype(fill, tensor, self.dtype, stored), fill.options.device, key)
        fill.request(tensor, path, ((Region.whole(shape), new),), stored)
        return new


@dataclass(frozen=True, slots=True)
class _Placed:
    """Makes tensors where the rules say."""

    rules: Mapping[str, Placing]
    dtype: torch.dtype | None

    def rule(self, fill: Filling, path: Path) -> Placing | None:
        """The only rule that matches the name."""
        found = self._matches(fill, path)
        return self.rules[found[0]] if len({id(self.rules[pattern]) for pattern in found}) == 1 else None

    def _matches(self, fill: Filling, path: Path) -> list[str]:
        names = (path_text(path), fill.key(path))
        for name in names:
            if name in self.rules:
                return [name]
        return [pattern for pattern in self.rules if any(fnmatchcase(name, pattern) for name in names)]

    def __call__(self, fill: Filling, tensor: int, path: Path) -> torch.Tensor | None:
        rule = self._find(fill, path)
        if rule is None:
            return None
        key = fill.key(path)
        shape = fill.item.shape(tensor)
        stored = torch_dtype(fill.item.dtype(tensor), key)
        dtype = _target_dtype(fill, tensor, self.dtype, stored)
        if isinstance(rule, Declared):
            if rule.shape != shape:
                fill.differs(path, f"regions of {list(rule.shape)} are wanted, the shape is {list(shape)}")
                return None
            new = torch.empty(_memory_shape(rule), dtype=dtype, device=fill.options.device)
            placed = place(new, key, rule)
        else:
            # Torch counts packed elements in pairs.
            packed = dtype is PACKED and PACKED is not None and bool(shape)
            size = (*shape[:-1], shape[-1] // 2) if packed else shape
            new = empty_dtensor(size, dtype, *rule, key=key)
            placed = place(new, key)
        fill.request(tensor, path, placed.parts, stored)
        return new

    def _find(self, fill: Filling, path: Path) -> Placing | None:
        found = self._matches(fill, path)
        if len({id(self.rules[pattern]) for pattern in found}) > 1:
            fill.differs(path, f"several patterns of the target match: {', '.join(sorted(found))}")
            return None
        if not found:
            fill.surprises(path, path_text(path), list(self.rules))
            return None
        return self.rules[found[0]]


def _target_dtype(fill: Filling, tensor: int, wanted: torch.dtype | None, stored: torch.dtype) -> torch.dtype:
    return wanted if wanted is not None and fill.item.dtype(tensor) in FLOATING else stored


def _memory_shape(declared: Declared) -> tuple[int, ...]:
    """The box's own shape for one whole box, else one dimension."""
    if len(declared.regions) == 1 and declared.regions[0].is_whole_run:
        box: Box = declared.regions[0].box
        return box.size
    return (sum(region.elements for region in declared.regions),)


def _no_target(fill: Filling, node: Node, target: Any, path: Path) -> Callable[[], Any]:
    del fill, node, path
    return lambda: target
