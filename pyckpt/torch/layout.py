"""What the caller declares about plain tensors that are parts of a bigger one (expert or hand-written parallelism)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch

from pyckpt.errors import UsageError
from pyckpt.format.geometry import Box, Ints, Region, region_problem
from pyckpt.format.tree import Path, path_text

__all__ = ["Declared", "Layout", "LayoutRule", "LocalShard", "Shard", "check_declared", "declare", "local_shard"]


@dataclass(frozen=True, slots=True)
class Shard:
    """The tensor is part ``index`` of ``count`` along ``dim``, cut like ``torch.chunk``."""

    dim: int
    index: int
    count: int
    size: int | None = None
    """Size of the whole along ``dim``; None: ``count`` parts as large as this one."""
    group: tuple[int, ...] | None = None
    """Global ranks that hold this very part, including this one; None: nobody else does."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Regions of the global tensor that lie one after the other in the row-major memory of the local one."""

    shape: Ints
    regions: tuple[Region, ...]
    group: tuple[int, ...] = ()
    """Global ranks that hold the same; ``()``: nobody else does."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalShard:
    """A tensor that is the box at ``offset`` of a global tensor; stands in a mapping in the place of the tensor."""

    tensor: torch.Tensor
    global_shape: Ints
    offset: Ints
    group: tuple[int, ...] = ()
    """Global ranks that hold this very box, including this one; ``()``: nobody else does."""

    def declared(self, key: str) -> Declared:
        """The same as a declaration. ``UsageError`` (state.layout) if the box is outside of the global shape."""
        box = Box(self.offset, tuple(self.tensor.shape))
        regions = (Region.of_box(box),) if self.tensor.numel() else ()
        return check_declared(Declared(self.global_shape, regions, self.group), self.tensor, key)


LayoutRule: TypeAlias = Shard | Declared
Layout: TypeAlias = (
    Mapping[str, Mapping[str, LayoutRule]] | Callable[[Path, torch.Tensor], LayoutRule | None]
)
"""``{item: {FQN pattern: rule}}`` with ``fnmatch`` patterns, or a function of (path with the item first, tensor)."""


def local_shard(
    tensor: torch.Tensor, global_shape: Ints, offset: Ints, *, group: tuple[int, ...] = ()
) -> LocalShard:
    """Marks a plain tensor as the box at ``offset`` of a tensor of ``global_shape``."""
    return LocalShard(tensor, tuple(global_shape), tuple(offset), tuple(group))


def declare(layout: Layout | None, item: str, path: Path, tensor: torch.Tensor) -> Declared | None:
    """What ``layout`` says of the tensor at ``path`` of ``item``, checked; None if nothing.

    ``UsageError`` (state.layout) if it doesn't fit the tensor.
    """
    rule = _find(layout, item, path, tensor)
    if rule is None:
        return None
    key = path_text((item, *path))
    if isinstance(rule, Shard):
        return _from_shard(rule, tensor, key)
    return check_declared(rule, tensor, key)


def check_declared(declared: Declared, tensor: torch.Tensor, key: str) -> Declared:
    """``declared`` again, after its regions were checked against the shape and the number of elements."""
    held = 0
    for region in declared.regions:
        problem = region_problem(region, declared.shape)
        if problem:
            raise UsageError("state.layout", problem, key=key)
        held += region.elements
    if held != tensor.numel():
        raise UsageError(
            "state.layout",
            f"the declared regions have {held} elements, the tensor of shape {tuple(tensor.shape)} {tensor.numel()}",
            key=key,
            hint="declare the regions of the memory that this rank holds, in its order",
        )
    return declared


def _find(layout: Layout | None, item: str, path: Path, tensor: torch.Tensor) -> LayoutRule | None:
    if layout is None:
        return None
    if callable(layout):
        return layout((item, *path), tensor)
    rules = layout.get(item)
    if not rules:
        return None
    name = path_text(path)
    exact = rules.get(name)
    if exact is not None:
        return exact
    found = {pattern: rule for pattern, rule in rules.items() if fnmatchcase(name, pattern)}
    if len(set(found.values())) > 1:
        raise UsageError(
            "state.layout",
            f"several patterns of the layout match: {', '.join(sorted(found))}",
            key=path_text((item, *path)),
            hint="make the patterns exclusive, or give the full name",
        )
    return next(iter(found.values()), None)


def _from_shard(rule: Shard, tensor: torch.Tensor, key: str) -> Declared:
    shape = tuple(tensor.shape)
    if not -len(shape) <= rule.dim < len(shape) or not 0 <= rule.index < rule.count:
        raise UsageError("state.layout", f"{rule} does not fit a tensor of shape {shape}", key=key)
    dim = rule.dim % len(shape)
    total = shape[dim] * rule.count if rule.size is None else rule.size
    part = -(-total // rule.count)
    start, stop = min(total, part * rule.index), min(total, part * (rule.index + 1))
    if stop - start != shape[dim]:
        raise UsageError(
            "state.layout",
            f"part {rule.index} of {rule.count} of {total} is {stop - start} along dimension {dim}, not {shape[dim]}",
            key=key,
            hint="give the size of the whole as Shard(size=...), or use pyckpt.local_shard",
        )
    whole = (*shape[:dim], total, *shape[dim + 1 :])
    offset = tuple(start if d == dim else 0 for d in range(len(shape)))
    regions = (Region.of_box(Box(offset, shape)),) if tensor.numel() else ()
    return Declared(whole, regions, tuple(rule.group or ()))
