"""The committer's work on one item: it assigns stored bytes to tensors, and writes the manifest (chapter 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import DTYPES
from .encode import column
from .encode_blocks import Chain
from .encode_names import entry_name
from .encode_region import Region as EncodedRegion
from .errors import Rejected
from .limits import DEFAULT
from .packing import pack, pack_tree
from .regions import Region
from .tiling import tiles
from .union import UnitedTensor, UnitedTree, diverged
from .writer import Table, TableObject, TableShard

UNASSIGNED = 0xFFFFFFFF


@dataclass(frozen=True)
class Row:
    """A shard of the manifest; `tensor` is None of a copy that was dropped."""

    tensor: UnitedTensor | None
    object: int
    shard: TableShard

    @property
    def chain(self) -> Chain:
        """The chain; that of a dropped copy is empty."""
        return self.shard.chain if self.tensor else ()

    @property
    def digests(self) -> tuple[bytes, ...]:
        """Of its stored blocks."""
        return self.shard.digests if self.tensor else self.shard.dropped_digests

    @property
    def name(self) -> str:
        """The explicit entry name; empty where it is derived."""
        region = self.shard.region
        if self.tensor is None:
            return self.shard.name
        given = EncodedRegion(region.offset, region.size, (region.start, region.stop))
        derived = entry_name(self.tensor.name, self.tensor.shape, given, encoded=bool(self.shard.chain))
        return "" if derived == self.shard.name else self.shard.name

    @property
    def order(self) -> tuple[int, tuple[int, ...], int]:
        """The place in the table (section 7.7)."""
        if self.tensor is None:
            return UNASSIGNED, (self.object, self.shard.offset), 0
        return self.tensor.number, self.shard.region.offset, self.shard.region.start


@dataclass(frozen=True)
class Assigned:
    """An item whose every stored byte is accounted for."""

    united: UnitedTree
    objects: tuple[TableObject, ...]
    rows: tuple[Row, ...]

    @property
    def counts(self) -> dict[str, int]:
        """What the root says of the manifest (SCF-ROOT-013)."""
        sizes = (_bytes(tensor) for tensor in self.united.tensors)
        return {
            "tensors": len(self.united.tensors),
            "shards": len(self.rows),
            "objects": len(self.objects),
            "bytes": sum(sizes),
        }


def _bytes(tensor: UnitedTensor) -> int:
    elements = 1
    for size in tensor.shape:
        elements *= size
    return elements * DTYPES[tensor.dtype].bits // 8


def assign(item: str, united: UnitedTree, tables: Sequence[Table]) -> Assigned:
    """Each region to the first writer that stored it; copies are compared and dropped (step 9 of section 13.1)."""
    by_part = {(writer, part.id): tensor for tensor in united.tensors for writer, part in tensor.parts}
    objects: list[TableObject] = []
    first: dict[tuple[int, Region], tuple[int, TableShard]] = {}
    rows = []
    for writer, table in enumerate(tables):
        for described in table.get(item, ()):
            for shard in described.shards:
                tensor = by_part[writer, shard.tensor]
                owner, original = first.setdefault((tensor.number, shard.region), (writer, shard))
                if original.decoded_digests != shard.decoded_digests:  # SCF-COMMIT-006
                    raise diverged(tensor.paths[0], [owner, writer], "different bytes for one region")
                rows.append(Row(tensor if original is shard else None, len(objects), shard))
            objects.append(described)
    for tensor in united.tensors:
        _check_tiling(tensor, [row.shard.region for row in rows if row.tensor is tensor])
    return Assigned(united, tuple(objects), tuple(sorted(rows, key=lambda row: row.order)))


def _check_tiling(tensor: UnitedTensor, regions: Sequence[Region]) -> None:
    """Every element is in exactly one shard (SCF-REG-004, SCF-COMMIT-005)."""
    if not tiles(tensor.shape, regions, DEFAULT):
        message = f"{len(regions)} shards do not tile {tensor.name}"
        raise Rejected("tiling.inexact", message, subject=tensor.name, phase="commit")


def manifest_bytes(item: str, attempt: str, assigned: Assigned) -> bytes:
    """The raw bytes of the manifest."""
    dtypes = list(dict.fromkeys(tensor.dtype for tensor in assigned.united.tensors))
    chains: list[Chain] = [()]
    for row in assigned.rows:
        if row.chain not in chains:
            chains.append(row.chain)
    members: dict[str, Any] = {
        "scf": 1,
        "attempt": attempt,
        "item": item,
        "dtypes": dtypes,
        "codecs": chains,
        "tensors": _tensors(assigned.united.tensors, dtypes),
        "objects": [_object(described) for described in assigned.objects],
        "shards": {"count": len(assigned.rows), "columns": _columns(assigned, chains)},
    }
    packed = [pack(key) + pack(value) for key, value in members.items()]
    return bytes([0x80 | len(packed) + 1]) + b"".join(packed) + pack("tree") + pack_tree(assigned.united)


def _object(described: TableObject) -> Mapping[str, object]:
    return {
        "key": described.key,
        "size": described.size,
        "data_start": described.data_start,
        "header_digest": described.header_digest,
        "digest": described.digest,
        "block": described.block,
    }


def _tensors(tensors: Sequence[UnitedTensor], dtypes: Sequence[str]) -> Mapping[str, object]:
    names = [tensor.name.encode() for tensor in tensors]
    columns = {
        "dtype": column("u16", [dtypes.index(tensor.dtype) for tensor in tensors]),
        "ndim": column("u8", [len(tensor.shape) for tensor in tensors]),
        "shape": column("u64", [size for tensor in tensors for size in tensor.shape]),
        "name_size": column("u16", [len(name) for name in names]),
        "name": b"".join(names),
    }
    return {"count": len(tensors), "columns": columns}


def _columns(assigned: Assigned, chains: Sequence[Chain]) -> Mapping[str, bytes]:
    """The columns of the shard table that are not at their default."""
    rows = assigned.rows
    used = [(row.tensor.shape, row.shard.region) for row in rows if row.tensor]
    columns = {
        "tensor": column("u32", [row.tensor.number if row.tensor else UNASSIGNED for row in rows]),
        "object": column("u32", [row.object for row in rows]),
        "offset": column("u64", [row.shard.offset for row in rows]),
    }
    if any(not region.is_whole(shape) for shape, region in used):
        columns["box_offset"] = column("u64", [number for _, region in used for number in region.offset])
        columns["box_size"] = column("u64", [number for _, region in used for number in region.size])
    if any(not region.is_box for _, region in used):
        columns["run_start"] = column("u64", [row.shard.region.start if row.tensor else 0 for row in rows])
        columns["run_stop"] = column("u64", [row.shard.region.stop if row.tensor else 0 for row in rows])
    encoded = [row for row in rows if row.chain]
    if encoded or len(used) < len(rows):
        columns["stored_size"] = column("u64", [row.shard.stored_size for row in rows])
    if encoded:
        columns["codec"] = column("u16", [chains.index(row.chain) for row in rows])
        columns["block_stored_size"] = column("u64", [size for row in encoded for size in row.shard.stored_sizes])
        columns["decoded_digest"] = b"".join(digest for row in encoded for digest in row.shard.decoded_digests)
    digests = b"".join(digest for row in rows for digest in row.digests)
    if digests:
        columns["block_digest"] = digests
    names = [row.name.encode() for row in rows]
    if any(names):
        columns["entry_size"] = column("u16", [len(name) for name in names])
        columns["entry"] = b"".join(names)
    return columns
