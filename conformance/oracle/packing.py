"""MessagePack of manifests, written byte by byte: the shortest encoding of each value (SCF-MAN-005)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from . import mpack
from .given_tree import Leaf
from .mpack import Float
from .tree import NO_ZONE, Complex, DtypeNode, SetNode, Timestamp
from .union import Joined, Place, UnitedTree

Value = Any
"""None, bool, int, str, bytes, Float, and lists and mappings of these."""


def pack(value: Value) -> bytes:
    """A value and all that is in it."""
    if isinstance(value, Mapping):
        return _packed_map((pack(key), pack(child)) for key, child in value.items())
    if isinstance(value, (list, tuple)):
        return _packed_array(pack(child) for child in value)
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _packed_int(value)
    if isinstance(value, str):
        data = value.encode()
        return _head(len(data), ((0xA0, 32), (0xD9, 1), (0xDA, 2), (0xDB, 4))) + data
    if isinstance(value, bytes):
        return _head(len(value), ((0xC4, 1), (0xC5, 2), (0xC6, 4))) + value
    if isinstance(value, Float):
        return b"\xcb" + value.bits.to_bytes(8, "big")
    if value is None:
        return b"\xc0"
    raise TypeError(f"{type(value).__name__} has no encoding")


def _head(size: int, forms: Iterable[tuple[int, int]]) -> bytes:
    """The first bytes of a value of some size; a form of more than 16 is a range of one byte."""
    for first, width in forms:
        if width >= 15:
            if size < width:
                return bytes([first + size])
        elif size < 1 << (8 * width):
            return bytes([first]) + size.to_bytes(width, "big")
    raise ValueError(f"{size} is too large for MessagePack")


def _packed_map(members: Iterable[tuple[bytes, bytes]]) -> bytes:
    parts = [key + child for key, child in members]
    return _head(len(parts), ((0x80, 16), (0xDE, 2), (0xDF, 4))) + b"".join(parts)


def _packed_array(elements: Iterable[bytes]) -> bytes:
    parts = list(elements)
    return _head(len(parts), ((0x90, 16), (0xDC, 2), (0xDD, 4))) + b"".join(parts)


def _packed_int(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack("b", value)
    first = 0xCC if value >= 0 else 0xD0
    for place, width in enumerate((1, 2, 4, 8)):
        if -(1 << (8 * width - 1)) <= value < 1 << 8 * width:
            return bytes([first + place]) + value.to_bytes(width, "big", signed=value < 0)
    raise ValueError(f"{value} is too large for MessagePack")


def pack_ext(code: int, payload: bytes) -> bytes:
    """An extension value."""
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(payload))
    head = bytes([fixed]) if fixed else _head(len(payload), ((0xC7, 1), (0xC8, 2), (0xC9, 4)))
    return head + bytes([code]) + payload


def pack_tree(united: UnitedTree) -> bytes:
    """The tree of a manifest (section 8.1)."""
    return _node(united.tree, united)


def _node(node: Leaf | Joined | Place, united: UnitedTree) -> bytes:
    if isinstance(node, Place):
        return pack_ext(mpack.TENSOR, united.numbers[node.path].to_bytes(4, "little"))
    if isinstance(node, Leaf):
        return _leaf(node)
    children = {more: _node(child, united) for more, child in node.children}
    if node.kind == "map":
        return _packed_map((pack(more[0]), child) for more, child in children.items())
    if node.kind in {"list", "tuple"}:
        array = _packed_array(children.values())
        return array if node.kind == "list" else pack_ext(mpack.TUPLE, array)
    if node.kind == "indexed":
        axis, size = node.head
        values = _packed_map((pack(more[0]), child) for more, child in children.items())
        members = [(pack("axis"), pack(axis)), (pack("size"), pack(size)), (pack("values"), values)]
        return pack_ext(mpack.INDEXED, _packed_map(members))
    attributes = children.pop(("attributes",))
    inner = _packed_map((pack(more[1]), child) for more, child in children.items())
    members = [(pack("inner"), inner), (pack("attributes"), attributes)]
    return pack_ext(mpack.FLATTENED, _packed_map(members))


def _leaf(node: Leaf) -> bytes:
    value = node.value
    if isinstance(value, Complex):
        return pack_ext(mpack.COMPLEX, struct.pack("<QQ", value.real, value.imaginary))
    if isinstance(value, Timestamp):
        offset = NO_ZONE if value.offset is None else value.offset
        return pack_ext(mpack.TIMESTAMP, struct.pack("<qIi", value.seconds, value.nanoseconds, offset))
    if isinstance(value, SetNode):
        return pack_ext(mpack.SET, pack(value.elements))
    if isinstance(value, DtypeNode):
        return pack_ext(mpack.DTYPE, value.name.encode())
    if node.kind == "int" and isinstance(value, int) and not -(2**63) <= value < 2**64:
        return pack_ext(mpack.BIGINT, _bigint(value))
    return pack(value)


def _bigint(value: int) -> bytes:
    """Two's complement, the shortest that holds the value."""
    return value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "little", signed=True)
