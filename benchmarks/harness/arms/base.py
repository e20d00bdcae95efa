"""What an implementation offers to be measured: a small class. See benchmarks/README.md, "An arm of your own"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch

from benchmarks.harness.state import State

__all__ = ["STEPS", "Arm", "Kind", "Unavailable", "Ways", "copy_into"]

Kind = Literal["limit", "pyckpt", "peer"]
Ways = Mapping[str, Callable[[str], None]]
"""Label (empty where there is one way) -> what is done with a path."""


STEPS = ("save", "load", "part", "stall", "beside", "work")
"""``part`` loads one tensor, ``stall`` is the call of a save in the background, ``beside`` a training loop with such
saves, ``work`` anything else."""


class Unavailable(Exception):
    """This arm can't take part here; the message is printed beside its name."""


class Arm:
    """One implementation with one choice of settings, on one rank.

    ``options`` are the settings that its entry in the registry gives.
    """

    kind: Kind = "peer"
    durable = False
    """Whether ``save`` returns after fsync; where not, the harness syncs, and counts that."""
    warm = False
    """Whether loads from a warm page cache are measured too."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.state: State
        self.target: State

    def open(self, state: State, target: State) -> None:
        """Called once, not measured: imports and objects that outlive a save. Raises ``Unavailable`` or ImportError."""
        self.state, self.target = state, target

    @property
    def wanted(self) -> str:
        """Name of the tensor that a load of a part wants."""
        parts = self.target.parts
        return parts[len(parts) // 2].name

    def settings(self) -> Mapping[str, Any]:
        """What the result states beside the figures."""
        return {name: value for name, value in self.options.items() if name != "loads"}

    def save(self, path: str) -> None:
        """Saves ``state`` as the file or directory ``path``, which does not exist."""
        raise Unavailable("has no save")

    def load(self, path: str) -> None:
        """Fills ``target`` from what ``save`` wrote."""
        raise Unavailable("has no load")

    def part(self, path: str) -> None:
        """Fills the one tensor ``self.wanted`` of ``target``, and reads no other."""
        raise Unavailable("has no part")

    def ways(self, step: str) -> Ways:
        """All ways to do a step, one of ``STEPS``; none: the arm has no part in it."""
        own = {"save": (Arm.save, self.save), "load": (Arm.load, self.load), "part": (Arm.part, self.part)}
        if step not in own:
            return {}
        inherited, mine = own[step]
        return {} if getattr(mine, "__func__", None) is inherited else {"": mine}

    def settle(self) -> None:
        """Waits for what was begun and has not ended; called before each step, not measured."""

    def close(self) -> None:
        """Called at the end."""


def copy_into(target: State, loaded: Mapping[str, torch.Tensor]) -> None:
    """For libraries that can only make new tensors."""
    for name, tensor in target.local.items():
        tensor.copy_(loaded[name])
