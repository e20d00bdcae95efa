"""Saves and loads by several ranks in which tensors pass between them: whole files, and replicas that share reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

import pyckpt
from benchmarks import rank_model as model
from benchmarks.gather_scatter import GatherScatter
from benchmarks.rank_model import LLAMA, Boxes, Layout
from benchmarks.ranks import RankArms
from benchmarks.timing import drop_caches, fsync_tree, wipe
from pyckpt.facade import load_report

__all__ = ["replicas", "whole"]

Body = Callable[[], Sequence[torch.Tensor]]


def whole(device: torch.device, directory: str) -> Iterable[RankArms]:
    """A model in FSDP2's rows, saved as files that other tools open; durable, all of them."""
    at = os.path.abspath(os.path.join(directory, "whole"))
    source = _rows(device)
    state = model.model_in(source, device)
    local = {name: tensor.to_local() for name, tensor in state.items() if isinstance(tensor, DTensor)}
    have = model.boxes_of(source)
    everything: dict[str, Boxes] = {
        name: [((0,) * len(shape), shape) if rank == 0 else None for rank in range(dist.get_world_size())]
        for name, shape in LLAMA.items()
    }
    peer = GatherScatter(have, everything, local, device)

    def gathered() -> Sequence[torch.Tensor]:
        made = peer.run()
        if dist.get_rank() == 0:
            save_file({name: tensor.cpu() for name, tensor in made.items()}, f"{at}/model.safetensors")
            fsync_tree(f"{at}/model.safetensors")
        dist.barrier()
        return ()

    def save(options: pyckpt.SaveOptions) -> Sequence[torch.Tensor]:
        pyckpt.save(f"{at}/step", {"model": state}, options=options)
        return ()

    arms = RankArms("save of 393 MB in rows; the files of the first and the last arm hold whole tensors")
    arms.add("gather on rank 0, safetensors, fsync", gathered, partial(_empty, at))
    arms.add("pyckpt.save, as the shards are", partial(save, pyckpt.SaveOptions()), partial(_empty, at))
    arms.add('pyckpt.save, layout="whole"', partial(save, pyckpt.SaveOptions(layout="whole")), partial(_empty, at))
    yield arms
    _empty(at)


def replicas(device: torch.device, directory: str) -> Iterable[RankArms]:
    """A load in which ranks want the same: each reads it, or one does and passes it on. Cold page cache."""
    at = os.path.abspath(os.path.join(directory, "replicas"))
    _empty(at)
    pyckpt.save(f"{at}/step", {"model": model.model_in(_rows(device), device)})
    size = dist.get_world_size()
    square = DeviceMesh(device.type, torch.arange(size).view(2, size // 2))
    for what, layout in (
        ("plain tensors on every rank, as under DDP", Layout(square, model.placed(Replicate(), Replicate()))),
        ("HSDP, two replicas of rows", Layout(square, model.placed(Replicate(), Shard(0)))),
    ):
        target = model.model_in(layout, device)
        if what.startswith("plain"):
            target = {name: tensor.to_local() for name, tensor in target.items() if isinstance(tensor, DTensor)}
        yield _loads(what, at, layout, target, device)
    _empty(at)


def _loads(
    what: str, at: str, layout: Layout, target: Mapping[str, torch.Tensor], device: torch.device
) -> RankArms:
    read = [0]
    local = {name: each.to_local() if isinstance(each, DTensor) else each for name, each in target.items()}

    def cold() -> None:
        for tensor in local.values():
            tensor.zero_()
        if dist.get_rank() == 0:
            drop_caches(at)
        dist.barrier()

    def load(options: pyckpt.LoadOptions) -> Sequence[torch.Tensor]:
        read[0] = load_report(f"{at}/step", into={"model": dict(target)}, options=options).report.read
        return ()

    arms = RankArms(f"load, cold, into {what}")
    arms.tally = ("read MB", lambda: read[0])
    arms.check = lambda _: model.check_against(layout, local, device)
    for way in ("read", "exchange"):
        options: dict[str, Any] = {"replicas": way}
        arms.add(f'pyckpt.load, replicas="{way}"', partial(load, pyckpt.LoadOptions(**options)), cold)
    return arms


def _rows(device: torch.device) -> Layout:
    return Layout(DeviceMesh(device.type, list(range(dist.get_world_size()))), model.rows)


def _empty(path: str) -> None:
    """An empty directory, for all ranks."""
    dist.barrier()
    if dist.get_rank() == 0:
        wipe(path)
        os.makedirs(path)
    dist.barrier()
