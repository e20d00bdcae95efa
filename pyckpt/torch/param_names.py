"""Fully qualified names of a module's state, free of what wrappers add, and which parameter has which name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pyckpt.errors import UsageError

__all__ = ["ParamNames", "clean_names", "ddp_prefixes", "has_fsdp1", "raw_state"]

_WRAPPERS = frozenset({"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"})


def has_fsdp1(module: nn.Module) -> bool:
    """True if any part of the module is wrapped by the first generation of FSDP."""
    loaded = sys.modules.get("torch.distributed.fsdp")
    if loaded is None:
        return False
    wrapper = loaded.FullyShardedDataParallel
    return any(isinstance(part, wrapper) for part in module.modules())


def ddp_prefixes(module: nn.Module) -> dict[str, nn.parallel.DistributedDataParallel]:
    """Raw prefixes (``""`` or ending in a dot) of the DDP wrappers in the module."""
    kind = nn.parallel.DistributedDataParallel
    return {
        name + "." if name else "": part
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, kind)
    }


def clean_names(module: nn.Module, raw: Iterable[str]) -> dict[str, str]:
    """Raw name -> name without wrapper segments. ``UsageError`` if two become one."""
    prefixes = ddp_prefixes(module)
    out: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name in raw:
        clean = _clean(name, prefixes)
        other = seen.setdefault(clean, name)
        if other != name:
            raise UsageError(
                "usage.invalid", f"{other!r} and {name!r} are the same name without their wrappers", key=clean
            )
        out[name] = clean
    return out


def _clean(name: str, ddp: Mapping[str, Any]) -> str:
    if not ddp and "_" not in name:
        return name
    kept = []
    position = 0
    for segment in name.split("."):
        wrapper = segment in _WRAPPERS or (segment == "module" and name[:position] in ddp)
        if not wrapper:
            kept.append(segment)
        position += len(segment) + 1
    return ".".join(kept)


def raw_state(module: nn.Module) -> dict[str, Any]:
    """``state_dict`` with the parameters and buffers themselves, under raw names.

    It runs the module's own hooks: FSDP2 turns back to sharded parameters in one.
    """
    return dict(module.state_dict(keep_vars=True))


@dataclass(slots=True)
class ParamNames:
    """Parameters of the modules of one call, by identity."""

    modules: dict[str, nn.Module] = field(default_factory=dict)
    """Item name -> module."""
    _maps: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    _alive: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> ParamNames:
        """Names from every value of ``state`` that is a module; the same module twice counts once."""
        modules: dict[str, nn.Module] = {}
        for item, value in state.items():
            if isinstance(value, nn.Module) and all(value is not other for other in modules.values()):
                modules[item] = value
        return cls(modules)

    def only(self, module: nn.Module, item: str = "") -> ParamNames:
        """Names of this module alone."""
        return ParamNames({item: module})

    def _map(self, item: str) -> dict[int, tuple[str, ...]]:
        known = self._maps.get(item)
        if known is None:
            known = self._maps[item] = dict(_parameters(self.modules[item], self._alive))
        return known

    def names_of(self, params: Iterable[torch.Tensor], key: str) -> dict[int, tuple[str, ...]]:
        """``id(parameter)`` -> its names, the first being the one to store; several for tied parameters.

        A name gets its item's name in front only if two modules would claim it. ``UsageError`` for parameters that
        no module of the call has.
        """
        wanted = [id(param) for param in params]
        found = {item: self._map(item) for item in self.modules}
        holders = {i: next((item for item, names in found.items() if i in names), None) for i in wanted}
        missing = sum(holder is None for holder in holders.values())
        if missing:
            raise UsageError(
                "usage.invalid",
                f"{missing} of the optimizer's {len(wanted)} parameters belong to no module of this call",
                key=key,
                hint="put the module into the same state, or use pyckpt.with_model(optimizer, module)",
            )
        owner: dict[str, int] = {}
        collision = False
        for i in holders:
            for name in found[str(holders[i])][i]:
                collision |= owner.setdefault(name, i) != i
        return {
            i: tuple(f"{item}.{name}" if collision else name for name in found[str(item)][i])
            for i, item in holders.items()
        }


def _parameters(module: nn.Module, alive: list[Any]) -> Iterator[tuple[int, tuple[str, ...]]]:
    by_id: dict[int, list[str]] = {}
    if not has_fsdp1(module):
        # The state_dict hooks of FSDP2 register the sharded parameters again, the ones that the optimizer has.
        alive.append(raw_state(module))
    raw = list(module.named_parameters(remove_duplicate=False))
    alive.append(raw)
    clean = clean_names(module, (name for name, _ in raw))
    for name, param in raw:
        by_id.setdefault(id(param), []).append(clean[name])
    for i, names in by_id.items():
        yield i, tuple(names)
