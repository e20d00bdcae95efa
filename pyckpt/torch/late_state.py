"""Which tensors of a state nobody changes before the next ``step()``: those may be copied after the call returned.

That is known of parameters that one of torch's own optimizers steps, and of that optimizer's state. Everything else
changes at other moments: buffers in the forward pass, averages after the step, a tensor ``lr`` whenever its scheduler
says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from pyckpt.engine.late_copy import CopyPair, LateCopy
from pyckpt.engine.leaves import ItemState, Source, TensorLeaf
from pyckpt.engine.slots import number_leaves
from pyckpt.torch.device_copies import DeviceCopies, can_queue
from pyckpt.torch.optimizer import NamedOptimizer, optimizer_params
from pyckpt.torch.param_names import has_fsdp1
from pyckpt.torch.source import TensorSource
from pyckpt.torch.step_gate import memory_of, step_gate, step_is_hooked

__all__ = ["OptimizerOwned", "owned_by_optimizers"]

LATE_BYTES = 4096
"""Smaller tensors of the host are copied at once: that is cheaper than to remember them. For one of a device the call
would have to wait for the device."""

KNOWN: Final = frozenset(
    getattr(torch.optim, name)
    for name in (
        "ASGD",
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "Muon",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
        "SparseAdam",
    )
    if hasattr(torch.optim, name)
)
"""These change parameters and their state in ``step()`` alone, behind torch's hooks; a subclass may do otherwise."""


@dataclass(frozen=True, slots=True)
class _Watched:
    name: str
    tensors: tuple[torch.Tensor, ...]
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OptimizerOwned:
    """See ``pyckpt.engine.late_copy.LateState``."""

    sources: Mapping[int, tuple[Source, ...]]
    memory: frozenset[int]
    watched: list[_Watched]

    def changed(self) -> list[str]:
        """Names of tensors whose version is another one. Changes through ``.data`` have none."""
        return [
            each.name
            for each in self.watched
            if any(t._version != version for t, version in zip(each.tensors, each.versions, strict=True))
        ]

    def by_device(self, copies: Sequence[CopyPair]) -> tuple[list[CopyPair], DeviceCopies | None]:
        """Takes out what lies on accelerators."""
        here: list[CopyPair] = []
        there: list[tuple[torch.Tensor, memoryview]] = []
        for source, out in copies:
            if isinstance(source, TensorSource) and not source.tensor.is_cpu:
                there.append((source.tensor, out))
            else:
                here.append((source, out))
        return here, DeviceCopies(there) if there else None

    def hold(self, copy: LateCopy) -> None:
        """Steps of every optimizer that has one of the parameters wait."""
        step_gate.hold(copy, self.memory)

    def free(self, copy: LateCopy) -> None:
        """They don't any more."""
        step_gate.free(copy)


def owned_by_optimizers(state: Mapping[str, object], items: Sequence[ItemState]) -> OptimizerOwned | None:
    """What of the items may be copied late; None if nothing may."""
    optimizers, modules = _parts(state)
    if not optimizers or any(has_fsdp1(module) for module in modules):
        return None
    owned = _Memory()
    for tensor in _stepped(optimizers, modules):
        owned.add(tensor)
    for module in modules:
        for buffer in module.buffers():
            owned.lose(buffer)
    leaves = [(f"{item.name}/{slot.name}", slot.leaf) for item in items for slot in number_leaves(item)]
    for _, leaf in leaves:
        for tensor in _tensors(leaf):
            if not owned.has(tensor):
                # Somebody else's view of the same memory: who knows when that changes.
                owned.lose(tensor)
    sources: dict[int, tuple[Source, ...]] = {}
    memory: set[int | None] = set()
    watched = []
    for name, leaf in leaves:
        tensors = _tensors(leaf)
        size = sum(piece.source.nbytes for piece in leaf.pieces)
        if len(tensors) != len(leaf.pieces) or not size or not all(map(owned.has, tensors)):
            continue
        if any(tensor.is_inference() for tensor in tensors):
            # They don't count changes.
            continue
        if size < LATE_BYTES and all(tensor.is_cpu for tensor in tensors):
            continue
        # Detached: somebody may give the parameter other memory, and what is copied is the old one.
        kept = [tensor.detach() for tensor in tensors]
        # Not of those that are copied at once: what was theirs may become somebody else's.
        memory |= {memory_of(tensor) for tensor in kept}
        sources[id(leaf)] = tuple(TensorSource(tensor, tensor.nbytes) for tensor in kept)
        # A DTensor counts changes by itself and not in its local part. Detached, because a conversion of the module may
        # swap the parameter with another tensor, which has its own count.
        both = (*kept, *(tensor.detach() for tensor in owned.outer(tensors)))
        watched.append(_Watched(name, both, tuple(tensor._version for tensor in both)))
    if not sources:
        return None
    return OptimizerOwned(sources, frozenset(each for each in memory if each is not None), watched)


