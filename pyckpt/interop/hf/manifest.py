"""Safetensors files of a directory as a manifest in memory, so that the engine reads them like data objects of its own.

Every tensor is one shard, whole. There are no digests: a load from such a manifest has to leave them unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pyckpt.errors import Corrupt
from pyckpt.format.digest import DIGEST_BYTES
from pyckpt.format.geometry import Ints
from pyckpt.format.manifest import Manifest
from pyckpt.format.safetensors import Entry
from pyckpt.format.shard_table import ObjectRow, ShardTable
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tree import Node, TensorRef
from pyckpt.limits import MIN_BLOCK_BYTES

__all__ = ["ITEM", "HeldFile", "HfItem", "hf_item"]

ITEM: Final = "model"
"""Name of the one item, as messages show it."""
MAX_BLOCKS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One file of weights."""

    name: str
    """As the directory has it."""
    key: str
    """Key in the store; another than the name where that is a link."""
    size: int
    data_start: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, eq=False)
class HfItem:
    """What a binder sees, and what the engine reads from."""

    manifest: Manifest
    object_keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the item."""
        return ITEM

    @property
    def kind(self) -> str:
        """Kind of the item."""
        return "model"

    @property
    def tree(self) -> Mapping[str | int, Node]:
        """Name -> tensor."""
        return self.manifest.tree

    def dtype(self, tensor: int) -> str:
        """Name of a tensor's dtype."""
        return self.manifest.tensors.dtype_of(tensor)

    def shape(self, tensor: int) -> Ints:
        """Shape of a tensor."""
        return self.manifest.tensors.shape_of(tensor)


def hf_item(files: Sequence[HeldFile]) -> HfItem:
    """The item that these files are. Raises Corrupt ``object.header`` for a name that two of them have."""
    holder: dict[str, str] = {}
    for file in files:
        for entry in file.entries:
            other = holder.setdefault(entry.name, file.name)
            if other is not file.name:
                raise Corrupt(
                    "object.header", f"{entry.name!r:.200} is in {other!r} already; which one counts?", key=file.name
                )
    block = _block_bytes(sum(file.size for file in files))
    objects = tuple(
        ObjectRow(file.name, None, file.size, file.data_start, b"", "blake3", block) for file in files
    )
    rows = [(number, file, entry) for number, file in enumerate(files) for entry in file.entries]
    tensors = TensorTable.build((entry.name, entry.dtype, entry.shape) for _, _, entry in rows)
    blocks = sum(-(-(entry.end - entry.begin) // block) for _, _, entry in rows)
    shards = ShardTable(
        tensors,
        objects,
        tensor=np.arange(len(rows), dtype=np.uint32),
        object=np.array([number for number, _, _ in rows], dtype=np.uint32),
        offset=np.array([file.data_start + entry.begin for _, file, entry in rows], dtype=np.int64),
        block_digest=bytes(DIGEST_BYTES * blocks),
    )
    tree: dict[str | int, Node] = {entry.name: TensorRef(number) for number, (_, _, entry) in enumerate(rows)}
    manifest = Manifest(ITEM, "0" * 16, ((),), tensors, objects, shards, tree)
    return HfItem(manifest, tuple(file.key for file in files))


def _block_bytes(total: int) -> int:
    """The unit of reading: small, for ranks want parts that begin anywhere, but not more of them than are cheap."""
    block = MIN_BLOCK_BYTES
    while total // block > MAX_BLOCKS:
        block *= 2
    return block
