"""Valid drafts that the areas start from."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import msgpack

from ..oracle.encode import ATTEMPT, Draft, Item, Shard, Tensor
from ..oracle.encode_frame import plain_frame
from ..oracle.encode_region import Region
from .pack import pack

__all__ = [
    "ATTEMPT",
    "OTHER",
    "STEP",
    "ZSTD",
    "B",
    "W",
    "assembled",
    "bare",
    "basic",
    "content",
    "encoded",
    "one",
    "raw_tree",
    "runs",
    "scalars",
    "single",
    "tensor",
    "unassigned",
    "unknown",
    "whole",
]

OTHER = "0123456789abcdef"
"""Another attempt than that of the drafts."""
ZSTD: Mapping[str, Any] = {"id": "zstd"}
W = Tensor("w", "F32", (2, 3), struct.pack("<6f", *range(6)))
B = Tensor("b", "BF16", (3,), bytes.fromhex("803f00404040"))
STEP = {"step": 2}


def content(size: int, seed: int = 0) -> bytes:
    """Bytes without a pattern, always the same."""
    return hashlib.shake_128(f"content {seed}".encode()).digest(size)


def tensor(number: int) -> msgpack.ExtType:
    """A leaf that references a tensor."""
    return msgpack.ExtType(1, number.to_bytes(4, "little"))


def bare(**changes: Any) -> Draft:
    """A checkpoint without items."""
    return Draft({}, metadata=STEP).with_(**changes)


def scalars(tree: Mapping[Any, Any] | None = None, **changes: Any) -> Draft:
    """One item of scalars alone: no tensors, no data objects."""
    return Draft({"model": Item(tree=STEP if tree is None else tree, objects=(), **changes)}, metadata=STEP)


def single(**changes: Any) -> Draft:
    """One tensor ``w`` of F32 [2, 3], whole."""
    return Draft({"model": Item((W,), **changes)}, metadata=STEP)


def one(*tensors: Tensor, **changes: Any) -> Draft:
    """An item of these tensors, whole."""
    return Draft({"model": Item(tensors, **changes)}, metadata=STEP)


def basic(**changes: Any) -> Draft:
    """Tensor ``w`` in its two rows, ``b`` whole, the scalar ``step``, an asset."""
    rows = (Shard(0, Region((0, 0), (1, 3))), Shard(0, Region((1, 0), (1, 3))), Shard(1))
    tree = {"w": tensor(0), "b": tensor(1), **STEP}
    given: dict[str, Any] = {"shards": rows, "tree": tree, "assets": {"config.json": b"{}"}, **changes}
    return Draft({"model": Item((W, B), **given)}, metadata=STEP)


def whole(**changes: Any) -> Draft:
    """Tensors ``w`` and ``b``, each whole: no box columns."""
    return Draft({"model": Item((W, B), **changes)}, metadata=STEP)


def runs(**changes: Any) -> Draft:
    """Tensor ``w`` as two runs of the whole box, elements 0 and 1, and 2 to 5."""
    cut = (Shard(0, Region((0, 0), (2, 3), (0, 2))), Shard(0, Region((0, 0), (2, 3), (2, 6))))
    return Draft({"model": Item((W,), shards=cut, **changes)}, metadata=STEP)


def encoded(**changes: Any) -> Draft:
    """A tensor ``w`` of 5000 bytes in two zstd blocks, and ``b`` as it is."""
    big = Tensor("w", "U8", (5000,), content(5000))
    shards = (Shard(1), Shard(0, codec=1, encode=plain_frame))
    return Draft({"model": Item((big, B), shards=shards, codecs=((), (ZSTD,)), **changes)}, metadata=STEP)


def unassigned(**changes: Any) -> Draft:
    """Tensor ``w``, and two unassigned shards of 8 and 0 bytes behind it."""
    shards = (Shard(0), Shard(None, name="copy@[0:2]", data=content(8)), Shard(None, name="nothing"))
    return Draft({"model": Item((W,), shards=shards, **changes)}, metadata=STEP)


def raw_tree(draft: Draft, tree: bytes) -> Draft:
    """The same with other MessagePack bytes as the tree of ``model``."""
    head = b"\xa4tree\x80"

    def replaced(raw: bytes) -> bytes:
        assert raw.endswith(head), raw[-16:]
        return raw[:-1] + tree

    return draft.with_item("model", tree={}, raw=replaced)


def assembled(draft: Draft, pairs: Mapping[Any, Any]) -> Draft:
    """The same with more keys of the manifest's map, of values that may be raw (``pack``)."""
    added = b"".join(pack(key) + pack(value) for key, value in pairs.items())

    def extended(raw: bytes) -> bytes:
        count = raw[0] - 0x80 + len(pairs)
        assert raw[0] & 0xF0 == 0x80
        head = bytes([0x80 | count]) if count < 16 else b"\xde" + count.to_bytes(2, "big")
        return head + added + raw[1:]

    return draft.with_item("model", raw=extended)


def unknown(draft: Draft, json: str | bytes) -> Draft:
    """The same with this JSON text as the value of a member of the root that no reader knows."""
    text = json.encode() if isinstance(json, str) else json
    return draft.with_(text=lambda rest: b'"x-test":' + text + b"," + rest)
