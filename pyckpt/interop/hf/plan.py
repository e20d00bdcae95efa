"""Which tensor goes into which file at which offset; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from pyckpt.engine.open import OpenItem
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Ints
from pyckpt.format.safetensors import Entry, build_header

__all__ = [
    "PlannedFile",
    "Weight",
    "deal_files",
    "file_entries",
    "file_header",
    "pack_files",
    "plan_files",
    "unpack_files",
]

HEADER_METADATA = {"format": "pt"}
"""Loaders of safetensors refuse a file that doesn't say which framework's conventions it follows."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of the export."""

    name: str
    tensor: int
    """Number in the item's tensor table."""
    stored: str
    """Dtype in the checkpoint."""
    dtype: str
    """Dtype in the export."""
    shape: Ints

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the export."""
        return byte_count(dtype_of(self.dtype), self.elements)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the checkpoint, decoded."""
        return byte_count(dtype_of(self.stored), self.elements)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of weights. Its tensors lie in this order."""

    name: str
    weights: tuple[Weight, ...]
    linked: int | None = None
    """Number of the data object that is this file already."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(weight.nbytes for weight in self.weights)


def plan_files(
    weights: Sequence[Weight], *, max_bytes: int, linked: Mapping[int, Sequence[Weight]] | None = None
) -> tuple[PlannedFile, ...]:
    """Files of at most ``max_bytes`` of tensors, filled greedily in the order of ``weights``.

    A tensor that is larger than that gets a file of its own. ``linked`` are objects that are files already: number ->
    what lies in them. They come first, in the order of their first tensor.
    """
    groups: list[tuple[int | None, Sequence[Weight]]] = []
    taken: set[str] = set()
    place = {weight.name: at for at, weight in enumerate(weights)}
    for number, inside in sorted((linked or {}).items(), key=lambda each: min(place[w.name] for w in each[1])):
        groups.append((number, inside))
        taken.update(weight.name for weight in inside)
    current: list[Weight] = []
    size = 0
    for weight in weights:
        if weight.name in taken:
            continue
        if weight.nbytes > max_bytes:
            groups.append((None, [weight]))
            continue
        if size + weight.nbytes > max_bytes:
            groups.append((None, current))
            current, size = [], 0
        current.append(weight)
        size += weight.nbytes
    if current or not groups:
        groups.append((None, current))
    names = ["model.safetensors"]
    if len(groups) > 1:
        names = [f"model-{at:05d}-of-{len(groups):05d}.safetensors" for at in range(1, len(groups) + 1)]
    return tuple(
        PlannedFile(name, _aligned(inside), number) for name, (number, inside) in zip(names, groups, strict=True)
    )


def _aligned(weights: Sequence[Weight]) -> tuple[Weight, ...]:
    """By falling size of an element: readers that map the file get no tensor at an odd address."""
    return tuple(sorted(weights, key=lambda weight: -dtype_of(weight.dtype).item))


def file_entries(file: PlannedFile) -> list[Entry]:
    """The lines of a file's header."""
    entries = []
    at = 0
    for weight in file.weights:
        end = at + weight.nbytes
        entries.append(Entry(weight.name, weight.dtype, weight.shape, at, end))
        at = end
    return entries


def file_header(file: PlannedFile) -> bytes:
    """The bytes of a file before its data."""
    return build_header(file_entries(file), HEADER_METADATA)


def deal_files(files: Sequence[PlannedFile], ranks: int) -> list[list[PlannedFile]]:
    """The files of each rank: the largest first, each to whoever has least."""
    shares: list[list[PlannedFile]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for file in sorted(files, key=lambda file: (-file.nbytes, file.name)):
        rank = loads.index(min(loads))
        shares[rank].append(file)
        loads[rank] += file.nbytes
    return [sorted(share, key=lambda file: file.name) for share in shares]


def pack_files(files: Sequence[PlannedFile]) -> list[Any]:
    """The plan as rank 0 announces it: plain lists for MessagePack."""
    return [[file.name, file.linked, [[w.name, w.tensor, w.dtype] for w in file.weights]] for file in files]


def unpack_files(data: Sequence[Any], item: OpenItem) -> tuple[PlannedFile, ...]:
    """The inverse; what the manifest says is taken from this rank's own."""
    return tuple(
        PlannedFile(
            name,
            tuple(Weight(each, tensor, item.dtype(tensor), dtype, item.shape(tensor)) for each, tensor, dtype in rows),
            linked,
        )
        for name, linked, rows in data
    )
