"""The small parts of a manifest, which are maps and not columns: objects, codec chains, dtypes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pyckpt.errors import Corrupt, InvalidKey
from pyckpt.format.codecs import Chain, Codec
from pyckpt.format.digest import DIGEST_BYTES
from pyckpt.format.keys import parse_object_key, split_store_key
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.shard_table import ObjectRow
from pyckpt.format.show import show
from pyckpt.limits import (
    DATA_ALIGNMENT,
    MAX_BLOCK_BYTES,
    MAX_CHAIN,
    MAX_CODECS,
    MAX_DTYPE_BITS,
    MAX_DTYPES,
    MAX_HEADER_BYTES,
    MAX_INT,
    MIN_BLOCK_BYTES,
)

__all__ = ["chains_as_maps", "check_plain", "objects_as_maps", "parse_chains", "parse_dtypes", "parse_objects"]

_DTYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
"""What a plain integer can be; those beyond are extensions of the tree."""


def check_plain(values: Iterable[object]) -> None:
    """Refuses what an extension of the tree has become, at any depth: extensions have no place outside the tree."""
    pending: list[Iterable[object]] = [values]
    while pending:
        for value in pending.pop():
            kind = type(value)
            if kind is int and isinstance(value, int):
                if not _MIN_INT <= value <= _MAX_INT:
                    raise _corrupt("the manifest", "has an extension value outside the tree")
            elif isinstance(value, dict):
                pending.append(value.values())
            elif kind is list and isinstance(value, list):
                pending.append(value)
            elif kind not in _SCALARS:
                raise _corrupt("the manifest", "has an extension value outside the tree")


def parse_dtypes(record: Mapping[str | int, object]) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """The members ``dtypes`` and, where present, ``dtype_bits`` of a manifest's record."""
    names, bits = record.get("dtypes"), record.get("dtype_bits")
    if type(names) is not list or len(names) > MAX_DTYPES or not all(type(name) is str for name in names):
        raise _corrupt("dtypes", f"is not an array of at most {MAX_DTYPES} strings")
    for name in names:
        if not _DTYPE.fullmatch(name):
            raise _corrupt("dtypes", f"{show(name)} is not a dtype's name")
    if "dtype_bits" not in record:
        return tuple(names), None
    if type(bits) is not list or len(bits) != len(names):
        raise _corrupt("dtype_bits", "is not an array as long as dtypes")
    if not all(type(width) is int and 1 <= width <= MAX_DTYPE_BITS for width in bits):
        raise _corrupt("dtype_bits", f"has a number outside 1 .. {MAX_DTYPE_BITS}")
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
    if not all(chains[1:]) or len({pack(_canonical(chain)) for chain in value}) != len(value):
        raise _corrupt("codecs", "a chain is listed twice")
    return tuple(chains)


def _codec(value: object, chain: int) -> Codec:
    if type(value) is not dict or type(value.get("id")) is not str or not value["id"]:
        raise _corrupt("codecs", f"chain {chain} has a codec that is not a map with an id")
    return Codec(value["id"], {name: param for name, param in value.items() if type(name) is str and name != "id"})


def _canonical(value: object) -> object:
    """What packs to the same bytes for equal values of equal kinds, whatever the order of their maps."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (type(key) is int, key))
        return [0, [[key, _canonical(value[key])] for key in keys]]
    return [1, [_canonical(each) for each in value]] if isinstance(value, list) else value


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
    if ("key" in value) == ("store_key" in value):
        raise _corrupt(what, "has not exactly one of key and store_key")
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
    for name in ("header_digest", "digest"):
        if name not in value:
            raise Corrupt("digest.missing", f"{what}: {name} is missing")
    header_digest, digest = value["header_digest"], value["digest"]
    if type(header_digest) is not bytes or len(header_digest) != DIGEST_BYTES:
        raise _corrupt(what, f"header_digest is not {DIGEST_BYTES} bytes")
    if type(digest) is not str:
        raise _corrupt(what, "digest is not the name of an algorithm")
    return ObjectRow(key, store_key, size, data_start, header_digest, digest, block)


def _check_key(key: object, store_key: object, what: str, item: str) -> None:
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
