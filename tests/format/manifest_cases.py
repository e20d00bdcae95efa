"""Manifests for tests: small, complete, and with every kind of column."""

from __future__ import annotations

import hashlib

import msgpack
import numpy as np
import pytest

from pyckpt.errors import PyckptError
from pyckpt.format.codecs import zstd
from pyckpt.format.dtypes import DTYPES
from pyckpt.format.geometry import Box, Region
from pyckpt.format.manifest import Manifest, decode_manifest, encode_manifest
from pyckpt.format.manifest_check import check_manifest
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.shard_rows import ShardRow, build_shards
from pyckpt.format.shard_table import ObjectRow
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tree import TensorRef

ITEM = "model"
ATTEMPT = "0123456789abcdef"
BLOCK = 4096


def own(number, size, **changes):
    key = f"{ITEM}/{ATTEMPT}-{number:05}.safetensors"
    fields = {"key": key, "store_key": None, "size": size, "data_start": 4096, "header_digest": b"h" * 32}
    return ObjectRow(**{**fields, "digest": "blake3", "block": BLOCK, **changes})


def digests(count, seed):
    return b"".join(hashlib.sha256(f"{seed}/{number}".encode()).digest() for number in range(count))


def make_rows(tensors, pieces, *, position=4096):
    """Rows for (tensor, region, encoded) in one object, and the object's size."""
    rows = []
    for seed, (tensor, region, encoded) in enumerate(pieces):
        if tensor is None:
            size, blocks = region, -(-region // BLOCK)
            rows.append(ShardRow(None, 0, None, position, size, digests(blocks, seed), entry=f"lost{seed}"))
            position += size
            continue
        elements = (region or Region.whole(tensors.shape_of(tensor))).elements
        decoded = elements * DTYPES[tensors.dtype_of(tensor)].bits // 8
        blocks = -(-decoded // BLOCK)
        if encoded:
            sizes = [7 + number for number in range(blocks)]
            row = ShardRow(
                tensor, 0, region, position, sum(sizes), digests(blocks, seed), 1, sizes, digests(blocks, -seed - 1)
            )
        else:
            row = ShardRow(tensor, 0, region, position, decoded, digests(blocks, seed))
        rows.append(row)
        position += row.stored_size
    return rows, position


def make_manifest(tensor_rows, pieces, *, tree=None, objects=None):
    tensors = TensorTable.build(tensor_rows)
    rows, size = make_rows(tensors, pieces)
    objects = (own(0, size),) if objects is None else objects(size)
    codecs = ((), (zstd(),)) if any(encoded for _, _, encoded in pieces) else ((),)
    if tree is None:
        tree = {tensors.name_of(index): TensorRef(index) for index in range(len(tensors))}
    return Manifest(ITEM, ATTEMPT, codecs, tensors, objects, build_shards(tensors, objects, rows), tree)


def full_manifest():
    """Boxes, runs, scalars, an empty tensor, codecs, an unassigned shard, tied weights, more than one block."""
    return make_manifest(
        [
            ("w", "F32", (64, 48)),
            ("b", "BF16", (6,)),
            ("s", "F64", ()),
            ("e", "F32", (0, 5)),
            ("q", "F4", (4, 4)),
            ("z", "C128", (3,)),
            ("none", "F32", (7, 0)),
        ],
        [
            (0, Region.of_box(Box((0, 0), (64, 24))), True),
            (0, Region(Box((0, 24), (64, 24)), 0, 100), False),
            (0, Region(Box((0, 24), (64, 24)), 100, 64 * 24), False),
            (1, None, False),
            (2, None, True),
            (3, None, False),
            (4, Region.of_box(Box((0, 0), (4, 2))), False),
            (4, Region.of_box(Box((0, 2), (4, 2))), False),
            (5, None, False),
            (None, 5000, False),
        ],
        tree={
            "a": [TensorRef(index) for index in range(7)],
            "tied": TensorRef(0),
            3: (1, None, float("nan"), 2**70, b"x", {"tensor": 3}),
        },
    )


def decode(raw):
    return decode_manifest(raw, item=ITEM, attempt=ATTEMPT)


def opened(manifest):
    back = decode(encode_manifest(manifest))
    check_manifest(back)
    return back


def plain(manifest):
    """The record as MessagePack maps, to be damaged and packed again."""
    return msgpack.unpackb(
        encode_manifest(manifest), strict_map_key=False, ext_hook=lambda kind, data: msgpack.ExtType(kind, data)
    )


def code_of(record):
    with pytest.raises(PyckptError) as caught:
        check_manifest(decode(pack(record)))
    return caught.value.code


def column(record, table, name, kind):
    data = record[table]["columns"].get(name)
    return None if data is None else np.frombuffer(data, dtype=kind).copy()
