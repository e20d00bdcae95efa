"""A Llama-like model that the ranks hold together in one layout and want in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from benchmarks.state import llama_shapes

__all__ = [
    "LLAMA",
    "Boxes",
    "Layout",
    "boxes_of",
    "check_against",
    "columns",
    "fewest_bytes",
    "model_in",
    "placed",
    "replicated",
    "rows",
    "tensor_parallel",
    "values_of",
]

LLAMA = llama_shapes(hidden=1024, inner=2816, layers=14, vocab=8192)
"""393 MB of bf16 weights in 129 tensors."""
DTYPE = torch.bfloat16

Shape = tuple[int, ...]
Boxes = list[tuple[Shape, Shape] | None]
"""By rank, offset and size of the one box that it has; None where it has nothing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A mesh, and the placements of every tensor on it."""

    mesh: DeviceMesh
    placements: Callable[[str, Shape], tuple[Placement, ...]]
    shapes: Mapping[str, Shape] = field(default_factory=lambda: LLAMA)

    @property
    def mine(self) -> bool:
        """Whether this rank is part of the mesh."""
        return self.mesh.get_coordinate() is not None

    def of(self, name: str) -> tuple[Placement, ...]:
        """Placements of a tensor of the model."""
        return self.placements(name, self.shapes[name])


def rows(name: str, shape: Shape) -> tuple[Placement, ...]:
    """As FSDP2 does it."""
    del name, shape
    return (Shard(0),)


def columns(name: str, shape: Shape) -> tuple[Placement, ...]:
    """Matrices by columns; vectors have only rows."""
    del name
    return (Shard(len(shape) - 1),)


def replicated(name: str, shape: Shape) -> tuple[Placement, ...]:
    """Everything everywhere."""
    del name, shape
    return (Replicate(),)


def tensor_parallel(name: str, shape: Shape) -> tuple[Placement, ...]:
    """As inference engines do it: outputs of a block by columns, its inputs by rows, norms everywhere."""
    if len(shape) == 1:
        return (Replicate(),)
    return (Shard(1),) if "o_proj" in name or "down_proj" in name else (Shard(0),)


def placed(*placements: Placement) -> Callable[[str, Shape], tuple[Placement, ...]]:
    """The same for all matrices; for vectors, which have one dimension, the cut is along that."""

    def of(name: str, shape: Shape) -> tuple[Placement, ...]:
        del name
        return tuple(Shard(min(p.dim, len(shape) - 1)) if isinstance(p, Shard) else p for p in placements)

    return of


def values_of(name: str, shape: Shape, device: torch.device) -> torch.Tensor:
    """The whole tensor: bit patterns that differ from element to element and from tensor to tensor."""
    start = sum(name.encode()) * 40503
    return torch.arange(start, start + prod(shape), device=device).to(torch.int16).view(DTYPE).view(shape)


def model_in(layout: Layout, device: torch.device) -> dict[str, torch.Tensor]:
    """This rank's DTensors; nothing outside the mesh."""
    if not layout.mine:
        return {}
    state: dict[str, torch.Tensor] = {}
    for name, shape in layout.shapes.items():
        part = _part(values_of(name, shape, device), _own_box(layout, name))
        local = part.clone(memory_format=torch.contiguous_format)
        strides = tuple(prod(shape[d + 1 :]) for d in range(len(shape)))
        state[name] = DTensor.from_local(
            local, layout.mesh, layout.of(name), run_check=False, shape=torch.Size(shape), stride=strides
        )
    return state


def check_against(layout: Layout, made: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """SystemExit unless these are this rank's parts of the model, to the last bit."""
    if not layout.mine:
        return
    for name, shape in layout.shapes.items():
        expected = _part(values_of(name, shape, device), _own_box(layout, name)).contiguous()
        if not torch.equal(made[name].reshape(expected.shape).view(torch.int16), expected.view(torch.int16)):
            raise SystemExit(f"{name} did not arrive as it was")


def boxes_of(layout: Layout) -> dict[str, Boxes]:
    """What every rank has of every tensor, by torch's own rule."""
    own: dict[str, Any] = {name: _own_box(layout, name) for name in layout.shapes} if layout.mine else {}
    by_rank: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(by_rank, own)
    return {name: [each.get(name) for each in by_rank] for name in layout.shapes}


def fewest_bytes(have: Mapping[str, Boxes], want: Mapping[str, Boxes]) -> int:
    """Bytes that ranks want and don't have: one box each, so it is a matter of two volumes."""
    elements = 0
    for name, boxes in have.items():
        for own, wanted in zip(boxes, want[name], strict=True):
            if wanted is not None:
                elements += prod(wanted[1]) - (_shared(own, wanted) if own is not None else 0)
    return elements * DTYPE.itemsize


def _own_box(layout: Layout, name: str) -> tuple[Shape, Shape]:
    size, offset = compute_local_shape_and_global_offset(layout.shapes[name], layout.mesh, layout.of(name))
    return tuple(offset), tuple(size)


def _shared(a: tuple[Shape, Shape], b: tuple[Shape, Shape]) -> int:
    sizes = [min(o + n, p + m) - max(o, p) for o, n, p, m in zip(*a, *b, strict=True)]
    return prod(max(0, size) for size in sizes)


def _part(whole: torch.Tensor, box: tuple[Shape, Shape]) -> torch.Tensor:
    return whole[tuple(slice(first, first + count) for first, count in zip(*box, strict=True))]
