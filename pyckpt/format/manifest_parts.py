"""The small parts of a manifest, which are maps and not columns: objects, codec chains, dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyckpt.errors import Corrupt, InvalidKey
from pyckpt.format.codecs import Chain, Codec
from pyckpt.format.digest import DIGEST_BYTES
from pyckpt.format.keys import parse_object_key, split_store_key
from pyckpt.format.shard_table import ObjectRow
from pyckpt.format.show import show
from pyckpt.limits import (
    DATA_ALIGNMENT,
    MAX_BLOCK_BYTES,
    MAX_CHAIN,
    MAX_CODECS,
    MAX_HEADER_BYTES,
    MAX_INT,
    MIN_BLOCK_BYTES,
)

__all__ = ["chains_as_maps", "objects_as_maps", "parse_chains", "parse_dtypes", "parse_objects"]

_MAX_DTYPES = 1 << 16
_MAX_BITS = 1 << 16
_PARAMS = frozenset({bool, int, float, str, bytes})


def parse_dtypes(names: object, bits: object) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """The members ``dtypes`` and, where present, ``dtype_bits``."""
    if type(names) is not list or len(names) > _MAX_DTYPES or not all(type(name) is str for name in names):
        raise _corrupt("dtypes", "is not an array of at most 65536 strings")
    if bits is None:
        return tuple(names), None
    if type(bits) is not list or len(bits) != len(names):
        raise _corrupt("dtype_bits", "is not an array as long as dtypes")
    if not all(type(width) is int and 1 <= width <= _MAX_BITS for width in bits):
        raise _corrupt("dtype_bits", f"has a number outside 1 .. {_MAX_BITS}")
    return tuple(names), tuple(bits)


def parse_chains(value: object) -> tuple[Chain, ...]:
    """The member ``codecs``; ids that this library does not know are kept, and refused when a shard needs them."""
    if type(value) is not list or not 1 <= len(value) <= MAX_CODECS:
        raise _corrupt("codecs", f"is not an array of 1 to {MAX_CODECS} chains")
    chains: list[Chain] = []
    for number, steps in enumerate(value):
        if type(steps) is not list or len(steps) > MAX_CHAIN:
            raise _corrupt("codecs", f"chain {number} is not an array of at most {MAX_CHAIN} codecs")
        chains.append(tuple([_codec(step, number) for step in steps]))
    if chains[0]:
        raise _corrupt("codecs", "chain 0 is not empty")
    if any(not chain for chain in chains[1:]) or any(
        chain in chains[:number] for number, chain in enumerate(chains) if number < _MAX_COMPARED
    ):
        raise _corrupt("codecs", "a chain is listed twice")
    return tuple(chains)


_MAX_COMPARED = 256
"""Chains compared each with each: duplicates are harmless, a quadratic search of 65,535 chains is not."""


def _codec(value: object, chain: int) -> Codec:
    if type(value) is not dict or type(value.get("id")) is not str or not value["id"]:
        raise _corrupt("codecs", f"chain {chain} has a codec that is not a map with an id")
    if not all(type(name) is str and type(param) in _PARAMS for name, param in value.items()):
        raise _corrupt("codecs", f"chain {chain} has a parameter that is not a named scalar")
    return Codec(value["id"], {name: param for name, param in value.items() if name != "id"})


def chains_as_maps(chains: Sequence[Chain]) -> list[list[dict[str, Any]]]:
    """What ``parse_chains`` reads."""
    return [[{"id": codec.id, **codec.params} for codec in chain] for chain in chains]


def parse_objects(value: object, *, item: str) -> tuple[ObjectRow, ...]:
    """The member ``objects`` of the manifest that was written for ``item``; their keys are of the right form."""
    if type(value) is not list:
        raise _corrupt("objects", "is not an array")
    rows = tuple([_object(row, number, item) for number, row in enumerate(value)])
    if len({(row.key, row.store_key) for row in rows}) != len(rows):
        raise _corrupt("objects", "two have the same key")
    return rows


def _object(value: object, number: int, item: str) -> ObjectRow:
    what = f"objects[{number}]"
    if type(value) is not dict:
        raise _corrupt(what, "is not a map")
    key, store_key = value.get("key"), value.get("store_key")
    _check_key(key, store_key, what, item)
    size, data_start, block = value.get("size"), value.get("data_start"), value.get("block")
    if type(size) is not int or not 0 <= size <= MAX_INT:
        raise _corrupt(what, f"size is {show(size)}")
    largest = min(size, MAX_HEADER_BYTES + 8)
    if type(data_start) is not int or not DATA_ALIGNMENT <= data_start <= largest or data_start % DATA_ALIGNMENT:
        raise _corrupt(what, f"data_start is {show(data_start)}, expected a multiple of {DATA_ALIGNMENT} to {largest}")
    if type(block) is not int or not MIN_BLOCK_BYTES <= block <= MAX_BLOCK_BYTES or block & (block - 1):
        raise _corrupt(what, f"block is {show(block)}, expected a power of two, 4 KiB to 1 GiB")
    header_digest, digest = value.get("header_digest"), value.get("digest")
    if header_digest is None:
        raise Corrupt("digest.missing", f"{what}: header_digest is missing")
    if type(header_digest) is not bytes or len(header_digest) != DIGEST_BYTES:
        raise _corrupt(what, f"header_digest is not {DIGEST_BYTES} bytes")
    if type(digest) is not str:
        raise _corrupt(what, "digest is not the name of an algorithm")
    return ObjectRow(key, store_key, size, data_start, header_digest, digest, block)


def _check_key(key: object, store_key: object, what: str, item: str) -> None:
    if (key is None) == (store_key is None):
        raise _corrupt(what, "has not exactly one of key and store_key")
    try:
        if type(key) is str:
            if parse_object_key(key)[0] != item:
                raise _corrupt(what, f"key {show(key)} is not an object of item {item!r}")
        elif type(store_key) is str:
            parse_object_key(split_store_key(store_key)[1])
        else:
            raise _corrupt(what, "key is not a string")
    except InvalidKey as error:
        raise _corrupt(what, f"{error}") from None


def objects_as_maps(rows: Sequence[ObjectRow]) -> list[dict[str, Any]]:
    """What ``parse_objects`` reads."""
    return [
        {
            **({"key": row.key} if row.store_key is None else {"store_key": row.store_key}),
            "size": row.size,
            "data_start": row.data_start,
            "header_digest": row.header_digest,
            "digest": row.digest,
            "block": row.block,
        }
        for row in rows
    ]


def _corrupt(what: str, message: str) -> Corrupt:
    return Corrupt("manifest.schema", f"{what}: {message}")
