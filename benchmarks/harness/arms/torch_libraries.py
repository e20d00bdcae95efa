"""Other checkpoint libraries for torch: torchsnapshot, torch_checkpointing, ByteCheckpoint."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.arms.base import Arm, Unavailable
from benchmarks.harness.state import State

__all__ = ["ByteCheckpoint", "TorchCheckpointing", "TorchSnapshot"]


class TorchSnapshot(Arm):
    """``Snapshot.take`` and ``restore``, in place."""

    def open(self, state: State, target: State) -> None:
        """Imports."""
        super().open(state, target)
        if state.ranks > 1 or target.ranks > 1:
            raise Unavailable("does not know DTensor")
        import torchsnapshot

        self._library = torchsnapshot

    def save(self, path: str) -> None:
        """The whole state."""
        self._library.Snapshot.take(path, {"state": self._library.StateDict(**self.state.tensors)})

    def load(self, path: str) -> None:
        """In place."""
        self._library.Snapshot(path).restore({"state": self._library.StateDict(**self.target.tensors)})


class TorchCheckpointing(Arm):
    """Its manager with synchronous saves; resharding where the layouts differ."""

    def open(self, state: State, target: State) -> None:
        """Imports, and one manager for all saves."""
        super().open(state, target)
        import torch_checkpointing as library
        from torch_checkpointing.storage.filesystem import LocalFileSystemStorageConfig

        config = library.CheckpointManager.Config.with_sync_save()
        config.storage_config = LocalFileSystemStorageConfig(use_direct_io=self.options["direct_io"])
        if state.ranks > 1:
            if not state.host:
                raise Unavailable("gathers the metadata of several ranks by CUDA")
            from torch_checkpointing.default_resharder import DefaultResharder

            config.default = library.ItemSpec(resharder=DefaultResharder())
        self._manager = config.build()

    def save(self, path: str) -> None:
        """All ranks together."""
        self._manager.save(path, {"model": dict(self.state.tensors)})

    def load(self, path: str) -> None:
        """In place."""
        self._manager.load(path, into={"model": dict(self.target.tensors)}, strict=True)

    def close(self) -> None:
        """Ends its threads."""
        self._manager.close()


class ByteCheckpoint(Arm):
    """Its interface for DDP, whose tensors are plain; ``fast_saving`` as its documentation advises."""

    def open(self, state: State, target: State) -> None:
        """Imports."""
        super().open(state, target)
        raise Unavailable(_why_not())

    def settings(self) -> dict[str, Any]:
        """None: it does not run."""
        return {}


def _why_not() -> str:
    from importlib import metadata

    try:
        version = metadata.version("bytecheckpoint")
    except metadata.PackageNotFoundError:
        version = ""
    why = "its release 0.0.2 asks for torch<=2.5.0, grpcio==1.69.0 and protobuf==3.20.3"
    return f"{version} is installed, but {why}" if version else f"not installed: {why}"
