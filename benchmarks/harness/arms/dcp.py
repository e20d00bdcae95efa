"""PyTorch's distributed checkpoint."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.arms.base import Arm
from benchmarks.harness.state import State

__all__ = ["Dcp"]


class Dcp(Arm):
    """``threads`` of the writer; ``cached`` reuses the plan of the save before. Its writer syncs files by default."""

    durable = True

    def open(self, state: State, target: State) -> None:
        """Imports, and the planner that remembers."""
        super().open(state, target)
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
        from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

        self._dcp, self._reader, self._writer = dcp, FileSystemReader, FileSystemWriter
        self._planner = DefaultSavePlanner(enable_plan_caching=True) if self.options.get("cached") else None

    def save(self, path: str) -> None:
        """All ranks together, or one process without a group."""
        more: dict[str, Any] = {} if self._planner is None else {"planner": self._planner}
        writer = self._writer(path, thread_count=self.options["threads"])
        self._dcp.save(dict(self.state.tensors), storage_writer=writer, no_dist=self.state.ranks == 1, **more)

    def ways(self, step: str) -> Any:
        """The writer's threads make no difference to loads: one arm has them."""
        return {} if step in ("load", "part") and not self.options.get("loads") else super().ways(step)

    def load(self, path: str) -> None:
        """In place."""
        self._dcp.load(
            dict(self.target.tensors), storage_reader=self._reader(path), no_dist=self.target.ranks == 1
        )

    def part(self, path: str) -> None:
        """A state dict with one entry."""
        wanted = {self.wanted: self.target.tensors[self.wanted]}
        self._dcp.load(wanted, storage_reader=self._reader(path), no_dist=self.target.ranks == 1)
