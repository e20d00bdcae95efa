"""From shards one by one to the table: for writers, whose shards come in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyckpt.errors import LimitExceeded
from pyckpt.format.columns import Numbers
from pyckpt.format.geometry import Box, Region
from pyckpt.format.shard_table import UNASSIGNED, ObjectRow, ShardTable
from pyckpt.format.tensor_table import TensorTable
from pyckpt.limits import MAX_NAME_BYTES

__all__ = ["ShardRow", "build_shards"]


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One shard as its writer knows it."""

    tensor: int | None
    """Number of the tensor; None for an unassigned shard."""
    object: int
    region: Region | None
    """None: the whole tensor; also None for an unassigned shard."""
    offset: int
    """Position of the first stored byte in the object."""
    stored_size: int
    block_digests: bytes
    """32 bytes for each block, over the block as stored."""
    codec: int = 0
    block_stored_sizes: Sequence[int] = ()
    """Of an encoded shard, one for each block."""
    decoded_digests: bytes | None = None
    """Of an encoded shard, 32 bytes for each block, or None if not known."""
    entry: str = ""
    """Name in the header of the object; empty: the derived one."""


def build_shards(tensors: TensorTable, objects: Sequence[ObjectRow], rows: Sequence[ShardRow]) -> ShardTable:
    """The table of these shards, in the order that the format asks for; columns that say nothing are left out.

    Decoded digests are kept if every encoded shard has them. Raises Corrupt (manifest.schema) for rows that contradict
    the other tables.
    """
    whole_offsets = {ndim: (0,) * ndim for ndim in range(65)}
    keys: list[tuple[int, tuple[int, ...], int, int]] = []
    for position, row in enumerate(rows):
        if row.tensor is None:
            keys.append((UNASSIGNED, (row.object, row.offset), 0, position))
        elif row.region is None:
            keys.append((row.tensor, whole_offsets[int(tensors.ndim[row.tensor])], 0, position))
        else:
            keys.append((row.tensor, row.region.box.offset, row.region.start, position))
    keys.sort()
    rows = [rows[key[3]] for key in keys]
    boxes, runs = _region_columns(tensors, rows)
    coded = [row for row in rows if row.codec]
    digests = [row.decoded_digests for row in coded if row.decoded_digests is not None]
    entries = [row.entry.encode() for row in rows]
    if max(map(len, entries), default=0) > MAX_NAME_BYTES:
        raise LimitExceeded("limit.exceeded", f"an entry name of more than {MAX_NAME_BYTES} bytes")
    named = any(entries)
    stored = np.array([row.stored_size for row in rows], dtype=np.int64)
    return ShardTable(
        tensors=tensors,
        objects=tuple(objects),
        tensor=np.array([key[0] for key in keys], dtype=np.uint32),
        object=np.array([row.object for row in rows], dtype=np.uint32),
        offset=np.array([row.offset for row in rows], dtype=np.int64),
        block_digest=b"".join(row.block_digests for row in rows),
        box_offset=boxes[0] if boxes else None,
        box_size=boxes[1] if boxes else None,
        run_start=runs[0] if runs else None,
        run_stop=runs[1] if runs else None,
        stored_size=stored if coded or any(row.tensor is None for row in rows) else None,
        codec=np.array([row.codec for row in rows], dtype=np.uint16) if coded else None,
        block_stored_size=(
            np.array([size for row in coded for size in row.block_stored_sizes], dtype=np.int64) if coded else None
        ),
        decoded_digest=b"".join(digests) if coded and len(digests) == len(coded) else None,
        entry_size=np.array([len(entry) for entry in entries], dtype=np.uint16) if named else None,
        entry=b"".join(entries) if named else None,
    )


def _region_columns(
    tensors: TensorTable, rows: Sequence[ShardRow]
) -> tuple[tuple[Numbers, Numbers] | None, tuple[Numbers, Numbers] | None]:
    """Box columns and run columns, each None where all rows have the default."""
    if all(row.region is None for row in rows):
        return None, None
    regions = [
        None if row.tensor is None else row.region or Region.whole(tensors.shape_of(row.tensor)) for row in rows
    ]
    boxes: tuple[Numbers, Numbers] | None = None
    runs: tuple[Numbers, Numbers] | None = None
    if any(
        region and row.tensor is not None and region.box != Box.whole(tensors.shape_of(row.tensor))
        for row, region in zip(rows, regions, strict=True)
    ):
        boxes = (
            np.array([number for region in regions if region for number in region.box.offset], dtype=np.int64),
            np.array([number for region in regions if region for number in region.box.size], dtype=np.int64),
        )
    if any(region and not region.is_whole_run for region in regions):
        runs = (
            np.array([region.start if region else 0 for region in regions], dtype=np.int64),
            np.array([region.stop if region else 0 for region in regions], dtype=np.int64),
        )
    return boxes, runs
