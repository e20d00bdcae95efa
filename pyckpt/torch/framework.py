"""Torch as the facade sees it: who the ranks are, how state becomes items, how items become state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from pyckpt.engine.buffers import fresh_pages
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.leaves import Binder, ItemState, Source
from pyckpt.engine.load_shared import Exchanger
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.slots import number_leaves
from pyckpt.engine.staging_memory import Allocate
from pyckpt.torch.bind import BindOptions, FreshBinder, binders
from pyckpt.torch.collect import collect
from pyckpt.torch.dtypes import torch_dtype
from pyckpt.torch.group import coordinator_for
from pyckpt.torch.late_state import OptimizerOwned, owned_by_optimizers
from pyckpt.torch.load_exchange import LoadExchanger
from pyckpt.torch.pinned import locked_pages
from pyckpt.torch.source import TensorSource
from pyckpt.torch.whole import WholeTensors

__all__ = ["TorchFramework"]


class TorchFramework:
    """See ``pyckpt.frameworks.Framework``."""

    def coordinator(self, subject: str, *, collective: bool | None, timeout: float, silence: float) -> Coordinator:
        """All ranks of the default process group, or this process alone."""
        return coordinator_for(subject, collective=collective, timeout=timeout, silence=silence)

    def collect(
        self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions
    ) -> Sequence[ItemState]:
        """This rank's items."""
        return collect(state, rank=coordinator.rank, world_size=coordinator.size, layout=options.declared)

    def relay(self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions) -> WholeTensors | None:
        """Tensors brought together, if the options ask for that and there is more than one rank."""
        if coordinator.size == 1 or not options.wants_whole:
            return None
        return WholeTensors(state, coordinator, options)

    def late(self, state: Mapping[str, object], items: Sequence[ItemState]) -> OptimizerOwned | None:
        """What belongs to known optimizers of the state."""
        return owned_by_optimizers(state, items)

    def host_memory(self, items: Sequence[ItemState]) -> Allocate:
        """Pinned memory if any tensor is on an accelerator."""
        leaves = (slot.leaf for item in items for slot in number_leaves(item))
        return locked_pages if _accelerators(piece.source for leaf in leaves for piece in leaf.pieces) else fresh_pages

    def settle(self, sources: Iterable[Source]) -> None:
        """Waits for the accelerators that have any of these tensors."""
        for device in _accelerators(sources):
            torch.accelerator.synchronize(device)

    def binders(
        self, into: Mapping[str, object], coordinator: Coordinator, options: LoadOptions, layout: Mapping[str, Any]
    ) -> Mapping[str, Binder]:
        """Binders that fill modules, optimizers and tensors in place."""
        return binders(
            into,
            BindOptions(
                strict=options.strict,
                map_key=options.map_key,
                dtype=options.dtype,
                per_rank=options.on_resize,
                rank=coordinator.rank,
                world_size=coordinator.size,
                layout=layout,
            ),
        )

    def fresh(self, device: object) -> Binder:
        """A binder that makes new tensors on ``device``."""
        return FreshBinder(device)  # type: ignore[arg-type]

    def exchanger(self) -> Exchanger | None:
        """The default process group, where there is one."""
        return LoadExchanger() if torch.distributed.is_available() and torch.distributed.is_initialized() else None

    def wrap(self, data: bytearray, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor over the bytes."""
        kind = torch_dtype(dtype)
        if not data:
            return torch.empty(shape, dtype=kind)
        return torch.frombuffer(data, dtype=torch.uint8).view(kind).reshape(shape)

    def parallel(self, state: Mapping[str, object]) -> dict[str, object]:
        """The parallel layout, for the metadata: ranks, and the meshes that tensors lie on."""
        if not torch.distributed.is_available() or not torch.distributed.is_initialized():
            return {}
        meshes = {}
        for value in state.values():
            if isinstance(value, nn.Module):
                for tensor in value.parameters():
                    if isinstance(tensor, DTensor):
                        mesh = tensor.device_mesh
                        meshes[str(mesh.mesh_dim_names), tuple(mesh.mesh.shape)] = {
                            "shape": list(mesh.mesh.shape),
                            "names": list(mesh.mesh_dim_names or ()),
                        }
        return {"parallel": {"world_size": torch.distributed.get_world_size(), "meshes": list(meshes.values())}}


def _accelerators(sources: Iterable[Source]) -> set[torch.device]:
    devices = {source.tensor.device for source in sources if isinstance(source, TensorSource)}
    return {device for device in devices if device.type != "cpu"}
