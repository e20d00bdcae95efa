"""Orbax and TensorStore: arrays of JAX's world, given the same memory as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.harness.arms.base import Arm, Unavailable
from benchmarks.harness.state import State

__all__ = ["Orbax", "TensorStore"]


class _Arrays(Arm):
    def open(self, state: State, target: State) -> None:
        """NumPy's views of the tensors."""
        super().open(state, target)
        if state.ranks > 1 or target.ranks > 1:
            raise Unavailable("shards over several processes belong to JAX there, not to torch's process groups")
        if state.host:
            raise Unavailable("would need the state as arrays of JAX on the device")
        self.source = _views(state.local)
        self.into = _views(target.local)


class Orbax(_Arrays):
    """Its checkpointer for trees; ``compression=False`` stores the bytes as they are."""

    def open(self, state: State, target: State) -> None:
        """Imports JAX, on the CPU."""
        super().open(state, target)
        import jax

        jax.config.update("jax_platforms", "cpu")
        import orbax.checkpoint as ocp

        more: dict[str, Any] = {} if self.options["compression"] else {"use_compression": False}
        self._checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True, **more))

    def save(self, path: str) -> None:
        """Blocks until it is committed."""
        self._checkpointer.save(path, self.source)

    def load(self, path: str) -> None:
        """Makes new arrays, copied into the target."""
        loaded = self._checkpointer.restore(path)
        for name, array in self.into.items():
            np.copyto(array, np.asarray(loaded[name]))

    def close(self) -> None:
        """Ends its threads."""
        self._checkpointer.close()


class TensorStore(_Arrays):
    """zarr3, one uncompressed chunk for each tensor, all writes at one time."""

    def open(self, state: State, target: State) -> None:
        """Imports."""
        super().open(state, target)
        import tensorstore

        self._ts = tensorstore

    def save(self, path: str) -> None:
        """One array for each tensor."""
        opened = [
            (self._ts.open(self._spec(path, name, array), create=True), array) for name, array in self.source.items()
        ]
        for write in [store.result().write(array) for store, array in opened]:
            write.result()

    def load(self, path: str) -> None:
        """Reads all at one time, then copies."""
        opened = [
            (self._ts.open(self._spec(path, name, None), open=True), array) for name, array in self.into.items()
        ]
        reads = [(store.result().read(), array) for store, array in opened]
        for read, array in reads:
            np.copyto(array, read.result())

    def part(self, path: str) -> None:
        """One array."""
        store = self._ts.open(self._spec(path, self.wanted, None), open=True).result()
        np.copyto(self.into[self.wanted], store.read().result())

    def _spec(self, path: str, name: str, array: np.ndarray | None) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{path}/{name}/"},
            "recheck_cached_data": False,
        }
        if array is not None:
            chunk = {"name": "regular", "configuration": {"chunk_shape": list(array.shape)}}
            codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
            kind = array.dtype.name
            spec["metadata"] = {
                "shape": list(array.shape), "data_type": kind, "chunk_grid": chunk, "codecs": codecs
            }  # fmt: skip
        return spec


def _views(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    import ml_dtypes

    return {
        name: tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        if tensor.dtype == torch.bfloat16
        else tensor.numpy()
        for name, tensor in tensors.items()
    }
