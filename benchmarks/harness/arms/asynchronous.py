"""Saves in the background: how long the call blocks, and what a training loop beside them loses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.harness.arms.base import Arm, Unavailable, Ways
from benchmarks.harness.arms.dcp import Dcp
from benchmarks.harness.arms.ours import Pyckpt
from benchmarks.harness.arms.torch_libraries import TorchSnapshot
from benchmarks.harness.state import State

__all__ = ["DcpAsync", "PyckptAsync", "TorchSnapshotAsync", "TrainingAlone"]

SAVES = 2
"""Of one training loop."""
STEP_BYTES = 2_000_000
"""A step of training, a few milliseconds, for each so many bytes of the state: longer than a save takes."""

Wait = Callable[[], object]


class _Background(Arm):
    """``start`` begins a save; ``settle`` waits for it."""

    _pending: Wait | None = None

    def start(self, path: str) -> Wait:
        """Begins a save, and gives what waits for its end."""
        raise Unavailable("has no save in the background")

    def settle(self) -> None:
        """The save that was begun has ended."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending()

    def ways(self, step: str) -> Ways:
        """The call alone; and a loop of training with saves."""
        if step == "stall":
            return {"": self._call}
        if step == "beside":
            return {"": self._beside}
        return super().ways(step) if step == "load" else {}

    def _call(self, path: str) -> None:
        self._pending = self.start(path)

    def _beside(self, path: str) -> None:
        os.makedirs(path)
        steps = max(10, len(self.state.memory) // STEP_BYTES)
        weights, batch = (torch.ones(256, 256) for _ in range(2))
        for number in range(SAVES):
            self.settle()
            self._pending = self.start(f"{path}/{number}")
            for _ in range(steps):
                for _ in range(8):
                    (batch @ weights).sum()


class TrainingAlone(_Background):
    """The loop without saves."""

    kind = "limit"

    def start(self, path: str) -> Wait:
        """Nothing."""
        del path
        return lambda: None

    def ways(self, step: str) -> Ways:
        """The loop alone."""
        return super().ways(step) if step == "beside" else {}


class PyckptAsync(_Background, Pyckpt):
    """``save_async``."""

    def start(self, path: str) -> Wait:
        """The call returns when the state is copied."""
        import pyckpt

        return pyckpt.save_async(f"{path}/step", {"model": self.state.tensors}, options=self._save).wait


class DcpAsync(_Background, Dcp):
    """``async_save`` in a thread or a process; ``stager`` keeps one stager, and its buffers, for all saves."""

    def open(self, state: State, target: State) -> None:
        """A process needs a process group."""
        super().open(state, target)
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
        from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

        self._more: dict[str, Any] = {"no_dist": state.ranks == 1}
        if self.options.get("stager"):
            self._more["async_stager"] = DefaultStager(StagingOptions(False, False, False, False))
        if self.options.get("process"):
            import torch.distributed as dist

            if not dist.is_initialized():
                dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
            self._more = {"async_checkpointer_type": AsyncCheckpointerType.PROCESS}

    def start(self, path: str) -> Wait:
        """The call returns when the state is staged."""
        writer = self._writer(path, thread_count=self.options["threads"])
        begun = self._dcp.async_save(dict(self.state.tensors), storage_writer=writer, **self._more)
        return getattr(begun, "upload_completion", begun).result

    def load(self, path: str) -> None:
        """In place."""
        self._dcp.load(dict(self.target.tensors), storage_reader=self._reader(path), no_dist=self.target.ranks == 1)


class TorchSnapshotAsync(_Background, TorchSnapshot):
    """``async_take``."""

    def start(self, path: str) -> Wait:
        """The call returns when the state is copied or written."""
        state = {"state": self._library.StateDict(**self.state.tensors)}
        return self._library.Snapshot.async_take(path, state).wait
