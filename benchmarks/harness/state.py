"""What an arm is given: the tensors of its rank, in memory that all arms of a case share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch

from benchmarks.harness.segment import Placed

__all__ = ["State", "view_state"]


@dataclass(frozen=True, slots=True)
class State:
    """The tensors of one rank."""

    tensors: Mapping[str, Any]
    """By name: plain tensors for one rank, DTensors for several."""
    local: Mapping[str, torch.Tensor]
    """The rank's own parts, as plain tensors over the same memory."""
    memory: memoryview
    """All of them as one run of bytes, page-aligned; on a device, the copy on the host."""
    parts: Sequence[Placed]
    rank: int
    ranks: int
    host: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """The same parts in host memory, where the tensors are on a device."""

    def to_host(self) -> None:
        """Brings what is on a device back to where it can be checked."""
        for name, tensor in self.host.items():
            tensor.copy_(self.local[name])

    def to_device(self) -> None:
        """The other way round."""
        for name, tensor in self.host.items():
            self.local[name].copy_(tensor)


def view_state(path: str, parts: Sequence[Placed], rank: int, ranks: int, dim: int, device: str) -> State:
    """Maps a segment and makes tensors over it; with several ranks DTensors, for which a process group must exist."""
    memory = _map(path)
    local = {}
    for part in parts:
        count = prod(part.shape)
        dtype = getattr(torch, part.dtype)
        if count:
            flat = torch.frombuffer(memory, dtype=dtype, count=count, offset=part.at)
        else:
            flat = torch.empty(0, dtype=dtype)
        local[part.name] = flat.view(part.shape)
    host: dict[str, torch.Tensor] = {}
    if device != "cpu":
        host, local = local, {name: tensor.to(device) for name, tensor in local.items()}
    tensors: Mapping[str, Any] = local if ranks == 1 else _distributed(local, parts, ranks, dim, device)
    return State(tensors, local, memoryview(memory), parts, rank, ranks, host)


def _distributed(
    local: Mapping[str, torch.Tensor], parts: Sequence[Placed], ranks: int, dim: int, device: str
) -> dict[str, Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    mesh = init_device_mesh(device.partition(":")[0], (ranks,))
    out = {}
    for part in parts:
        shape = part.global_shape
        stride = tuple(prod(shape[at + 1 :]) for at in range(len(shape)))
        placements = [Shard(min(dim, len(shape) - 1))]
        out[part.name] = DTensor.from_local(
            local[part.name], mesh, placements, run_check=False, shape=torch.Size(shape), stride=stride
        )
    return out


def _map(path: str) -> mmap.mmap:
    """Maps the file with all its pages present, so that no arm pays for the first touch."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(descriptor).st_size
        return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
    finally:
        os.close(descriptor)
