"""What a writer tells the coordinator once its data objects are durable: its tree, tensors, objects and shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from pyckpt.engine.leaves import TensorLeaf
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.rows import Rows, rows_of
from pyckpt.engine.save_plan import ItemPlan
from pyckpt.engine.stored import StoredObject
from pyckpt.format.codecs import Chain, Codec
from pyckpt.format.geometry import Ints
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.shard_table import ObjectRow
from pyckpt.format.tree import Flattened, Indexed
from pyckpt.format.tree_encode import encode_tree

__all__ = ["ItemTable", "WriterTable", "has_indexed", "item_table", "pack_table", "unpack_table"]


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
    rows: Rows
    prints: bytes
    """Fingerprints, see ``engine.fingerprint``."""


@dataclass(frozen=True, slots=True)
class WriterTable:
    """Everything that one writer reports."""

    items: Mapping[str, ItemTable]
    written: int
    """Bytes in data objects."""


def item_table(
    plan: ItemPlan, stored: Sequence[StoredObject], prints: bytes, group: tuple[int, ...], options: SaveOptions
) -> ItemTable:
    """The table of one item on this writer. Raises UnsupportedState for values that the tree can't hold."""
    numbers = {id(slot.leaf): slot.number for slot in plan.slots}

    def number_of(leaf: object) -> int | None:
        return numbers[id(leaf)] if isinstance(leaf, TensorLeaf) else None

    tree = pack(encode_tree(plan.state.tree, tensor_index=number_of, partial=True))
    digest, block = options.digest, options.block_bytes
    objects = tuple(
        ObjectRow(each.plan.key, None, each.size, each.data_start, each.header_digest, digest, block)
        for each in stored
    )
    return ItemTable(
        plan.state.kind,
        tree,
        has_indexed(plan.state.tree),
        tuple(slot.name for slot in plan.slots),
        tuple(slot.leaf.dtype for slot in plan.slots),
        tuple(tuple(slot.leaf.shape) for slot in plan.slots),
        tuple(slot.number for slot in plan.slots if slot.leaf.replicas is None),
        group,
        objects,
        plan.chains,
        rows_of(stored, block),
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
            "tree": item.tree,
            "indexed": item.indexed,
            "names": list(item.names),
            "dtypes": list(item.dtypes),
            "ndims": np.array([len(shape) for shape in item.shapes], "<i8").tobytes(),
            "shapes": np.array([size for shape in item.shapes for size in shape], "<i8").tobytes(),
            "plain": np.array(item.plain, "<u4").tobytes(),
            "group": list(item.group),
            "objects": [
                [row.key, row.size, row.data_start, row.header_digest, row.digest, row.block] for row in item.objects
            ],
            "chains": [[[codec.id, dict(codec.params)] for codec in chain] for chain in item.chains],
            "rows": item.rows.pack(),
            "prints": item.prints,
        }
        for name, item in table.items.items()
    }
    data: bytes = msgpack.packb({"items": items, "written": table.written})
    return data


def unpack_table(data: bytes) -> WriterTable:
    """What ``pack_table`` gave; the sender is another rank of the same program and is trusted."""
    raw: dict[str, Any] = msgpack.unpackb(data, strict_map_key=False)
    items = {}
    for name, item in raw["items"].items():
        sizes = np.frombuffer(item["shapes"], "<i8").tolist()
        shapes, at = [], 0
        for ndim in np.frombuffer(item["ndims"], "<i8").tolist():
            shapes.append(tuple(sizes[at : at + ndim]))
            at += ndim
        items[name] = ItemTable(
            item["kind"],
            item["tree"],
            item["indexed"],
            tuple(item["names"]),
            tuple(item["dtypes"]),
            tuple(shapes),
            tuple(np.frombuffer(item["plain"], "<u4").tolist()),
            tuple(item["group"]),
            tuple(
                ObjectRow(key, None, size, start, header, digest, block)
                for key, size, start, header, digest, block in item["objects"]
            ),
            tuple(tuple(Codec(id_, params) for id_, params in chain) for chain in item["chains"]),
            Rows.unpack(item["rows"]),
            item["prints"],
        )
    return WriterTable(items, raw["written"])
