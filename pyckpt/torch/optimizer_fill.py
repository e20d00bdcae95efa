"""An optimizer's item into an optimizer: state is made where it is missing, options are set, no step is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from pyckpt.format.tree import Node, Path, TensorRef
from pyckpt.torch.dtypes import torch_dtype
from pyckpt.torch.filling import Filling
from pyckpt.torch.optimizer import NOT_OPTIONS, fsdp1_modules, group_ids, optimizer_params
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.placed import is_dtensor, place

__all__ = ["KEPT_OPTIONS", "fill_optimizer"]

KEPT_OPTIONS: Final = ("foreach", "fused", "capturable", "differentiable")
"""Options that say how a step is computed on this machine, not what it computes; the target keeps its own."""


def fill_optimizer(
    fill: Filling, node: Node, optimizer: torch.optim.Optimizer, path: Path, names: ParamNames | None = None
) -> Callable[[], torch.optim.Optimizer]:
    """Plans the reads into ``optimizer``; what it returns sets options and new state and gives the optimizer back."""
    names = fill.names if names is None else names
    wrapped = fsdp1_modules(names)
    if wrapped:
        from pyckpt.torch.fsdp1 import fill_fsdp1

        return fill_fsdp1(fill, node, optimizer, wrapped, path)
    state, groups = _parts(node)
    if state is None or groups is None:
        fill.differs(path, "the target is an optimizer, the checkpoint has no state and groups here")
        return lambda: optimizer
    for problem in _membership(state, groups):
        fill.differs(path, problem)
    fqns = {
        param: tuple(fill.stored_name(name) for name in own)
        for param, own in names.names_of(optimizer_params(optimizer), fill.key(path)).items()
    }
    new_state = _bind_state(fill, state, optimizer, fqns, path)
    options = _bind_groups(fill, groups, optimizer, fqns, path)
    extra = {key: value for key, value in optimizer.state.items() if isinstance(key, str)}
    stored_extra = node.get("extra", {})
    for key in stored_extra:
        extra[key] = fill.fresh(stored_extra[key], (*path, "extra", key))

    def finish() -> torch.optim.Optimizer:
        optimizer.state.clear()
        optimizer.state.update(new_state)
        optimizer.state.update(extra)
        for step in options:
            step()
        return optimizer

    return finish


def _membership(state: Mapping[Any, Any], groups: Mapping[Any, Any]) -> list[str]:
    """Parameters that are in several groups, or have state and are in none."""
    counts = Counter(name for group in groups.values() for name in group["params"])
    problems = [f"the parameter {name!r} is in {count} groups" for name, count in counts.items() if count > 1]
    return problems + [f"the parameter {name!r} has state and is in no group" for name in state if name not in counts]


def _parts(node: Node) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    if not isinstance(node, Mapping):
        return None, None
    state, groups = node.get("state"), node.get("groups")
    well_formed = (
        isinstance(state, Mapping)
        and isinstance(groups, Mapping)
        and all(isinstance(value, Mapping) for value in state.values())
        and all(
            isinstance(group, Mapping)
            and isinstance(group.get("params"), frozenset)
            and isinstance(group.get("options"), Mapping)
            for group in groups.values()
        )
        and isinstance(node.get("extra", {}), Mapping)
    )
    return (state, groups) if well_formed else (None, None)


def _bind_state(
    fill: Filling,
    stored: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    fqns: Mapping[int, tuple[str, ...]],
    path: Path,
) -> dict[Any, Any]:
    known = {name for own in fqns.values() for name in own}
    for name in stored:
        if name not in known:
            fill.surprises((*path, "state", name), str(name), known)
    out: dict[Any, Any] = {}
    for group in optimizer.param_groups:
        on_device = bool(group.get("capturable") or group.get("fused"))
        for param in group["params"]:
            name = next((name for name in fqns[id(param)] if name in stored), "")
            if not name:
                continue
            current = optimizer.state.get(param, {})
            out[param] = {
                key: _bind_value(fill, value, param, current.get(key), (*path, "state", name, key), on_device=on_device)
                for key, value in stored[name].items()
            }
    return out


def _bind_value(fill: Filling, node: Node, param: torch.Tensor, current: Any, path: Path, *, on_device: bool) -> Any:
    if not isinstance(node, TensorRef):
        if isinstance(current, torch.Tensor) and hasattr(current, "__tensor_flatten__"):
            fill.tensor(node, current, path)
            return current
        return fill.fresh(node, path)
    key = fill.key(path)
    shape = fill.item.shape(node.index)
    declared = fill.declared_params.get(id(param))
    like_param = place(param, key, declared).shape == shape
    layout = declared if like_param else None
    if isinstance(current, torch.Tensor):
        fill.tensor(node, current, path, declared=layout if current.shape == param.shape else None)
        return current
    if like_param and (declared is not None or is_dtensor(param)):
        dtype = torch_dtype(fill.item.dtype(node.index), key)
        with torch.no_grad():
            new = torch.empty_like(param.detach(), dtype=dtype)
        fill.tensor(node, new, path, declared=layout)
        return new
    # The step count lives on the host unless the update itself runs from it on the device.
    device: torch.device | str = "cpu" if path[-1] == "step" and not on_device else param.device
    return fill.fresh_tensor(node, path, device)


def _bind_groups(
    fill: Filling,
    stored: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    fqns: Mapping[int, tuple[str, ...]],
    path: Path,
) -> list[Callable[[], object]]:
    holder = {name: key for key, group in stored.items() for name in group["params"]}
    steps: list[Callable[[], object]] = []
    spread: dict[Any, str] = {}
    for name, group in zip(group_ids(optimizer.param_groups), optimizer.param_groups, strict=True):
        where = (*path, "groups", name)
        holders = {holder[fqn] for param in group["params"] for fqn in fqns[id(param)] if fqn in holder}
        if len(holders) > 1:
            fill.differs(where, f"its parameters are in several groups of the checkpoint: {sorted(map(str, holders))}")
            continue
        source = next(iter(holders), name if not group["params"] else None)
        if source is None or source not in stored:
            fill.misses(where, name, [str(key) for key in stored])
            continue
        if source in spread and group["params"]:
            other = spread[source]
            fill.differs((*path, "groups", source), f"its parameters are in the groups {other!r} and {name!r} here")
            continue
        if group["params"]:
            spread[source] = name
        for param in group["params"]:
            if not any(fqn in holder for fqn in fqns[id(param)]):
                fqn = fqns[id(param)][0]
                fill.misses((*where, "params", fqn), fqn, [str(known) for known in holder])
        for key, node in stored[source]["options"].items():
            if key not in KEPT_OPTIONS and key not in NOT_OPTIONS:
                steps.append(_bind_option(fill, node, group, key, (*path, "groups", source, "options", key)))
    return steps


def _bind_option(fill: Filling, node: Node, group: dict[str, Any], key: Any, path: Path) -> Callable[[], object]:
    current = group.get(key)
    if isinstance(current, torch.Tensor):
        if isinstance(node, TensorRef):
            # The tensor itself may be in a captured graph or a scheduler's hands: it stays, its value changes.
            fill.tensor(node, current, path)
            return lambda: None
        if isinstance(node, (int, float)):
            return lambda: current.fill_(node)
    value = fill.fresh(node, path)
    if isinstance(value, torch.Tensor) and isinstance(current, (int, float)) and value.ndim == 0:
        return lambda: group.__setitem__(key, value.item())
    return lambda: group.__setitem__(key, value)
