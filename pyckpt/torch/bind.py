"""Items of a checkpoint onto targets: the way of everything that is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import numpy as np
import torch
from torch import nn

from pyckpt.engine.leaves import BoundItem, ItemView
from pyckpt.errors import UsageError
from pyckpt.format.tree import Indexed, Node, Path, TensorRef, path_text
from pyckpt.torch.collect import VALUE
from pyckpt.torch.filling import BindOptions, Filling
from pyckpt.torch.kinds import kind_of
from pyckpt.torch.layout import LocalShard, declare
from pyckpt.torch.module import declared_params
from pyckpt.torch.module_fill import fill_module
from pyckpt.torch.optimizer import NamedOptimizer
from pyckpt.torch.optimizer_fill import fill_optimizer
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.per_rank import PerRank, pick
from pyckpt.torch.placed import PLAIN_TENSORS
from pyckpt.torch.rng import RNG, rng_filler
from pyckpt.torch.values import array_tensor, has_state

__all__ = ["BindOptions", "FreshBinder", "ObjectBinder", "binders"]


class ObjectBinder:
    """Binds one item to one object."""

    def __init__(self, target: Any, names: ParamNames, options: BindOptions) -> None:
        self.target = target
        self.names = names
        self.options = options

    def bind(self, item: ItemView) -> BoundItem:
        """Requests, findings and the last step for ``item``."""
        fill = Filling(item, self.options, self.names, _fill, declared_params(self.names, self.options.layout))
        target = self.target
        if kind_of(target) == "dataloader" and not isinstance(target, PerRank):
            target = PerRank(target)
        node: Node = item.tree
        path: Path = ()
        # The tree of an item is a map; a value that is none lies under one name.
        if set(item.tree) == {VALUE} and (isinstance(target, PerRank) or not isinstance(target, (Mapping, nn.Module))):
            node, path = item.tree[VALUE], (VALUE,)
        finish = _fill(fill, node, target, path)
        return fill.result(finish)


class FreshBinder:
    """Binds any item to new tensors on ``device``: nested plain values, as the tree has them."""

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.device = device

    def bind(self, item: ItemView) -> BoundItem:
        """Requests for every tensor; ``finish`` returns the nested value."""
        fill = Filling(item, BindOptions(device=self.device), ParamNames(), _fill)
        value = fill.fresh(item.tree, ())
        if set(item.tree) == {VALUE} and not isinstance(item.tree[VALUE], (TensorRef, Mapping)):
            value = value[VALUE]
        return fill.result(lambda: value)


def binders(into: Mapping[str, object], options: BindOptions | None = None) -> dict[str, ObjectBinder]:
    """A binder for every item named in ``into``: modules, optimizers, schedulers, ``RNG()``, and mappings."""
    if not isinstance(into, Mapping):
        raise UsageError("usage.invalid", f"into is a {type(into).__name__}, not a mapping of item name to target")
    used = BindOptions() if options is None else options
    names = ParamNames.of(into)
    return {item: ObjectBinder(target, names, used) for item, target in into.items()}


def _fill(fill: Filling, node: Node, target: Any, path: Path) -> Callable[[], Any]:
    if isinstance(target, nn.Module):
        return fill_module(fill, node, target, path)
    if isinstance(target, torch.optim.Optimizer):
        return fill_optimizer(fill, node, target, path)
    if isinstance(target, NamedOptimizer):
        inner = fill_optimizer(fill, node, target.optimizer, path, fill.names.only(target.module))
        return lambda: (inner(), target)[1]
    if isinstance(target, RNG):
        return rng_filler(fill, node, target, path)
    if isinstance(target, PerRank):
        return _fill_per_rank(fill, node, target, path)
    if isinstance(target, LocalShard):
        fill.tensor(node, target.tensor, path, declared=target.declared(fill.key(path)))
        return lambda: target
    if isinstance(target, torch.Tensor):
        fill.tensor(node, target, path, declared=declare(fill.options.layout, fill.item.name, path, target))
        return lambda: target
    if isinstance(target, np.ndarray):
        return _fill_array(fill, node, target, path)
    if has_state(target) and not isinstance(target, Mapping):
        return _fill_state_dict(fill, node, target, path)
    if isinstance(target, Mapping):
        return _fill_mapping(fill, node, target, path)
    if isinstance(target, (list, tuple)) and type(node) is type(target) and len(node) == len(target):
        return _fill_sequence(fill, node, target, path)
    if isinstance(node, Mapping) and target is not None:
        fill.differs(path, f"the checkpoint has a map where the target has a {type(target).__name__}")
        return lambda: target
    value = fill.fresh(node, path)
    return lambda: value


def _fill_per_rank(fill: Filling, node: Node, target: PerRank, path: Path) -> Callable[[], Any]:
    key = fill.key(path)
    if not isinstance(node, Indexed):
        fill.differs(path, f"the target is one per {target.axis}, the checkpoint has a {type(node).__name__}")
        return lambda: target
    index, size = target.coordinate(fill.rank, fill.world_size, key)
    value, finding = pick(node, index, size, fill.resize_rule(target.on_resize), path_text(path), axis=target.axis)
    if finding is not None:
        fill.bound.findings.append(finding)
        return lambda: target
    return _fill(fill, value, target.value, (*path, index))


def _fill_array(fill: Filling, node: Node, target: np.ndarray[Any, Any], path: Path) -> Callable[[], Any]:
    shared = array_tensor(target, shared=True)
    if shared is None:
        fill.differs(path, f"an array of dtype {target.dtype} that is read-only, reversed or foreign can't be filled")
    else:
        fill.tensor(node, shared, path)
    return lambda: target


def _fill_state_dict(fill: Filling, node: Node, target: Any, path: Path) -> Callable[[], Any]:
    value = fill.fresh(node, path)

    def finish() -> Any:
        target.load_state_dict(value)
        return target

    return finish


def _fill_mapping(fill: Filling, node: Node, target: Mapping[Any, Any], path: Path) -> Callable[[], Any]:
    if not isinstance(node, Mapping):
        fill.differs(path, f"the target is a mapping, the checkpoint has a {type(node).__name__}")
        return lambda: target
    if not target and isinstance(target, MutableMapping):
        # An empty mapping asks for everything that there is.
        value = fill.fresh(node, path)
        return lambda: (target.update(value), target)[1]
    texts = [str(key) for key in node]
    steps = {}
    for key, inner in target.items():
        if key in node:
            if type(inner) in PLAIN_TENSORS and not fill.options.layout:
                fill.tensor(node[key], inner, (*path, key))
                continue
            steps[key] = _fill(fill, node[key], inner, (*path, key))
        else:
            fill.misses((*path, key), str(key), texts)
    names = [str(name) for name in target]
    for key in node:
        if key not in target:
            fill.surprises((*path, key), str(key), names)

    def finish() -> Any:
        values = {key: step() for key, step in steps.items()}
        if isinstance(target, MutableMapping):
            for key, value in values.items():
                target[key] = value
        return target

    return finish


def _fill_sequence(fill: Filling, node: Any, target: Any, path: Path) -> Callable[[], Any]:
    steps = [_fill(fill, inner, old, (*path, i)) for i, (inner, old) in enumerate(zip(node, target, strict=True))]

    def finish() -> Any:
        values = [step() for step in steps]
        if isinstance(target, list):
            target[:] = values
            return target
        return tuple(values)

    return finish
