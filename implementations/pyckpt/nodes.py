"""Nodes of a tree, and metadata, between pyckpt's values and the tagged arrays of the protocol."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone

from pyckpt.format.tree import DTypeName, Flattened, Indexed, TensorRef, Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Unstorable:
    """A value that no node can hold."""


def component(value):
    """A path component or map key for a message."""
    return value if isinstance(value, str) else {"int": str(value)}


def from_component(value):
    """A path component or map key of a message."""
    return value if isinstance(value, str) else int(value["int"])


def bits(value):
    """The 16 digits of a float."""
    return struct.pack(">d", value).hex()


def from_bits(text):
    """The float of 16 digits."""
    return struct.unpack(">d", bytes.fromhex(text))[0]


def to_message(node):
    """A node as a tagged array."""
    if node is None:
        return ["nil"]
    if isinstance(node, bool):
        return ["bool", node]
    if isinstance(node, int):
        return ["int", str(node)]
    if isinstance(node, float):
        return ["float", bits(node)]
    if isinstance(node, str):
        return ["text", node]
    if isinstance(node, (bytes, bytearray)):
        return ["bytes", bytes(node).hex()]
    if isinstance(node, complex):
        return ["complex", bits(node.real), bits(node.imag)]
    if isinstance(node, datetime):
        return _time(node)
    if isinstance(node, Timestamp):
        return ["timestamp", str(node.seconds), node.nanoseconds, node.offset]
    if isinstance(node, TensorRef):
        return ["tensor", node.index]
    if isinstance(node, DTypeName):
        return ["dtype", node.name]
    if isinstance(node, frozenset):
        return ["set", [component(each) for each in sorted(node)]]
    if isinstance(node, Indexed):
        return ["indexed", node.axis, node.size, [to_message(node.values[index]) for index in range(node.size)]]
    if isinstance(node, Flattened):
        inner = [[name, to_message(value)] for name, value in node.inner.items()]
        return ["flattened", inner, to_message(node.attributes)]
    if isinstance(node, tuple):
        return ["tuple", [to_message(each) for each in node]]
    if isinstance(node, list):
        return ["list", [to_message(each) for each in node]]
    if isinstance(node, Mapping):
        return ["map", [[component(key), to_message(value)] for key, value in node.items()]]
    raise TypeError(f"no node: {type(node).__name__}")


def _time(value):
    offset = None if value.tzinfo is None else int(value.utcoffset().total_seconds())
    since = value.replace(tzinfo=timezone.utc) - EPOCH if offset is None else value - EPOCH
    return ["timestamp", str(since.days * 86400 + since.seconds), since.microseconds * 1000, offset]


def from_message(message, tensor: Callable):
    """A node; ``tensor`` turns what stands for a tensor into a leaf."""
    kind, *rest = message

    def inner(node):
        return from_message(node, tensor)

    if kind == "nil":
        return None
    if kind in ("bool", "text"):
        return rest[0]
    if kind == "int":
        return int(rest[0])
    if kind == "float":
        return from_bits(rest[0])
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "complex":
        return complex(from_bits(rest[0]), from_bits(rest[1]))
    if kind == "timestamp":
        return _from_time(int(rest[0]), rest[1], rest[2])
    if kind == "tensor":
        return tensor(rest[0])
    if kind == "dtype":
        return DTypeName(rest[0])
    if kind == "set":
        return frozenset(from_component(each) for each in rest[0])
    if kind == "indexed":
        values = rest[2]
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return Indexed(rest[0], rest[1], {int(index): inner(value) for index, value in pairs})
    if kind == "flattened":
        return Flattened({name: inner(value) for name, value in rest[0]}, inner(rest[1]))
    if kind == "tuple":
        return tuple(inner(each) for each in rest[0])
    if kind == "list":
        return [inner(each) for each in rest[0]]
    if kind == "map":
        return {from_component(key): inner(value) for key, value in rest[0]}
    if kind == "unsupported":
        return Unstorable()
    raise ValueError(f"no node: {kind}")


def _from_time(seconds, nanoseconds, offset):
    if nanoseconds % 1000 == 0:
        try:
            zone = None if offset is None else timezone(timedelta(seconds=offset))
            point = EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
            return point.replace(tzinfo=None) if zone is None else point.astimezone(zone)
        except OverflowError:
            pass
    return Timestamp(seconds, nanoseconds, offset)
