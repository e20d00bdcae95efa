"""Lets no optimizer step, and no exchange fill tensors, before what they change has been copied.

One hook for all optimizers of the process, in front of every other hook: of hooks that belong to an optimizer torch
runs the global ones first, and a hook that was registered earlier may change weights. It also sees optimizers that are
not part of the save and hold the same parameters. It stays registered, and does nothing while nothing is being copied:
a hook can't be removed while another thread's step goes through the hooks.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import torch
from torch.optim import optimizer as torch_optimizer

from pyckpt.engine.late_copy import LateCopy
from pyckpt.torch.placed import PLAIN_TENSORS, is_dtensor

__all__ = ["StepGate", "memory_of", "step_gate", "step_is_hooked"]

Hook = Callable[[torch.optim.Optimizer, Any, Any], None]


def memory_of(tensor: torch.Tensor) -> int | None:
    """What tells the memory behind a tensor, or behind this rank's part of it, from all other; None for other kinds."""
    if is_dtensor(tensor):
        tensor = tensor._local_tensor  # type: ignore[attr-defined]
    if type(tensor) not in PLAIN_TENSORS or tensor.layout is not torch.strided:
        return None
    return tensor.untyped_storage().data_ptr() or None


def step_is_hooked(kind: type[torch.optim.Optimizer]) -> bool:
    """Whether torch runs hooks in front of the steps of this class."""
    code = getattr(kind.step, "__code__", None)
    return code is not None and code is torch.optim.Optimizer.profile_hook_step(kind.step).__code__


def _stepped_by(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    """What a step changes: its state too, which may be copied where the parameters are not, or are others by now."""
    for group in optimizer.param_groups:
        yield from group["params"]
    for values in optimizer.state.values():
        if isinstance(values, dict):
            yield from (value for value in values.values() if isinstance(value, torch.Tensor))


class StepGate:
    """The copies that steps have to wait for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[tuple[LateCopy, frozenset[int]], ...] = ()
        self._hook: Hook | None = None

    def hold(self, copy: LateCopy, memory: frozenset[int]) -> None:
        """Steps that change any of this memory wait for the copy first."""
        with self._lock:
            self._stand_in_front()
            self._held = (*self._held, (copy, memory))

    def free(self, copy: LateCopy) -> None:
        """Steps don't wait for this copy."""
        with self._lock:
            self._held = tuple(each for each in self._held if each[0] is not copy)

    def forget(self) -> None:
        """For a process that was forked: its memory is its own, and nobody makes the copies here."""
        self._lock = threading.Lock()
        self._held = ()

    def before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """The hook."""
        del args, kwargs
        if self._held:
            self.before_change(list(_stepped_by(optimizer)))

    def before_change(self, tensors: Sequence[torch.Tensor]) -> None:
        """Returns once these tensors may change."""
        for copy, memory in self._held:
            if any(memory_of(tensor) in memory for tensor in tensors):
                copy.let_go()

    def _stand_in_front(self) -> None:
        hooks = cast("OrderedDict[int, Any]", torch_optimizer._global_optimizer_pre_hooks)
        if self._hook is None:
            self._hook = self.before_step
            if "torch._dynamo" in sys.modules:
                # A compiled step would be compiled again for every copy. To load the compiler for that takes seconds.
                self._hook = cast("Hook", torch.compiler.disable(self._hook))  # type: ignore[no-untyped-call]
        key = next((key for key, hook in hooks.items() if hook is self._hook), None)
        if key is None:
            key = torch_optimizer.register_optimizer_step_pre_hook(self._hook).id
        if next(iter(hooks)) != key:
            hooks.move_to_end(key, last=False)


step_gate: Final = StepGate()
"""Of this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=step_gate.forget)
