"""A manifest as JSON: complete, readable without this library, and the form that conformance cases compare.

Nodes of the tree are written as themselves where JSON has them (null, booleans, strings, arrays, maps with string keys,
numbers below), and otherwise as an object with exactly one member, the *tag*:

=====================  =====================================================================================
``{"$int": "..."}``    an integer outside -(2^53-1) .. 2^53-1, in decimal; in any place, not only in trees
``{"$float": "..."}``  ``nan``, ``inf`` or ``-inf``
``{"tensor": 3}``      reference to ``tensors[3]``
``{"bytes": "..."}``   base64 with padding
``{"tuple": [...]}``   nodes
``{"map": [...]}``     pairs ``[key, node]`` in order: a map with an integer key, or one that could be taken for a tag
``{"set": [...]}``     ascending strings or integers
``{"complex": [...]}`` real and imaginary part
``{"timestamp": {}}``  ``seconds``, ``nanoseconds``, ``offset`` (seconds east of UTC, or null), as the manifest has them
``{"indexed": {}}``    ``axis``, ``size``, ``values``: nodes in the order of their index
``{"flattened": {}}``  ``inner``: pairs ``[name, node]``; ``attributes``: node
``{"dtype": "BF16"}``  a dtype as a value
=====================  =====================================================================================

A map is written as a JSON object unless it has an integer key, or exactly one key and that is a tag's name. Floats are
JSON numbers with a ``.`` or an exponent, integers are without. The sign and payload of a NaN are not shown.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from typing import Any, Final

from pyckpt.format.manifest import Manifest
from pyckpt.format.shard_table import ShardTable
from pyckpt.format.tree import DTypeName, Flattened, Indexed, Node, TensorRef, Timestamp
from pyckpt.format.tree_encode import NO_ZONE, encode_tree
from pyckpt.limits import MAX_JSON_INT

__all__ = ["TAGS", "manifest_to_json", "node_to_json"]

TAGS: Final = frozenset(
    {
        "$int",
        "$float",
        "tensor",
        "bytes",
        "tuple",
        "map",
        "set",
        "complex",
        "timestamp",
        "indexed",
        "flattened",
        "dtype",
    }
)


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """The whole manifest as values for ``json.dumps``; one Python object per block, so not for a million of them.

    A shard's ``run`` counts elements of its box; ``blocks`` are in stored order.
    """
    tensors, shards = manifest.tensors, manifest.shards
    return {
        "item": manifest.item,
        "attempt": manifest.attempt,
        "dtypes": [{"name": name, "bits": bits} for name, bits in zip(tensors.dtypes, tensors.bits, strict=True)],
        "codecs": [[{"id": codec.id, **_params(codec.params)} for codec in chain] for chain in manifest.codecs],
        "objects": [
            {
                **({"key": row.key} if row.store_key is None else {"store_key": row.store_key}),
                "size": _integer(row.size),
                "data_start": row.data_start,
                "header_digest": row.header_digest.hex(),
                "digest": row.digest,
                "block": row.block,
            }
            for row in manifest.objects
        ],
        "tensors": [
            {
                "name": tensors.name_of(tensor),
                "dtype": tensors.dtype_of(tensor),
                "shape": [_integer(size) for size in tensors.shape_of(tensor)],
                "shards": [_shard(shards, row) for row in shards.slice_of(tensor)],
            }
            for tensor in range(len(tensors))
        ],
        "unassigned": [_place(shards, row) for row in range(shards.assigned, len(shards))],
        "tree": node_to_json(manifest.tree),
    }


def _place(shards: ShardTable, row: int) -> dict[str, Any]:
    first, count = shards.block_range(row)
    stored = shards.stored_sizes(row)
    blocks: list[dict[str, Any]] = [
        {"digest": shards.digest_of(first + block).hex(), "stored_size": _integer(stored[block])}
        for block in range(count)
    ]
    if shards.codec_of(row) and shards.decoded_digest is not None:
        for number, block in enumerate(blocks):
            digest = shards.decoded_digest_of(row, number)
            block["decoded_digest"] = None if digest is None else digest.hex()
    return {
        "object": int(shards.object[row]),
        "entry": shards.entry_name(row),
        "offset": _integer(int(shards.offset[row])),
        "stored_size": _integer(int(shards.stored[row])),
        "blocks": blocks,
    }


def _shard(shards: ShardTable, row: int) -> dict[str, Any]:
    region = shards.region(row)
    place = _place(shards, row)
    blocks = place.pop("blocks")
    return {
        **place,
        "box": {
            "offset": [_integer(number) for number in region.box.offset],
            "size": [_integer(number) for number in region.box.size],
        },
        "run": [_integer(region.start), _integer(region.stop)],
        "codec": shards.codec_of(row),
        "blocks": blocks,
    }


def node_to_json(node: Node) -> Any:
    """One node of a tree, tagged as the module's docstring says."""
    if node is None or isinstance(node, (bool, str)):
        return node
    if isinstance(node, int):
        return _integer(node)
    if isinstance(node, float):
        return node if math.isfinite(node) else {"$float": "nan" if math.isnan(node) else repr(node)}
    if isinstance(node, TensorRef):
        return {"tensor": node.index}
    if isinstance(node, Mapping):
        return _map(node)
    if isinstance(node, list):
        return [node_to_json(value) for value in node]
    if isinstance(node, tuple):
        return {"tuple": [node_to_json(value) for value in node]}
    if isinstance(node, bytes):
        return {"bytes": base64.b64encode(node).decode("ascii")}
    if isinstance(node, frozenset):
        return {"set": [node_to_json(member) for member in sorted(node)]}
    if isinstance(node, complex):
        return {"complex": [node_to_json(node.real), node_to_json(node.imag)]}
    if isinstance(node, DTypeName):
        return {"dtype": node.name}
    if isinstance(node, Indexed):
        values = [node_to_json(node.values[index]) for index in sorted(node.values)]
        return {"indexed": {"axis": node.axis, "size": node.size, "values": values}}
    if isinstance(node, Flattened):
        inner = [[name, node_to_json(value)] for name, value in node.inner.items()]
        return {"flattened": {"inner": inner, "attributes": node_to_json(node.attributes)}}
    return {"timestamp": _timestamp(node)}


def _map(node: Mapping[Any, Node]) -> Any:
    looks_tagged = len(node) == 1 and next(iter(node)) in TAGS
    if looks_tagged or not all(isinstance(key, str) for key in node):
        return {"map": [[node_to_json(key), node_to_json(value)] for key, value in node.items()]}
    return {key: node_to_json(value) for key, value in node.items()}


def _timestamp(node: Node) -> dict[str, Any]:
    if not isinstance(node, Timestamp):
        # the encoder knows how a datetime is split
        encoded: Any = encode_tree(node)
        seconds, nanoseconds, offset = struct.unpack("<qIi", encoded.data)
        node = Timestamp(seconds, nanoseconds, None if offset == NO_ZONE else offset)
    return {"seconds": _integer(node.seconds), "nanoseconds": node.nanoseconds, "offset": node.offset}


def _params(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node_to_json(value) for name, value in params.items()}


def _integer(value: int) -> Any:
    return value if -MAX_JSON_INT <= value <= MAX_JSON_INT else {"$int": _decimal(value)}


_CHUNK: Final = 10**4000


def _decimal(value: int) -> str:
    """``str(value)``, which Python refuses from 4,300 digits on."""
    if value < 0:
        return f"-{_decimal(-value)}"
    high, low = divmod(value, _CHUNK)
    return f"{_decimal(high)}{low:04000d}" if high else str(low)
