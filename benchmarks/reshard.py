"""Live resharding on several ranks: DTensor's own way, gather and scatter, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

import pyckpt
from benchmarks import rank_model as model
from benchmarks.gather_scatter import GatherScatter
from benchmarks.rank_model import LLAMA, Layout
from benchmarks.rank_planning import planning
from benchmarks.ranks import RankArms
from benchmarks.stored import replicas, whole

__all__ = ["CASES", "Case"]


Case: TypeAlias = Callable[[torch.device, str], Iterable[RankArms]]
"""Makes, on all ranks together, what is to be run; given the device and a directory."""


@dataclass(frozen=True, slots=True)
class Between:
    """From one layout to another."""

    title: str
    layouts: Callable[[str], tuple[Layout, Layout]]
    """For a type of device."""

    def __call__(self, device: torch.device, directory: str) -> Iterable[RankArms]:
        """All ways to get there."""
        del directory
        source, target = self.layouts(device.type)
        yield _arms(self.title, source, target, device)


def _line(device: str) -> DeviceMesh:
    return DeviceMesh(device, list(range(dist.get_world_size())))


def _square(device: str) -> DeviceMesh:
    size = dist.get_world_size()
    if size % 2:
        raise SystemExit(f"the case square needs an even number of ranks, not {size}")
    return DeviceMesh(device, torch.arange(size).view(2, size // 2))


def _columns(device: str) -> tuple[Layout, Layout]:
    mesh = _line(device)
    return Layout(mesh, model.rows), Layout(mesh, model.columns)


def _replicated(device: str) -> tuple[Layout, Layout]:
    mesh = _line(device)
    return Layout(mesh, model.rows), Layout(mesh, model.replicated)


def _tensor_parallel(device: str) -> tuple[Layout, Layout]:
    mesh = _line(device)
    return Layout(mesh, model.rows), Layout(mesh, model.tensor_parallel)


def _two_dimensions(device: str) -> tuple[Layout, Layout]:
    mesh = _square(device)
    return Layout(mesh, model.placed(Shard(0), Replicate())), Layout(mesh, model.placed(Replicate(), Shard(1)))


def _disjoint(device: str) -> tuple[Layout, Layout]:
    size = dist.get_world_size()
    first = size - size // 3
    source, target = DeviceMesh(device, list(range(first))), DeviceMesh(device, list(range(first, size)))
    return Layout(source, model.rows), Layout(target, model.tensor_parallel)


CASES: Mapping[str, Case] = {
    "planning": planning,
    "columns": Between("Shard(0) to Shard(1)", _columns),
    "replicated": Between("Shard(0) to Replicate", _replicated),
    "tp": Between("FSDP2's rows to tensor parallel", _tensor_parallel),
    "square": Between("(Shard(0), Replicate) to (Replicate, Shard(1)) on two dimensions", _two_dimensions),
    "disjoint": Between("rows on two thirds of the ranks to tensor parallel on the others", _disjoint),
    "whole": whole,
    "replicas": replicas,
}


def _arms(title: str, source: Layout, target: Layout, device: torch.device) -> RankArms:
    state = model.model_in(source, device)
    local = {name: _local(tensor) for name, tensor in state.items()}
    have, want = model.boxes_of(source), model.boxes_of(target)
    arms = RankArms(title, minimum=model.fewest_bytes(have, want))
    made: dict[str, torch.Tensor] = {}

    def keep(new: Mapping[str, torch.Tensor]) -> Sequence[torch.Tensor]:
        """What the arm made, without what it was given."""
        made.clear()
        made.update({name: _local(tensor) for name, tensor in new.items()})
        given = {tensor.untyped_storage().data_ptr() for tensor in local.values()}
        return [tensor for tensor in made.values() if tensor.untyped_storage().data_ptr() not in given]

    def redistribute() -> Sequence[torch.Tensor]:
        assert all(isinstance(tensor, DTensor) for tensor in state.values())
        return keep({name: tensor.redistribute(placements=target.of(name)) for name, tensor in state.items()})

    if source.mesh is target.mesh:
        arms.add("DTensor.redistribute, tensor by tensor", redistribute, made.clear)
    peer = GatherScatter(have, want, local, device)
    arms.add("gather on rank 0, then scatter", lambda: keep(peer.run()), made.clear)
    wanted = {name: (target.mesh, target.of(name)) for name in LLAMA}
    mine = state if source.mine else None
    goal = wanted if target.mine else None
    arms.add("pyckpt.reshard, planning included", lambda: keep(pyckpt.reshard(mine, goal) or {}), made.clear)
    resharder = pyckpt.Resharder(mine, goal)

    def again() -> Sequence[torch.Tensor]:
        resharder.run()
        keep(resharder.value or {})
        return ()

    arms.add("pyckpt.Resharder.run, planned before", again, made.clear)
    arms.check = lambda _: model.check_against(target, made, device)
    return arms


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
