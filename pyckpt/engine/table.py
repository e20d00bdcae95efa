"""What a writer tells the coordinator once its data objects are durable: its tree, tensors, objects and shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgpack
import numpy as np

from pyckpt.engine.compare import Reference
from pyckpt.engine.leaves import ItemState, TensorLeaf
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.rows import Rows, concat, reference_rows, rows_of
from pyckpt.engine.save_plan import chains_of
from pyckpt.engine.slots import Slot
from pyckpt.engine.stored import StoredObject
from pyckpt.format.codecs import Chain, Codec
from pyckpt.format.geometry import Ints
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.shard_table import ObjectRow
from pyckpt.format.tree import Flattened, Indexed
from pyckpt.format.tree_encode import encode_tree

__all__ = ["ItemTable", "WriterTable", "has_indexed", "item_table", "pack_table", "unpack_tables"]


@dataclass(frozen=True, slots=True)
class ItemTable:
    """One writer's contribution to one item. Tensor and object numbers are the writer's own."""

    kind: str
    tree: bytes
    """MessagePack of the writer's tree."""
    indexed: bool
    """Whether the tree has values per rank, of which this writer has only its own."""
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[Ints, ...]
    plain: tuple[int, ...]
    """Tensors that are plain: whole on this writer, and only claimed to be equal elsewhere."""
    group: tuple[int, ...]
    """Writers whose plain tensors look like this one's."""
    objects: tuple[ObjectRow, ...]
    chains: tuple[Chain, ...]
    borrowed: tuple[Chain, ...]
    """Chains of shards that are referenced, numbered after the writer's own."""
    rows: Rows
    prints: bytes
    """Fingerprints, see ``engine.fingerprint``."""


@dataclass(frozen=True, slots=True)
class WriterTable:
    """Everything that one writer reports."""

    items: Mapping[str, ItemTable]
    written: int
    """Bytes in data objects."""
    warnings: tuple[str, ...]


_Structure: TypeAlias = tuple[bytes, tuple[str, ...], tuple[str, ...], tuple[Ints, ...]]
"""Tree, names, dtypes and shapes of an item."""


def item_table(
    state: ItemState,
    slots: Sequence[Slot],
    stored: Sequence[StoredObject],
    references: Sequence[Reference],
    *,
    prints: bytes,
    group: tuple[int, ...],
    options: SaveOptions,
) -> ItemTable:
    """The table of one item on this writer. Raises UnsupportedState for values that the tree can't hold."""
    numbers = {id(slot.leaf): slot.number for slot in slots}

    def number_of(leaf: object) -> int | None:
        return numbers[id(leaf)] if isinstance(leaf, TensorLeaf) else None

    tree = pack(encode_tree(state.tree, tensor_index=number_of, partial=True))
    digest, block = options.digest, options.block_bytes
    own = [
        ObjectRow(each.plan.key, None, each.size, each.data_start, each.header_digest, digest, block)
        for each in stored
    ]
    elsewhere = {row: len(own) + at for at, row in enumerate(dict.fromkeys(each.object for each in references))}
    chains = chains_of(options.codec_of(state.name), options.codec_level)
    listed = dict.fromkeys([*chains, *(each.chain for each in references)])
    chain_number = {chain: at for at, chain in enumerate(listed)}
    borrowed = reference_rows(
        references,
        [elsewhere[each.object] for each in references],
        [chain_number[each.chain] for each in references],
    )
    return ItemTable(
        state.kind,
        tree,
        has_indexed(state.tree),
        tuple(slot.name for slot in slots),
        tuple(slot.leaf.dtype for slot in slots),
        tuple(tuple(slot.leaf.shape) for slot in slots),
        tuple(slot.number for slot in slots if slot.leaf.replicas is None),
        group,
        (*own, *elsewhere),
        chains,
        tuple(chain_number)[len(chains) :],
        concat([rows_of(stored, block), borrowed]) if references else rows_of(stored, block),
        prints,
    )


def has_indexed(node: object) -> bool:
    """Whether a tree has values per rank, or flattened tensors, at any depth."""
    if isinstance(node, Mapping):
        return any(has_indexed(value) for value in node.values() if type(value) is not TensorLeaf)
    if isinstance(node, (list, tuple)):
        return any(map(has_indexed, node))
    return isinstance(node, (Indexed, Flattened))


def pack_table(table: WriterTable) -> bytes:
    """The table as bytes, for the coordinator."""
    items = {
        name: {
            "kind": item.kind,
            "indexed": item.indexed,
            "structure": _pack_structure(item),
            "plain": np.array(item.plain, "<u4").tobytes(),
            "group": list(item.group),
            "objects": [
                [row.key, row.store_key, row.size, row.data_start, row.header_digest, row.digest, row.block]
                for row in item.objects
            ],
            "chains": _plain(item.chains),
            "borrowed": _plain(item.borrowed),
            "rows": item.rows.pack(),
            "prints": item.prints,
        }
        for name, item in table.items.items()
    }
    data: bytes = msgpack.packb({"items": items, "written": table.written, "warnings": list(table.warnings)})
    return data


def _plain(chains: Sequence[Chain]) -> list[Any]:
    return [[[codec.id, dict(codec.params)] for codec in chain] for chain in chains]


def _chains(plain: Sequence[Any]) -> tuple[Chain, ...]:
    return tuple(tuple(Codec(id_, params) for id_, params in chain) for chain in plain)


def _pack_structure(item: ItemTable) -> bytes:
    """What most writers have alike, as bytes of its own."""
    ndims = np.array([len(shape) for shape in item.shapes], "<i8").tobytes()
    sizes = np.array([size for shape in item.shapes for size in shape], "<i8").tobytes()
    data: bytes = msgpack.packb([item.tree, item.names, item.dtypes, ndims, sizes])
    return data


def _unpack_structure(data: bytes) -> _Structure:
    tree, names, dtypes, ndims, packed = msgpack.unpackb(data)
    sizes = np.frombuffer(packed, "<i8").tolist()
    shapes, at = [], 0
    for ndim in np.frombuffer(ndims, "<i8").tolist():
        shapes.append(tuple(sizes[at : at + ndim]))
        at += ndim
    return tree, tuple(names), tuple(dtypes), tuple(shapes)


def unpack_tables(packed: Sequence[bytes]) -> list[WriterTable]:
    """What ``pack_table`` gave each; the senders are other ranks of the same program and are trusted.

    Trees, names, dtypes and shapes that writers have alike are unpacked once and shared.
    """
    known: dict[bytes, _Structure] = {}
    return [_unpack_table(data, known) for data in packed]


def _unpack_table(data: bytes, known: dict[bytes, _Structure]) -> WriterTable:
    raw: dict[str, Any] = msgpack.unpackb(data, strict_map_key=False)
    items = {}
    for name, item in raw["items"].items():
        structure = item["structure"]
        if structure not in known:
            known[structure] = _unpack_structure(structure)
        tree, names, dtypes, shapes = known[structure]
        items[name] = ItemTable(
            item["kind"],
            tree,
            item["indexed"],
            names,
            dtypes,
            shapes,
            tuple(np.frombuffer(item["plain"], "<u4").tolist()),
            tuple(item["group"]),
            tuple(ObjectRow(*row) for row in item["objects"]),
            _chains(item["chains"]),
            _chains(item["borrowed"]),
            Rows.unpack(item["rows"]),
            item["prints"],
        )
    return WriterTable(items, raw["written"], tuple(raw["warnings"]))
