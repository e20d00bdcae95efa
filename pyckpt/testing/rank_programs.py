"""What the ranks of the tests do. Every function is called on all ranks, in a process group, and gives plain values."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor
from torch.distributed.tensor.placement_types import Replicate, Shard

import pyckpt
from pyckpt.storage.url import checkpoint_url, split_url

__all__ = ["differences_in_a_mesh", "differences_under_fsdp", "managed", "save_again", "save_under_fsdp", "weight"]

_SHAPES = {"0.weight": (67, 32), "0.bias": (67,), "1.weight": (5, 67)}


def weight(name: str) -> torch.Tensor:
    """Give the whole tensor of a name: values by position."""
    shape = _SHAPES[name]
    return (torch.arange(torch.Size(shape).numel(), dtype=torch.float32) * 7 + len(name)).view(shape)


def _model(*, filled: bool) -> nn.Module:
    model = nn.Sequential(nn.Linear(32, 67), nn.Linear(67, 5, bias=False))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.copy_(weight(name) if filled else torch.full_like(tensor, -1))
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return model


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    torch.manual_seed(step)
    optimizer.zero_grad()
    model(torch.randn(4, 32)).square().mean().backward()
    optimizer.step()


def save_under_fsdp(url: str, weak: bool) -> str:
    """Save a model, every rank its part; gives the digest."""
    options = pyckpt.SaveOptions(accept_weak_store=weak)
    return pyckpt.save(url, {"model": _model(filled=True)}, options=options).digest


def save_again(url: str, weak: bool) -> str:
    """Save under a name that is taken; gives the code of the error."""
    try:
        save_under_fsdp(url, weak)
    except pyckpt.PyckptError as error:
        return error.code
    return ""


def differences_under_fsdp(url: str) -> list[str]:
    """Load into a model of as many ranks as there are now; gives the names that are not as they were saved."""
    model = _model(filled=False)
    pyckpt.load(url, into={"model": model})
    return [name for name, tensor in model.state_dict().items() if not torch.equal(tensor.full_tensor(), weight(name))]


def differences_in_a_mesh(url: str) -> list[str]:
    """Load into tensors cut by columns and copied along a second dimension; gives the names that are wrong."""
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2))
    names = [name for name, shape in _SHAPES.items() if len(shape) == 2]
    target = {name: distribute_tensor(torch.zeros(_SHAPES[name]), mesh, [Replicate(), Shard(1)]) for name in names}
    pyckpt.load(url, into={"model": target}, options=pyckpt.LoadOptions(strict=False))
    return [name for name in names if not torch.equal(target[name].full_tensor(), weight(name))]


def managed(store: str, weak: bool, last: int) -> dict[str, Any]:
    """Train up to a step with a manager that saves and resumes; gives where it began, what is kept, and a sum."""
    model = _model(filled=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    state = {"model": model, "optimizer": optimizer}
    options = pyckpt.SaveOptions(accept_weak_store=weak)
    with pyckpt.CheckpointManager(store, save_every_n_steps=2, keep_last_n=2, options=options) as manager:
        begun = manager.restore(state).step
        for step in range(begun + 1, last + 1):
            _train(model, optimizer, step)
            manager.step(step, state)
    dist.barrier()
    found = pyckpt.load(checkpoint_url(store, split_url(pyckpt.latest(store) or "")[1]), items=["model"])
    total = float(sum(tensor.double().sum() for tensor in found["model"].values()))
    return {"begun": begun, "kept": [split_url(url)[1] for url in pyckpt.list(store)], "sum": total}
