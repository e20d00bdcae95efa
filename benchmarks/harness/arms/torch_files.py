"""``torch.save`` and safetensors: one file by one process."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.harness.arms.base import Arm, Unavailable, Ways, copy_into
from benchmarks.harness.state import State

__all__ = ["SafeTensors", "TorchSave"]


class _OneFile(Arm):
    def open(self, state: State, target: State) -> None:
        """Several ranks would gather everything on one of them first."""
        super().open(state, target)
        if state.ranks > 1 or target.ranks > 1:
            raise Unavailable("writes whole tensors from one process")


class TorchSave(_OneFile):
    """Pickle and zip; loads copy into the target, from a file that is read or mapped."""

    def save(self, path: str) -> None:
        """The whole state."""
        torch.save(dict(self.state.tensors), path)

    def ways(self, step: str) -> Ways:
        """Both ways of ``mmap``."""
        if step != "load":
            return super().ways(step)
        return {f"mmap={mapped}": partial(self._load, mapped=mapped) for mapped in (False, True)}

    def part(self, path: str) -> None:
        """From a mapped file."""
        loaded = torch.load(path, mmap=True, weights_only=True)
        self.target.local[self.wanted].copy_(loaded[self.wanted])

    def _load(self, path: str, *, mapped: bool) -> None:
        copy_into(self.target, torch.load(path, mmap=mapped, weights_only=True))


class SafeTensors(_OneFile):
    """The reference library; loads copy into the target, all at once or a tensor at a time."""

    warm = True

    def open(self, state: State, target: State) -> None:
        """Imports."""
        super().open(state, target)
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file

        self._safe_open, self._load_file, self._save_file = safe_open, load_file, save_file

    def save(self, path: str) -> None:
        """The whole state."""
        self._save_file(dict(self.state.tensors), path)

    def ways(self, step: str) -> Ways:
        """``load_file``, and ``safe_open`` with a copy of each tensor."""
        return {"": self._whole, "safe_open": self._each} if step == "load" else super().ways(step)

    def part(self, path: str) -> None:
        """``safe_open`` and one tensor."""
        with self._safe_open(path, "pt") as file:
            self.target.local[self.wanted].copy_(file.get_tensor(self.wanted))

    def _whole(self, path: str) -> None:
        copy_into(self.target, self._load_file(path))

    def _each(self, path: str) -> None:
        with self._safe_open(path, "pt") as file:
            for name, tensor in self.target.local.items():
                tensor.copy_(file.get_tensor(name))
