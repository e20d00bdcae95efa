"""Regions of a DTensor on this rank, from the rules of its placements alone (integers in, integers out).

``compute_local_shape_and_global_offset`` of torch can't say what an interleaved ``_StridedShard`` holds, and takes
``Partial`` without a word; so the split is done here, on lists of index ranges.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pyckpt.errors import UsageError
from pyckpt.format.geometry import Box, Ints, row_major_strides

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.placement_types import Placement

__all__ = [
    "Held",
    "Runs",
    "Split",
    "dtensor_layout",
    "empty_dtensor",
    "held_boxes",
    "replica_group",
    "split_runs",
]

Runs = tuple[tuple[int, int], ...]
"""Ascending, non-empty, non-touching index ranges ``[start, stop)`` of one dimension, in memory order."""


@dataclass(frozen=True, slots=True)
class Split:
    """One placement that cuts: part ``index`` of ``count`` along ``dim``."""

    dim: int
    count: int
    index: int
    factor: int = 0
    """0 for ``Shard``; the split factor of ``_StridedShard``."""


@dataclass(frozen=True, slots=True)
class Held:
    """A box of the global tensor, and where it lies in the local one."""

    box: Box
    local: Ints
    """Offset in the local tensor; the size is that of the box."""


def split_runs(runs: Runs, count: int, index: int, factor: int = 0) -> Runs:
    """The ranges that part ``index`` of ``count`` holds, by the rule of ``torch.chunk``.

    With a factor, the ranges are first chunked ``factor`` times and the part is taken of every chunk, which is how
    ``_StridedShard`` defines itself.
    """
    if not factor:
        return _chunk(runs, count, index)
    parts = (_chunk(_chunk(runs, factor, j), count, index) for j in range(factor))
    return _join(itertools.chain.from_iterable(parts))


def _chunk(runs: Runs, count: int, index: int) -> Runs:
    total = sum(stop - start for start, stop in runs)
    part = -(-total // count)
    low, high = min(total, part * index), min(total, part * (index + 1))
    out = []
    position = 0
    for start, stop in runs:
        first, last = max(low, position), min(high, position + stop - start)
        if first < last:
            out.append((start + first - position, start + last - position))
        position += stop - start
    return tuple(out)


def _join(runs: Any) -> Runs:
    out: list[tuple[int, int]] = []
    for start, stop in runs:
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], stop)
        else:
            out.append((start, stop))
    return tuple(out)


def held_boxes(shape: Ints, splits: Sequence[Split], local_shape: Ints) -> tuple[Held, ...] | None:
    """The boxes that the rank holds, or None if no reading of the splits gives ``local_shape``.

    ``splits`` come in mesh order. Where split factors say that the later mesh dimensions were cut first (FSDP2 on top
    of tensor parallelism), that order is the truth for uneven sizes, and comes first.
    """
    runs: list[Runs] = []
    for dim, size in enumerate(shape):
        mine = [split for split in splits if split.dim == dim]
        whole: Runs = ((0, size),) if size else ()
        for order in _readings(mine):
            got = whole
            for split in order:
                got = split_runs(got, split.count, split.index, split.factor)
            if sum(stop - start for start, stop in got) == local_shape[dim]:
                runs.append(got)
                break
        else:
            return None
    if not all(runs):
        return ()
    out = []
    for combination in itertools.product(*(_with_position(r) for r in runs)):
        offset = tuple(start for start, _, _ in combination)
        extent = tuple(stop - start for start, stop, _ in combination)
        out.append(Held(Box(offset, extent), tuple(position for _, _, position in combination)))
    return tuple(out)


def _readings(splits: Sequence[Split]) -> list[list[Split]]:
    plain = list(splits)
    later = [math.prod(s.count for s in plain[i + 1 :]) for i in range(len(plain))]
    matching = all(s.factor in (0, 1) or s.factor == n for s, n in zip(plain, later, strict=True))
    if any(s.factor for s in plain) and matching:
        return [_right_to_left(plain, later), plain]
    return [plain]


def _right_to_left(splits: Sequence[Split], later: Sequence[int]) -> list[Split]:
    # A plain Shard is applied to what those on its left left over; a strided one after all those on its right.
    order: list[Split] = []
    for split, n in reversed(list(zip(splits, later, strict=True))):
        bare = Split(split.dim, split.count, split.index)
        if split.factor == n and split.factor > 1:
            order.append(bare)
        else:
            order.insert(0, bare)
    return order


def _with_position(runs: Runs) -> list[tuple[int, int, int]]:
    out = []
    position = 0
    for start, stop in runs:
        out.append((start, stop, position))
        position += stop - start
    return out


def replica_group(mesh: Any, coordinate: Sequence[int], cut: Sequence[bool]) -> tuple[int, ...]:
    """Global ranks of ``mesh`` (an integer tensor) with this coordinate along every dimension that is ``cut``."""
    index = tuple(c if is_cut else slice(None) for c, is_cut in zip(coordinate, cut, strict=True))
    return tuple(sorted(int(rank) for rank in mesh[index].reshape(-1).tolist()))


def dtensor_layout(tensor: DTensor, local_shape: Ints, key: str) -> tuple[tuple[Held, ...], tuple[int, ...]]:
    """Boxes that this rank holds, and the global ranks that hold the same (``()`` if it is alone).

    ``UsageError``: state.partial for a pending reduction, state.layout for a placement that is unknown or that the
    local shape contradicts.
    """
    mesh, placements = tensor.device_mesh, tensor.placements
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return (), ()
    splits = []
    cut = []
    for mesh_dim, placement in enumerate(placements):
        if placement.is_partial():
            raise UsageError(
                "state.partial",
                f"placement {placement!r} of mesh dimension {mesh_dim}: every rank holds a summand, nobody the value",
                key=key,
                hint="redistribute it to Shard or Replicate before saving, or leave it out of the state",
            )
        cut.append(not placement.is_replicate())
        if placement.is_replicate():
            continue
        kind = type(placement).__name__
        if kind not in ("Shard", "_StridedShard"):
            raise UsageError(
                "state.layout",
                f"placement {placement!r} is not one that pyckpt knows",
                key=key,
                hint="redistribute it to Shard or Replicate, or declare its regions through layout=",
            )
        factor = int(placement.split_factor) if kind == "_StridedShard" else 0  # type: ignore[attr-defined]
        dim = int(placement.dim) % max(tensor.ndim, 1)  # type: ignore[attr-defined]
        splits.append(Split(dim, mesh.size(mesh_dim), coordinate[mesh_dim], factor))
    boxes = held_boxes(tuple(tensor.shape), _in_shard_order(tensor, splits, cut), local_shape)
    if boxes is None:
        raise UsageError(
            "state.layout",
            f"shape {tuple(tensor.shape)} with {placements} on a mesh of {tuple(mesh.shape)} can't leave "
            f"{local_shape} on coordinate {tuple(coordinate)}",
            key=key,
            hint="was the DTensor made by from_local with uneven parts? Give it shape= and stride=, or use layout=",
        )
    if all(is_cut or size == 1 for is_cut, size in zip(cut, mesh.shape, strict=True)):
        return boxes, ()
    return boxes, replica_group(_ranks_of(mesh), coordinate, cut)


def _ranks_of(mesh: DeviceMesh) -> Any:
    """``mesh.mesh``, which torch makes anew at every look."""
    ranks = _KNOWN_RANKS.get(mesh)
    if ranks is None:
        ranks = _KNOWN_RANKS[mesh] = mesh.mesh
    return ranks


_KNOWN_RANKS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def empty_dtensor(
    shape: Ints, dtype: torch.dtype, mesh: DeviceMesh, placements: Sequence[Placement], *, key: str
) -> DTensor:
    """A new DTensor of arbitrary values, on this rank's part of the mesh. ``UsageError`` (state.layout) if it can't be.

    torch's own factories can't make an interleaved ``_StridedShard``; here the local shape follows from the same rules
    as everywhere.
    """
    import torch
    from torch.distributed.tensor import DTensor

    coordinate = mesh.get_coordinate()
    splits: list[Split] = []
    for mesh_dim, placement in enumerate(placements):
        if placement.is_replicate():
            continue
        dim = int(placement.dim)  # type: ignore[attr-defined]
        if not -len(shape) <= dim < len(shape):
            text = f"placement {placement!r} for a tensor of shape {list(shape)}"
            raise UsageError("state.layout", text, key=key)
        factor = int(getattr(placement, "split_factor", 0))
        index = 0 if coordinate is None else coordinate[mesh_dim]
        splits.append(Split(dim % len(shape), mesh.size(mesh_dim), index, factor))
    local_shape = (0,) if coordinate is None else _local_shape(shape, splits)
    local = torch.empty(local_shape, dtype=dtype, device=mesh.device_type)
    stride = row_major_strides(shape)
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=torch.Size(shape), stride=stride)


def _local_shape(shape: Ints, splits: Sequence[Split]) -> Ints:
    sizes = []
    for dim, size in enumerate(shape):
        runs: Runs = ((0, size),) if size else ()
        for split in _readings([each for each in splits if each.dim == dim])[0]:
            runs = split_runs(runs, split.count, split.index, split.factor)
        sizes.append(sum(stop - start for start, stop in runs))
    return tuple(sizes)


def _in_shard_order(tensor: DTensor, splits: list[Split], cut: Sequence[bool]) -> list[Split]:
    """``splits`` in the order in which they were applied, where the DTensor's spec states another than mesh order."""
    order = getattr(tensor._spec, "shard_order", None)
    if order is None or any(split.factor for split in splits):
        return splits
    by_mesh_dim = dict(zip([d for d, is_cut in enumerate(cut) if is_cut], splits, strict=True))
    listed = [mesh_dim for entry in order for mesh_dim in entry.mesh_dims]
    if sorted(listed) != sorted(by_mesh_dim):
        return splits
    return [by_mesh_dim[mesh_dim] for mesh_dim in listed]
