"""Optimizers of modules under the first generation of FSDP: through torch's own helpers, gathers included.

Their parameters are flat buffers that only FSDP can take apart. The helpers initialise empty state by a step with a
learning rate of zero, so an optimizer without one is refused while its state is empty, and so is saving empty state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pyckpt.errors import UnsupportedState
from pyckpt.format.tree import Node, Path
from pyckpt.torch.filling import Filling
from pyckpt.torch.optimizer import NOT_OPTIONS, group_ids, optimizer_params
from pyckpt.torch.walk import Walk

__all__ = ["fill_fsdp1", "fsdp1_node"]


def _module_of(optimizer: torch.optim.Optimizer, modules: list[nn.Module], key: str) -> nn.Module:
    held = {id(param) for param in optimizer_params(optimizer)}
    matching = [module for module in modules if any(id(param) in held for param in module.parameters())]
    if len(matching) != 1:
        raise UnsupportedState(
            "state.unsupported",
            f"the optimizer has parameters of {len(matching)} modules under FSDP1; exactly one is supported",
            key=key,
            hint="use one optimizer per module, or fully_shard (FSDP2)",
        )
    return matching[0]


def _has_state(optimizer: torch.optim.Optimizer) -> bool:
    return any(optimizer.state.get(param) for param in optimizer_params(optimizer))


def fsdp1_node(
    walk: Walk, optimizer: torch.optim.Optimizer, modules: list[nn.Module], path: Path
) -> dict[str | int, Node]:
    """The same tree as of any other optimizer."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    key = walk.key(path)
    module = _module_of(optimizer, modules, key)
    if not _has_state(optimizer):
        raise UnsupportedState(
            "state.unsupported",
            "the optimizer of an FSDP1 module has no state yet, and torch can only say so by taking a step",
            key=key,
            hint="save after the first step, leave the optimizer out, or use fully_shard (FSDP2)",
        )
    full: dict[str, Any] = dict(get_optimizer_state_dict(module, optimizer))
    state = {
        fqn: {name: walk.node(walk, value, (*path, "state", fqn, name)) for name, value in values.items()}
        for fqn, values in full["state"].items()
    }
    listed: list[dict[str, Any]] = full["param_groups"]
    groups = {}
    for name, group in zip(group_ids(listed), listed, strict=True):
        where = (*path, "groups", name, "options")
        options = {k: walk.node(walk, v, (*where, k)) for k, v in group.items() if k not in NOT_OPTIONS}
        groups[name] = {"params": frozenset(group["params"]), "options": options}
    return {"state": state, "groups": groups}


def fill_fsdp1(
    fill: Filling, node: Node, optimizer: torch.optim.Optimizer, modules: list[nn.Module], path: Path
) -> Callable[[], torch.optim.Optimizer]:
    """Plans the reads into the state that FSDP1 describes, and hands it back to FSDP1 at the end."""
    from torch.distributed.checkpoint.state_dict import (
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    key = fill.key(path)
    module = _module_of(optimizer, modules, key)
    if not _has_state(optimizer) and any("lr" not in group for group in optimizer.param_groups):
        raise UnsupportedState(
            "state.unsupported",
            "FSDP1 initialises empty optimizer state by a step, and without lr that step would change the weights",
            key=key,
            hint="take one step before loading the optimizer and the model, or use fully_shard (FSDP2)",
        )
    if not isinstance(node, Mapping) or not isinstance(node.get("state"), Mapping):
        fill.differs(path, "the target is an optimizer, the checkpoint has no state and groups here")
        return lambda: optimizer
    full: dict[str, Any] = dict(get_optimizer_state_dict(module, optimizer))
    stored = node["state"]
    for fqn in stored:
        if fqn not in full["state"]:
            fill.surprises((*path, "state", fqn), str(fqn), list(full["state"]))
    for fqn, values in full["state"].items():
        if fqn not in stored:
            fill.misses((*path, "state", fqn), fqn, [str(name) for name in stored])
            continue
        for name in list(values):
            where = (*path, "state", fqn, name)
            if name not in stored[fqn]:
                fill.misses(where, name, [str(other) for other in stored[fqn]])
            elif isinstance(values[name], torch.Tensor):
                fill.tensor(stored[fqn][name], values[name], where)
            else:
                values[name] = fill.fresh(stored[fqn][name], where)
    _options(fill, node.get("groups", {}), full["param_groups"], path)

    def finish() -> torch.optim.Optimizer:
        set_optimizer_state_dict(module, optimizer, full)
        return optimizer

    return finish


def _options(fill: Filling, stored: Mapping[str, Any], groups: list[dict[str, Any]], path: Path) -> None:
    holder = {name: key for key, group in stored.items() for name in group["params"]}
    for group in groups:
        holders = {holder[fqn] for fqn in group["params"] if fqn in holder}
        if len(holders) != 1:
            fill.differs((*path, "groups"), f"a group's parameters are in {len(holders)} groups of the checkpoint")
            continue
        source = holders.pop()
        for key, value in stored[source]["options"].items():
            group[key] = fill.fresh(value, (*path, "groups", source, "options", key))
