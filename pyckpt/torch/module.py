"""Modules as maps from fully qualified names to leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from pyckpt.format.tree import Node, Path
from pyckpt.torch.layout import Declared, Layout, declare
from pyckpt.torch.leaf import memory_key
from pyckpt.torch.param_names import ParamNames, clean_names, ddp_prefixes, has_fsdp1, raw_state
from pyckpt.torch.placed import is_sharded_tensor
from pyckpt.torch.walk import Walk

__all__ = ["Entry", "alias_key", "declared_params", "module_entries", "module_node"]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One name of a module's state."""

    raw: str
    """Its name in the module's own ``state_dict``."""
    value: Any
    own: bool
    """True if it is a parameter or buffer of the module, so that filling it in place is loading it."""
    owner: bool | None = None
    """For a buffer under DDP: is this the rank whose copy counts? None for everything else."""


def module_entries(module: nn.Module) -> dict[str, Entry]:
    """Clean name -> entry, in the order of ``state_dict``. Collective for FSDP1, local for everything else."""
    if has_fsdp1(module):
        # FSDP1 keeps flat parameters; what they stand for only torch's own helper can say.
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        return {name: Entry(name, value, own=False) for name, value in get_model_state_dict(module).items()}
    raw = raw_state(module)
    own = _own(module)
    clean = clean_names(module, raw)
    owners = _ddp_buffers(module)
    return {
        clean[name]: Entry(name, value, _is_own(value, own), owners.get(id(value))) for name, value in raw.items()
    }


def _own(module: nn.Module) -> set[Any]:
    held: set[Any] = set()
    for tensor in (*module.parameters(), *module.buffers()):
        held.add(id(tensor))
    return held


def _is_own(value: Any, own: set[Any]) -> bool:
    return isinstance(value, torch.Tensor) and id(value) in own


def _ddp_buffers(module: nn.Module) -> dict[int, bool]:
    """``id(buffer)`` -> is this rank the one whose copy counts, for buffers that DDP broadcasts."""
    out: dict[int, bool] = {}
    for part in ddp_prefixes(module).values():
        if not part.broadcast_buffers:
            continue
        owner = min(dist.get_process_group_ranks(part.process_group)) == dist.get_rank()
        for buffer in part.buffers():
            out[id(buffer)] = owner
    return out


def module_node(walk: Walk, module: nn.Module, path: Path = ()) -> dict[str | int, Node]:
    """FQN -> leaf, and the nodes of extra state. Weights are read, never changed."""
    out: dict[str | int, Node] = {}
    for name, entry in module_entries(module).items():
        where = (*path, name)
        if isinstance(entry.value, torch.Tensor):
            out[name] = walk.tensor(entry.value, where, owner=entry.owner)
        else:
            out[name] = walk.node(walk, entry.value, where)
    return out


def declared_params(names: ParamNames, layout: Layout | None) -> dict[int, Declared]:
    """``id(parameter)`` -> declared layout, over all modules of the call."""
    out: dict[int, Declared] = {}
    if layout is not None:
        for item, module in names.modules.items():
            if has_fsdp1(module):
                continue
            for name, entry in module_entries(module).items():
                found = declare(layout, item, (name,), entry.value) if isinstance(entry.value, torch.Tensor) else None
                if found is not None:
                    out[id(entry.value)] = found
    return out


def alias_key(tensor: torch.Tensor) -> Any:
    """Equal for two entries that are one tensor."""
    if hasattr(tensor, "__tensor_flatten__") or is_sharded_tensor(tensor):
        return id(tensor)
    return memory_key(tensor) or id(tensor)
