"""A model's item into a module: weights in place, extra state through the module's own ``load_state_dict``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pyckpt.errors import Finding
from pyckpt.format.tree import Node, Path, TensorRef, path_text
from pyckpt.torch.compare import MISMATCH
from pyckpt.torch.filling import Filling
from pyckpt.torch.layout import declare
from pyckpt.torch.module import Entry, alias_key, module_entries
from pyckpt.torch.param_names import has_fsdp1
from pyckpt.torch.placed import is_sharded_tensor

__all__ = ["fill_module"]


def fill_module(fill: Filling, node: Node, module: nn.Module, path: Path) -> Callable[[], nn.Module]:
    """Plans the reads into ``module``; what it returns finishes the load and gives the module back."""
    if not isinstance(node, Mapping):
        fill.differs(path, f"the target is a module, the checkpoint has a {type(node).__name__}")
        return lambda: module
    entries = module_entries(module)
    wanted = {name: fill.stored_name(name) for name in entries}
    expected = set(wanted.values())
    for key in node:
        if key not in expected:
            fill.surprises((*path, key), str(key), list(entries))
    rest: dict[str, Any] = {}
    done: dict[Any, object] = {}
    absent: list[str] = []
    for name, entry in entries.items():
        stored = wanted[name]
        if stored not in node:
            absent.append(name)
        elif isinstance(entry.value, torch.Tensor):
            _fill_entry(fill, node[stored], entry, (*path, name), done=done, rest=rest)
        else:
            rest[entry.raw] = fill.fresh(node[stored], (*path, stored))
    for name in absent:
        value = entries[name].value
        # A checkpoint that keeps one name of tied weights (as most published models do) is complete.
        if not (isinstance(value, torch.Tensor) and alias_key(value) in done):
            fill.misses((*path, name), wanted[name], [str(key) for key in node])
    return lambda: _finish(module, rest)


def _fill_entry(
    fill: Filling, node: Node, entry: Entry, where: Path, *, done: dict[Any, object], rest: dict[str, Any]
) -> None:
    identity = alias_key(entry.value)
    if identity in done:
        if node != done[identity] and isinstance(node, TensorRef):
            fill.bound.skipped.append(
                Finding(MISMATCH, path_text(where), "tied to a name that was filled already from a tensor of its own")
            )
        return
    done[identity] = node
    if not entry.own:
        # Made by the module or its hooks for this call alone: filling it and handing it back is loading it.
        value = entry.value if is_sharded_tensor(entry.value) else torch.empty_like(entry.value)
        fill.tensor(node, value, where)
        rest[entry.raw] = value
        return
    fill.tensor(node, entry.value, where, declared=declare(fill.options.layout, fill.item.name, where, entry.value))


def _finish(module: nn.Module, rest: Mapping[str, Any]) -> nn.Module:
    if rest and has_fsdp1(module):
        from torch.distributed.checkpoint.state_dict import set_model_state_dict

        set_model_state_dict(module, dict(rest))
    elif rest:
        # Only extra state and what the module's hooks made up; weights are in place already.
        module.load_state_dict(dict(rest), strict=False)
    return module