def _parts(state: Mapping[str, object]) -> tuple[list[torch.optim.Optimizer], list[nn.Module]]:
    """Optimizers and modules of a call."""
    optimizers: list[torch.optim.Optimizer] = []
    modules: list[nn.Module] = []
    for value in state.values():
        if isinstance(value, torch.optim.Optimizer):
            optimizers.append(value)
        elif isinstance(value, NamedOptimizer):
            optimizers.append(value.optimizer)
            modules.append(value.module)
        elif isinstance(value, nn.Module):
            modules.append(value)
    return optimizers, modules


def _stepped(
    optimizers: Sequence[torch.optim.Optimizer], modules: Sequence[nn.Module]
) -> Iterator[torch.Tensor]:
    """Parameters and tensors of state that change in a known ``step()`` and at no other time."""
    spoilt = {id(weight) for module in modules for weight in _changed_by_forward(module)}
    known = [optimizer for optimizer in optimizers if _is_known(optimizer)]
    devices: dict[torch.device, bool] = {}

    def queues(tensor: torch.Tensor) -> bool:
        if tensor.device not in devices:
            devices[tensor.device] = can_queue(tensor.device)
        return devices[tensor.device]

    for optimizer in optimizers:
        if optimizer not in known:
            spoilt |= {id(param) for param in optimizer_params(optimizer)}
    for optimizer in known:
        for param in optimizer_params(optimizer):
            # What needs no gradient is stepped by nobody; somebody may set it at any time.
            if param.requires_grad and id(param) not in spoilt and queues(param):
                yield param
            values: Any = optimizer.state.get(param, {})
            for value in values.values() if isinstance(values, dict) else ():
                if isinstance(value, torch.Tensor) and queues(value):
                    yield value


def _is_known(optimizer: torch.optim.Optimizer) -> bool:
    if type(optimizer) not in KNOWN or not step_is_hooked(type(optimizer)):
        return False
    patched = vars(optimizer).get("step")
    if patched is not None:
        # Schedulers wrap it, also one that was replaced before; and other wrappers copy the mark of theirs.
        wrapped = getattr(patched, "__wrapped__", None)
        if wrapped is not type(optimizer).step or not getattr(patched, "_wrapped_by_lr_sched", False):
            return False
    for group in optimizer.param_groups:
        if group.get("capturable") or group.get("differentiable"):
            return False
        # Without that option a step may be part of a captured graph, which replays it past all hooks.
        if "capturable" not in group and any(not param.is_cpu for param in group["params"]):
            return False
    return True


def _changed_by_forward(module: nn.Module) -> Iterator[torch.Tensor]:
    for part in module.modules():
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.max_norm is not None:
            yield from part.parameters(recurse=False)


def _tensors(leaf: TensorLeaf) -> list[torch.Tensor]:
    return [piece.source.tensor for piece in leaf.pieces if isinstance(piece.source, TensorSource)]


class _Memory:
    """Ranges of memory, by storage, with the tensor that each is the memory of."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[tuple[int, int, torch.Tensor]]] = {}

    def add(self, tensor: torch.Tensor) -> None:
        """Takes the memory of a tensor of an ordinary kind, unless there are gaps in it."""
        memory, local = memory_of(tensor), _local(tensor)
        first, last = _extent(local)
        if memory is not None and last - first == local.nbytes:
            self._ranges.setdefault(memory, []).append((first, last, tensor))

    def lose(self, tensor: torch.Tensor) -> None:
        """Gives up the whole storage that a tensor lies in."""
        memory = memory_of(tensor)
        if memory is not None:
            self._ranges.pop(memory, None)

    def has(self, tensor: torch.Tensor) -> bool:
        """True if the tensor lies within the memory of one that was added."""
        return next(self.outer([tensor]), None) is not None

    def outer(self, tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The tensors within whose memory these lie."""
        for tensor in tensors:
            memory = memory_of(tensor)
            if memory is not None and memory in self._ranges:
                first, last = _extent(tensor)
                for low, high, owner in self._ranges[memory]:
                    if low <= first and last <= high:
                        yield owner
                        break


def _local(tensor: Any) -> torch.Tensor:
    local: torch.Tensor = getattr(tensor, "_local_tensor", tensor)
    return local


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte and the byte behind the last, as addresses."""
    if not tensor.numel():
        return 0, 0
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size()
