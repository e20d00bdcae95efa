"""Values in messages of the protocol (PROTOCOL.md, section 2)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

from .errors import Rejected
from .limits import MAXJSON
from .metadata import Value
from .mpack import Float
from .regions import Region
from .root import Root
from .tree import (
    Complex,
    DtypeNode,
    Flattened,
    Indexed,
    Key,
    ListNode,
    MapNode,
    Node,
    Path,
    SetNode,
    Tensor,
    Timestamp,
    TupleNode,
)

Message = dict[str, Any]
_DECIMAL = re.compile(r"-?[0-9]{1,4000}")
_NAN = "7ff8000000000000"


def usage(message: str) -> Rejected:
    """The refusal of a request that makes no sense."""
    return Rejected("usage.invalid", message, phase="plan")


def number(value: int) -> int | str:
    """An integer, as text where JSON parsers would round it."""
    return value if -MAXJSON <= value <= MAXJSON else str(value)


def integer(value: object) -> int:
    """The integer that a message gives, as a number or as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return int(value)
    raise usage(f"{value!r} is no integer")


def component(key: Key) -> str | dict[str, str]:
    """A component of a path."""
    return key if isinstance(key, str) else {"int": str(key)}


def path(components: Path) -> list[str | dict[str, str]]:
    """A path."""
    return [component(key) for key in components]


def read_path(value: object) -> Path:
    """The path that a message gives; text and integers stay apart."""
    if not isinstance(value, list):
        raise usage(f"{value!r} is no path")
    return tuple(_read_component(element) for element in value)


def _read_component(value: object) -> Key:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(value) == {"int"}:
        return integer(value["int"])
    raise usage(f"{value!r} is no component of a path")


def read_region(value: object) -> Region:
    """The region that a message gives; whether it lies in a tensor is not looked at."""
    if not isinstance(value, dict):
        raise usage(f"{value!r} is no region")
    offset, size = (_integers(value.get(name)) for name in ("offset", "size"))
    run = value.get("run")
    start, stop = (0, math.prod(size)) if run is None else _integers(run, 2)
    return Region(offset, size, start, stop)


def _integers(value: object, count: int | None = None) -> tuple[int, ...]:
    if not isinstance(value, list) or count not in {None, len(value)}:
        raise usage(f"{value!r} is no array of integers")
    return tuple(integer(element) for element in value)


def node(value: Node) -> list[Any]:
    """A node of a tree, as a tagged array."""
    if value is None:
        return ["nil"]
    return _NODES[type(value)](value)


def _float(bits: int) -> str:
    return f"{bits:016x}"


def _pairs(entries: tuple[tuple[Any, Node], ...]) -> list[list[Any]]:
    return [[component(key), node(child)] for key, child in entries]


_NODES: dict[type, Callable[[Any], list[Any]]] = {
    bool: lambda value: ["bool", value],
    int: lambda value: ["int", _decimal(value)],
    str: lambda value: ["text", value],
    bytes: lambda value: ["bytes", value.hex()],
    Float: lambda value: ["float", _float(value.bits)],
    ListNode: lambda value: ["list", [node(child) for child in value.items]],
    TupleNode: lambda value: ["tuple", [node(child) for child in value.items]],
    MapNode: lambda value: ["map", _pairs(value.entries)],
    Tensor: lambda value: ["tensor", value.number],
    Complex: lambda value: ["complex", _float(value.real), _float(value.imaginary)],
    Timestamp: lambda value: ["timestamp", str(value.seconds), value.nanoseconds, value.offset],
    Indexed: lambda value: ["indexed", value.axis, len(value.values), [node(child) for child in value.values]],
    SetNode: lambda value: ["set", [component(element) for element in value.elements]],
    Flattened: lambda value: ["flattened", _pairs(value.inner), node(value.attributes)],
    DtypeNode: lambda value: ["dtype", value.name],
}


def _decimal(value: int) -> str:
    """Decimal digits of any integer; a bigint of 4096 bytes has more than Python turns into text by default."""
    if abs(value) < _CHUNK:
        return str(value)
    sign, rest, parts = "-" if value < 0 else "", abs(value), []
    while rest >= _CHUNK:
        rest, low = divmod(rest, _CHUNK)
        parts.append(f"{low:0{_CHUNK_DIGITS}d}")
    return sign + str(rest) + "".join(reversed(parts))


_CHUNK_DIGITS = 4000
_CHUNK = 10**_CHUNK_DIGITS


def metadata(value: Value) -> list[Any]:
    """A value of the metadata, as a tagged array."""
    if isinstance(value, dict):
        return ["map", [[name, metadata(child)] for name, child in value.items()]]
    if isinstance(value, list):
        return ["list", [metadata(child) for child in value]]
    if isinstance(value, float):
        return ["float", _NAN if math.isnan(value) else struct.pack(">d", value).hex()]
    return node(value)


def root(value: Root) -> Message:
    """A root, as `inspect` shows it."""
    return {
        "digest": value.digest,
        "attempt": value.attempt,
        "spec": value.spec,
        "created": value.created,
        "writer": {"name": value.writer_name, "version": value.writer_version},
        "features": {"read": list(value.features_read), "write": list(value.features_write)},
        "sequence": value.sequence,
        "parent": value.parent,
        "metadata": metadata(dict(value.metadata)),
        "items": {
            name: {
                "kind": item.kind,
                "counts": {
                    "tensors": item.counts.tensors,
                    "shards": item.counts.shards,
                    "objects": item.counts.objects,
                    "bytes": item.counts.bytes,
                },
                "assets": {
                    asset: {"size": descriptor.size, "sha256": descriptor.sha256}
                    for asset, descriptor in item.assets.items()
                },
            }
            for name, item in value.items.items()
        },
        "external": [{"checkpoint": name, "digest": digest} for name, digest in value.external.items()],
    }
