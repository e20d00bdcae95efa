"""Optimizers as ``state/<fqn>/<name>`` and groups, read where they lie: no step is ever taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from pyckpt.errors import UnsupportedState
from pyckpt.format.tree import Node, Path
from pyckpt.torch.param_names import ParamNames, has_fsdp1
from pyckpt.torch.walk import Walk

__all__ = [
    "NOT_OPTIONS",
    "NamedOptimizer",
    "fsdp1_modules",
    "group_ids",
    "optimizer_node",
    "optimizer_params",
    "with_model",
]

NOT_OPTIONS: Final = ("params", "param_names")
"""Members of a parameter group that say which parameters it has."""


@dataclass(frozen=True, slots=True, eq=False)
class NamedOptimizer:
    """An optimizer and the module whose parameters it has, where the module isn't in the same state."""

    optimizer: torch.optim.Optimizer
    module: nn.Module


def with_model(optimizer: torch.optim.Optimizer, module: nn.Module) -> NamedOptimizer:
    """Names the optimizer's parameters by ``module``; needed only if the module is not saved in the same call."""
    return NamedOptimizer(optimizer, module)


def optimizer_params(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """All parameters, group by group."""
    return [param for group in optimizer.param_groups for param in group["params"]]


def group_ids(groups: Iterable[dict[str, Any]]) -> list[str]:
    """One id for each group: its ``name`` if that is a string no other group has, else its number."""
    listed = list(groups)
    names = [group.get("name") for group in listed]
    taken = {name for name in names if isinstance(name, str) and names.count(name) == 1}
    out = []
    for number, name in enumerate(names):
        if isinstance(name, str) and name in taken:
            out.append(name)
        else:
            plain = str(number)
            while plain in taken:
                plain = "#" + plain
            out.append(plain)
    return out


def fsdp1_modules(names: ParamNames) -> list[nn.Module]:
    """The modules that the first generation of FSDP wraps."""
    return [module for module in names.modules.values() if has_fsdp1(module)]


def optimizer_node(
    walk: Walk, optimizer: torch.optim.Optimizer, path: Path = (), names: ParamNames | None = None
) -> dict[str | int, Node]:
    """``{"state": {fqn: {name: node}}, "groups": {id: {"params", "options"}}}``.

    Parameters that were never stepped have no state, and get none.
    """
    names = walk.names if names is None else names
    wrapped = fsdp1_modules(names)
    if wrapped:
        from pyckpt.torch.fsdp1 import fsdp1_node

        return fsdp1_node(walk, optimizer, wrapped, path)
    fqns = names.names_of(optimizer_params(optimizer), walk.key(path))
    state: dict[str | int, Node] = {}
    extra: dict[str | int, Node] = {}
    for owner, values in optimizer.state.items():
        if isinstance(owner, torch.Tensor):
            if id(owner) not in fqns:
                raise walk.refuse(
                    path, "state of a tensor that is in none of the groups", "remove it from optimizer.state"
                )
            fqn = fqns[id(owner)][0]
            if values:
                state[fqn] = _param_state(walk, owner, values, (*path, "state", fqn))
        elif isinstance(owner, str):
            extra[owner] = walk.node(walk, values, (*path, "extra", owner))
        else:
            raise walk.refuse(path, f"state under the key {owner!r}", "keys of optimizer.state are parameters or str")
    groups: dict[str | int, Node] = {}
    for name, group in zip(group_ids(optimizer.param_groups), optimizer.param_groups, strict=True):
        where = (*path, "groups", name, "options")
        options = {
            key: walk.node(walk, value, (*where, key)) for key, value in group.items() if key not in NOT_OPTIONS
        }
        members = frozenset(fqns[id(param)][0] for param in group["params"])
        groups[name] = {"params": members, "options": options}
    out: dict[str | int, Node] = {"state": state, "groups": groups}
    if extra:
        out["extra"] = extra
    return out


def _param_state(walk: Walk, param: torch.Tensor, values: Any, path: Path) -> Node:
    if not isinstance(values, dict):
        raise UnsupportedState(
            "state.unsupported", f"a parameter's state is a {type(values).__name__}, not a dict", key=walk.key(path)
        )
    # A parameter whose layout is declared has moments of the same layout.
    declared = walk.declared_params.get(id(param))
    out: dict[str | int, Node] = {}
    for name, value in values.items():
        where = (*path, name)
        if declared is not None and isinstance(value, torch.Tensor) and value.shape == param.shape:
            out[name] = walk.tensor(value, where, declared=declared)
        else:
            out[name] = walk.node(walk, value, where)
    return out
