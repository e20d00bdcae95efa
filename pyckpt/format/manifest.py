"""An item's manifest: its tree, its tensors, the objects that hold them, and where every shard lies.

``decode_manifest`` accepts what is well-formed row by row; ``manifest_check.check_manifest`` then proves that the rows
together are complete. Both are needed before a manifest is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.format.codecs import Chain
from pyckpt.format.columns import read_table
from pyckpt.format.dtypes import DTYPES
from pyckpt.format.manifest_parts import (
    chains_as_maps,
    check_plain,
    objects_as_maps,
    parse_chains,
    parse_dtypes,
    parse_objects,
)
from pyckpt.format.msgpack_strict import pack, unpack
from pyckpt.format.shard_columns import shard_columns, shards_from_columns
from pyckpt.format.shard_table import ObjectRow, ShardTable
from pyckpt.format.show import show
from pyckpt.format.tensor_table import TensorTable, bits_of
from pyckpt.format.tree import Node
from pyckpt.format.tree_decode import NESTED, check_tree, tree_hook
from pyckpt.format.tree_encode import encode_tree
from pyckpt.format.zstd_frame import FrameError, compress_frame, decompress_frame
from pyckpt.limits import MAX_MANIFEST_DEPTH, MAX_MANIFEST_RAW_BYTES, MAX_SHARDS, MAX_TENSORS, MAX_VALUES

__all__ = ["Manifest", "compress_manifest", "decode_manifest", "decompress_manifest", "encode_manifest"]

_MAJOR: Final = 1
_LEVEL: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """Everything about one item but its assets."""

    item: str
    """The name under which the item was first written."""
    attempt: str
    codecs: tuple[Chain, ...]
    """Chain 0 is empty."""
    tensors: TensorTable
    objects: tuple[ObjectRow, ...]
    shards: ShardTable
    tree: Mapping[str | int, Node]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Names of the dtypes that the table of tensors counts into."""
        return self.tensors.dtypes


def encode_manifest(
    manifest: Manifest,
    *,
    tensor_index: Callable[[object], int | None] | None = None,
    packed_tree: bytes | None = None,
) -> bytes:
    """The manifest's raw bytes; ``tensor_index`` as in ``encode_tree``.

    ``packed_tree`` is MessagePack that takes the place of the manifest's tree, where a caller has it already; it must
    be a complete tree whose references the tables answer.

    Raises UnsupportedState for a tree that can't be stored, LimitExceeded for a manifest above 2 GiB.
    """
    tensors, shards = manifest.tensors, manifest.shards
    record: dict[str, Any] = {
        "scf": _MAJOR,
        "attempt": manifest.attempt,
        "item": manifest.item,
        "dtypes": list(tensors.dtypes),
    }
    if not DTYPES.keys() >= set(tensors.dtypes):
        record["dtype_bits"] = list(tensors.bits)
    tensor_columns, columns = tensors.columns(), shard_columns(shards)
    record |= {
        "codecs": chains_as_maps(manifest.codecs),
        "tensors": {"count": len(tensors), "columns": tensor_columns},
        "objects": objects_as_maps(manifest.objects),
        "shards": {"count": len(shards), "columns": columns},
    }
    if packed_tree is None:
        record["tree"] = encode_tree(manifest.tree, tensor_index=tensor_index)
    try:
        raw = pack(record, size_hint=sum(map(len, (*tensor_columns.values(), *columns.values()))))
        if packed_tree is not None:
            # A map of fewer than 16 entries counts them in the low half of its first byte.
            raw = b"".join((bytes([raw[0] + 1]), memoryview(raw)[1:], pack("tree"), packed_tree))
    except (ValueError, OverflowError) as error:
        raise LimitExceeded("limit.exceeded", f"the manifest can't be written: {error}", key=manifest.item) from None
    if len(raw) > MAX_MANIFEST_RAW_BYTES:
        raise LimitExceeded("limit.exceeded", f"the manifest has {len(raw)} bytes, at most {MAX_MANIFEST_RAW_BYTES}")
    return raw


def compress_manifest(raw: bytes) -> bytes:
    """The manifest as it is stored."""
    return compress_frame(raw, _LEVEL)


def decompress_manifest(stored: bytes, raw_size: int, limit: int = MAX_MANIFEST_RAW_BYTES) -> bytes:
    """The raw bytes, of which the root says how many there are. Raises Corrupt (manifest.frame), LimitExceeded."""
    if raw_size > limit:
        raise LimitExceeded("limit.exceeded", f"a manifest of {raw_size} bytes, this reader takes up to {limit}")
    try:
        return decompress_frame(stored, raw_size)
    except FrameError as error:
        raise Corrupt("manifest.frame", f"the zstd frame {error}") from None


def decode_manifest(
    raw: bytes, *, item: str, attempt: str, max_values: int = MAX_VALUES, tables_only: bool = False
) -> Manifest:
    """The manifest in ``raw``, for any bytes.

    ``item`` and ``attempt`` are those of the manifest's key. ``tables_only`` is for programs that copy: the tree, which
    may have nodes of a later version, is not looked at and comes back empty. Raises Corrupt (manifest.syntax,
    manifest.schema, tree.schema, digest.missing), LimitExceeded.
    """
    record = unpack(
        raw,
        ext_hook=_opaque if tables_only else tree_hook("manifest.syntax"),
        nested=NESTED,
        code="manifest.syntax",
        max_depth=MAX_MANIFEST_DEPTH,
        max_values=max_values,
    )
    if type(record) is not dict:
        raise _corrupt("is not a map")
    if type(record.get("scf")) is not int or record["scf"] != _MAJOR:
        raise _corrupt(f"scf is {show(record.get('scf'))}, expected {_MAJOR}")
    for name, expected in (("item", item), ("attempt", attempt)):
        if record.get(name) != expected:
            raise _corrupt(f"{name} is {show(record.get(name))}, but the key says {expected!r}")
    check_plain(value for name, value in record.items() if name != "tree")
    dtypes, stated_bits = parse_dtypes(record)
    codecs = parse_chains(record.get("codecs"))
    count, columns = read_table(record.get("tensors"), what="tensors", max_count=MAX_TENSORS)
    tensors = TensorTable.from_columns(dtypes, bits_of(dtypes, stated_bits), count, columns)
    objects = parse_objects(record.get("objects"), item=item)
    count, columns = read_table(record.get("shards"), what="shards", max_count=MAX_SHARDS)
    shards = shards_from_columns(tensors, objects, len(codecs), count, columns)
    if "tree" not in record:
        raise _corrupt("has no tree")
    tree = {} if tables_only else _parse_tree(record["tree"], len(tensors))
    return Manifest(item, attempt, codecs, tensors, objects, shards, tree)


def _opaque(kind: int, payload: bytes) -> object:
    return kind, payload


def _parse_tree(tree: Node, tensors: int) -> dict[str | int, Node]:
    """Refuses references to no tensor, and tensors that no leaf refers to."""
    if not isinstance(tree, dict):
        raise Corrupt("tree.schema", "the tree is not a map at its top")
    used = set(check_tree(tree))
    if used and max(used) >= tensors:
        raise Corrupt("tree.schema", f"a reference to tensor {max(used)}, but there are {tensors}")
    if len(used) != tensors:
        unused = next(index for index in range(tensors) if index not in used)
        raise Corrupt("tree.schema", f"no leaf refers to tensor {unused}")
    return tree


def _corrupt(message: str) -> Corrupt:
    return Corrupt("manifest.schema", f"the manifest {message}")
