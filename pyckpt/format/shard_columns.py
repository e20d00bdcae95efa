"""The table of shards as the columns of a manifest, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyckpt.errors import Corrupt
from pyckpt.format.columns import Numbers, as_column, read_column, read_counts
from pyckpt.format.shard_table import UNASSIGNED, ObjectRow, ShardTable
from pyckpt.format.tensor_table import TensorTable

__all__ = ["shard_columns", "shards_from_columns"]


def shard_columns(table: ShardTable) -> dict[str, bytes]:
    """What ``shards_from_columns`` reads; a column that is None is left out."""
    numbers = {
        "tensor": (table.tensor, "u32"),
        "object": (table.object, "u32"),
        "box_offset": (table.box_offset, "u64"),
        "box_size": (table.box_size, "u64"),
        "run_start": (table.run_start, "u64"),
        "run_stop": (table.run_stop, "u64"),
        "offset": (table.offset, "u64"),
        "stored_size": (table.stored_size, "u64"),
        "codec": (table.codec, "u16"),
        "block_stored_size": (table.block_stored_size, "u64"),
        "entry_size": (table.entry_size, "u16"),
    }
    columns = {name: as_column(column, kind) for name, (column, kind) in numbers.items() if column is not None}
    columns["block_digest"] = table.block_digest
    if table.decoded_digest is not None:
        columns["decoded_digest"] = table.decoded_digest
    if table.entry is not None:
        columns["entry"] = table.entry
    return columns


def shards_from_columns(
    tensors: TensorTable, objects: tuple[ObjectRow, ...], codecs: int, count: int, columns: Mapping[str, bytes]
) -> ShardTable:
    """The checked table; ``codecs`` is the number of codec chains. Raises Corrupt (manifest.schema, digest.missing)."""

    def optional(name: str, kind: str, length: int) -> Numbers | None:
        return read_column(columns, name, kind, length, what="shards") if name in columns else None

    tensor = read_column(columns, "tensor", "u32", count, what="shards")
    assigned = tensor[tensor != UNASSIGNED]
    if assigned.size and int(assigned.max()) >= len(tensors):
        raise Corrupt("manifest.schema", f"shards: tensor number {int(assigned.max())}, there are {len(tensors)}")
    boxes = int(tensors.ndim[assigned].sum(dtype=np.int64)) if {"box_offset", "box_size"} & columns.keys() else 0
    codec = optional("codec", "u16", count)
    if codec is not None and codec.size and int(codec.max()) >= codecs:
        raise Corrupt("manifest.schema", f"shards: codec number {int(codec.max())}, there are {codecs} chains")
    entry_size, entry = None, None
    if {"entry_size", "entry"} & columns.keys():
        entry_size, entry = read_counts(columns, "entry_size", "entry", count, what="shards")
    # how many numbers this column needs is known once blocks are counted; its bytes bound it until then
    coded = len(columns.get("block_stored_size", b"")) // 8
    return ShardTable(
        tensors=tensors,
        objects=objects,
        tensor=tensor,
        object=read_column(columns, "object", "u32", count, what="shards"),
        offset=read_column(columns, "offset", "u64", count, what="shards"),
        block_digest=columns.get("block_digest", b""),
        box_offset=optional("box_offset", "u64", boxes),
        box_size=optional("box_size", "u64", boxes),
        run_start=optional("run_start", "u64", count),
        run_stop=optional("run_stop", "u64", count),
        stored_size=optional("stored_size", "u64", count),
        codec=codec,
        block_stored_size=optional("block_stored_size", "u64", coded),
        decoded_digest=columns.get("decoded_digest"),
        entry_size=entry_size,
        entry=entry,
    )
