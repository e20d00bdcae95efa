"""What a rank tells the others of a live exchange: its tree, its tensors and the regions that it holds or wants.

Tables travel as flat columns of integers, compressed: layers and ranks are alike, so little is left of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from pyckpt.engine.fingerprint import Groups, fingerprints
from pyckpt.engine.leaves import ItemState, TensorLeaf
from pyckpt.engine.slots import Slot
from pyckpt.engine.table import has_indexed
from pyckpt.format.geometry import Box, Ints, Region
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.tree_encode import encode_tree
from pyckpt.format.zstd_frame import compress_frame, decompress_frame

__all__ = [
    "LiveTable",
    "Placements",
    "live_table",
    "pack_placements",
    "pack_tables",
    "squeeze",
    "unpack_placements",
    "unpack_tables",
    "unsqueeze",
]

Placements = list[tuple[int, Region]]
"""(tensor, region) each, in the order of the tensors and of their pieces."""


@dataclass(frozen=True, slots=True)
class LiveTable:
    """One rank's part of one item; what ``engine.unite`` needs, and the regions."""

    kind: str
    tree: bytes
    indexed: bool
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[Ints, ...]
    plain: tuple[int, ...]
    """Tensors that are plain: whole on this rank, and only claimed to be equal elsewhere."""
    prints: bytes
    held: bytes
    """``pack_placements`` of the regions, by the rank's own tensor numbers."""


def live_table(item: ItemState, slots: tuple[Slot, ...], groups: Groups, *, replicas: str) -> LiveTable:
    """The table of one item. Raises UnsupportedState for values that a tree can't hold."""
    numbers = {id(slot.leaf): slot.number for slot in slots}

    def number_of(leaf: object) -> int | None:
        return numbers[id(leaf)] if isinstance(leaf, TensorLeaf) else None

    prove = replicas in ("sample", "full")
    return LiveTable(
        item.kind,
        pack(encode_tree(item.tree, tensor_index=number_of, partial=True)),
        has_indexed(item.tree),
        tuple(slot.name for slot in slots),
        tuple(slot.leaf.dtype for slot in slots),
        tuple(tuple(slot.leaf.shape) for slot in slots),
        tuple(slot.number for slot in slots if slot.leaf.replicas is None),
        fingerprints(slots, mode=replicas, groups=groups) if prove else b"",
        pack_placements((slot.number, piece.region) for slot in slots for piece in slot.leaf.pieces),
    )


def pack_tables(tables: Mapping[str, LiveTable]) -> bytes:
    """All items of one rank, for rank 0."""
    rows = {
        name: [
            table.kind,
            table.tree,
            table.indexed,
            list(table.names),
            list(table.dtypes),
            [list(shape) for shape in table.shapes],
            list(table.plain),
            table.prints,
            table.held,
        ]
        for name, table in tables.items()
    }
    return squeeze(msgpack.packb(rows))


def unpack_tables(data: bytes) -> dict[str, LiveTable]:
    """What ``pack_tables`` gave; the sender is another rank of the same program and is trusted."""
    raw: dict[str, list[Any]] = msgpack.unpackb(unsqueeze(data))
    return {
        name: LiveTable(
            kind, tree, indexed, tuple(names), tuple(dtypes), tuple(map(tuple, shapes)), tuple(plain), prints, held
        )
        for name, (kind, tree, indexed, names, dtypes, shapes, plain, prints, held) in raw.items()
    }


def pack_placements(placements: Iterable[tuple[int, Region]]) -> bytes:
    """Regions as columns: tensor, number of dimensions, then offsets, sizes, start and stop."""
    tensors, ndims, numbers = [], [], []
    for tensor, region in placements:
        tensors.append(tensor)
        ndims.append(region.box.ndim)
        numbers += [*region.box.offset, *region.box.size, region.start, region.stop]
    columns = (np.array(tensors, "<i8"), np.array(ndims, "<i8"), np.array(numbers, "<i8"))
    data: bytes = msgpack.packb([column.tobytes() for column in columns])
    return data


def unpack_placements(data: bytes, known: dict[tuple[int, ...], Region]) -> Placements:
    """What ``pack_placements`` gave; equal regions are one object, found in ``known`` or added to it."""
    tensors, ndims, numbers = (np.frombuffer(column, "<i8").tolist() for column in msgpack.unpackb(data))
    out: Placements = []
    at = 0
    for tensor, ndim in zip(tensors, ndims, strict=True):
        row = tuple(numbers[at : at + 2 * ndim + 2])
        at += 2 * ndim + 2
        region = known.get(row)
        if region is None:
            region = known[row] = Region(Box(row[:ndim], row[ndim : 2 * ndim]), row[-2], row[-1])
        out.append((tensor, region))
    return out


def squeeze(data: bytes) -> bytes:
    """The bytes in one compressed frame, behind their size."""
    return len(data).to_bytes(8, "little") + compress_frame(data, 1)


def unsqueeze(data: bytes) -> bytes:
    """What ``squeeze`` was given."""
    return decompress_frame(data[8:], int.from_bytes(data[:8], "little"))
