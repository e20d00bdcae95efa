"""A second record of the training state, made without pyckpt: whole tensors in a file, to compare bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor

Whole = dict[str, torch.Tensor]


def whole_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Whole:
    """Every tensor of both, gathered whole on all ranks (a collective call)."""
    names = {param: name for name, param in model.named_parameters()}
    out = {f"model/{name}": _whole(tensor) for name, tensor in model.state_dict().items()}
    for param, values in optimizer.state.items():
        out |= {f"optimizer/{names[param]}/{key}": _whole(value) for key, value in values.items()}
    return out


def plain_values(optimizer: torch.optim.Optimizer, scheduler: Any, batches: Any) -> dict[str, Any]:
    """What is no tensor: options of the groups, scheduler, position in the data."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    state = {"groups": groups, "scheduler": scheduler.state_dict(), "batches": batches.state_dict()}
    return json.loads(json.dumps(state))


def write_reference(path: Path, tensors: Whole, values: dict[str, Any]) -> None:
    """Stores both in one file that knows nothing of ranks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"values": json.dumps(values)})


def compare(path: Path, tensors: Whole, values: dict[str, Any]) -> tuple[int, int, list[str]]:
    """Tensors compared, bytes compared, and what differs in name, shape, dtype or in any bit."""
    differing = []
    size = 0
    with safe_open(path, "pt") as reference:
        stored = {name: reference.get_tensor(name) for name in reference.keys()}  # noqa: SIM118
        if json.loads(reference.metadata()["values"]) != values:
            differing.append("values that are no tensors")
    differing += sorted(stored.keys() ^ tensors.keys())
    both = sorted(stored.keys() & tensors.keys())
    for name in both:
        if not _same_bits(stored[name], tensors[name]):
            differing.append(name)
        size += stored[name].nbytes
    return len(both), size, differing


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().clone()


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))
