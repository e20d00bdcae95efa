"""What is known while one item's state is turned into leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pyckpt.engine.leaves import TensorLeaf
from pyckpt.errors import UnsupportedState
from pyckpt.format.tree import Flattened, Node, Path, path_text
from pyckpt.torch.layout import Declared, Layout, LocalShard, declare
from pyckpt.torch.leaf import LeafMaker
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.placed import PLAIN_TENSORS, is_flattenable

__all__ = ["Walk"]


@dataclass(frozen=True, slots=True)
class Walk:
    """One pass over one item on one rank."""

    item: str
    rank: int
    world_size: int
    names: ParamNames
    layout: Layout | None
    node: Callable[[Walk, Any, Path], Node]
    """Turns any value into a node of the tree; it dispatches, and so closes the recursion between the modules."""
    maker: LeafMaker
    declared_params: Mapping[int, Declared] = field(default_factory=dict)
    """``id(parameter)`` -> its declared layout, which the optimizer's state follows."""
    alone: bool = False
    """Within a per-rank value: what is here is nowhere else."""
    open_objects: list[int] = field(default_factory=list)
    """Ids of the containers that are being walked, to find a cycle before it overflows."""

    def by_itself(self) -> Walk:
        """The same walk within a per-rank value."""
        return replace(self, alone=True)

    def key(self, path: Path) -> str:
        """The path as messages show it, with the item first."""
        return path_text((self.item, *path))

    def refuse(self, path: Path, message: str, hint: str = "") -> UnsupportedState:
        """The error for a value that the format can't say."""
        return UnsupportedState("state.unsupported", message, key=self.key(path), hint=hint)

    def tensor(
        self, tensor: torch.Tensor, path: Path, *, declared: Declared | None = None, owner: bool | None = None
    ) -> TensorLeaf | Flattened:
        """The leaf of a tensor; a subclass made of inner tensors as those and its attributes."""
        if not self.layout and declared is None and type(tensor) in PLAIN_TENSORS:
            return self.maker.leaf(tensor, path, alone=self.alone, owner=owner)
        if is_flattenable(tensor):
            names, attributes = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
            inner = {
                name: self.tensor(getattr(tensor, name), (*path, "inner", name), owner=owner) for name in names
            }
            try:
                node = self.node(self, attributes, (*path, "attributes"))
            except UnsupportedState as error:
                raise self.refuse(
                    path,
                    f"{type(tensor).__name__} has attributes that are not plain data: {error.message}",
                    "save its inner tensors by hand, or dequantise it",
                ) from error
            return Flattened(inner, node)
        if declared is None:
            declared = declare(self.layout, self.item, path, tensor)
        return self.maker.leaf(tensor, path, declared=declared, alone=self.alone, owner=owner)

    def local_shard(self, shard: LocalShard, path: Path) -> TensorLeaf:
        """The leaf of a tensor that was marked as a box of a bigger one."""
        return self.maker.leaf(shard.tensor, path, declared=shard.declared(self.key(path)), alone=self.alone)
