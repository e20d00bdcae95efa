"""State into items of leaves: the way of everything that is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pyckpt.engine.leaves import ItemState
from pyckpt.errors import UsageError
from pyckpt.format.tree import Indexed, Node, Path
from pyckpt.torch.kinds import kind_of
from pyckpt.torch.layout import Layout, LocalShard
from pyckpt.torch.leaf import KnownLeaves, LeafMaker
from pyckpt.torch.module import declared_params, module_node
from pyckpt.torch.optimizer import NamedOptimizer, optimizer_node
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.per_rank import PerRank
from pyckpt.torch.rng import RNG, rng_node
from pyckpt.torch.values import has_state, plain_node
from pyckpt.torch.walk import Walk

__all__ = ["VALUE", "collect"]

VALUE = "value"
"""The one name in the tree of an item whose value is not a map by itself."""


def collect(
    state: Mapping[str, object],
    *,
    rank: int = 0,
    world_size: int = 1,
    layout: Layout | None = None,
    seen: KnownLeaves | None = None,
) -> tuple[ItemState, ...]:
    """The items of ``state`` as this rank sees them; nothing is copied, stepped or changed.

    Values are modules, optimizers, schedulers, anything with ``state_dict()`` and ``load_state_dict()``,
    ``pyckpt.RNG()``, ``pyckpt.per_rank(...)``, or nested plain state. Local, except for modules under FSDP1.
    ``seen`` keeps leaves from one call to the next.
    """
    if not isinstance(state, Mapping):
        raise UsageError("usage.invalid", f"state is a {type(state).__name__}, not a mapping of item name to value")
    if seen is not None:
        seen.begin()
    names = ParamNames.of(state)
    declared = declared_params(names, layout)
    items = []
    for item, value in state.items():
        walk = Walk(item, rank, world_size, names, layout, _node, LeafMaker(item, seen), declared)
        kind = kind_of(value)
        if kind == "dataloader" and not isinstance(value, PerRank):
            value = PerRank(value)  # noqa: PLW2901
        node = _node(walk, value, ())
        tree = node if isinstance(node, dict) else {VALUE: node}
        items.append(ItemState(item, kind, tree))
    return tuple(items)


def _node(walk: Walk, value: Any, path: Path) -> Node:
    if isinstance(value, (torch.Tensor, str, int, float)) or value is None:
        return plain_node(walk, value, path)
    if isinstance(value, nn.Module):
        return module_node(walk, value, path)
    if isinstance(value, torch.optim.Optimizer):
        return optimizer_node(walk, value, path)
    if isinstance(value, NamedOptimizer):
        return optimizer_node(walk, value.optimizer, path, walk.names.only(value.module))
    if isinstance(value, RNG):
        return rng_node(walk, value, path)
    if isinstance(value, LocalShard):
        return walk.local_shard(value, path)
    if isinstance(value, PerRank):
        index, size = value.coordinate(walk.rank, walk.world_size, walk.key(path))
        return Indexed(value.axis, size, {index: _node(walk.by_itself(), value.value, _indexed(path, index))})
    if has_state(value) and not isinstance(value, Mapping):
        return plain_node(walk, value.state_dict(), path)
    return plain_node(walk, value, path)


def _indexed(path: Path, index: int) -> Path:
    return (*path, index) if path else (VALUE, index)
