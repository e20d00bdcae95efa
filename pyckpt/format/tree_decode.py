"""From MessagePack to a tree, for any bytes: what is not exactly one of the tree's nodes is refused (tree.schema)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, Final

from pyckpt.errors import Corrupt
from pyckpt.format.msgpack_strict import unpack, unpack_scanned
from pyckpt.format.show import show
from pyckpt.format.tree import DTypeName, Flattened, Indexed, Node, TensorRef, Timestamp
from pyckpt.format.tree_encode import EXT, MAX_NODE_INT, MIN_NODE_INT, NO_ZONE
from pyckpt.limits import MAX_BIGINT_BYTES, MAX_TENSORS, MAX_TREE_DEPTH, MAX_VALUES

__all__ = ["NESTED", "check_tree", "decode_tree", "tree_hook"]

NESTED: Final = frozenset({EXT.TUPLE, EXT.INDEXED, EXT.SET, EXT.FLATTENED})
"""Extensions whose payload is one MessagePack value."""


def decode_tree(data: bytes, *, code: str = "tree.schema", partial: bool = False, max_values: int = MAX_VALUES) -> Node:
    """The node that a record of its own holds; ``check_tree`` has been applied. Raises Corrupt, LimitExceeded.

    ``partial`` allows ``Indexed`` with only some of its values.
    """
    node = unpack(data, ext_hook=tree_hook(code), nested=NESTED, code=code, max_values=max_values)
    check_tree(node, partial=partial)
    return node


def tree_hook(code: str) -> Callable[[int, bytes], Node]:
    """The ``ext_hook`` for a record that holds a tree; malformed MessagePack inside a payload is reported as ``code``.

    Use it with ``nested=NESTED``, then ``check_tree`` on the part that is the tree.
    """

    def hook(kind: int, payload: bytes) -> Node:
        if kind == EXT.TENSOR:
            if len(payload) != 4 or (index := int.from_bytes(payload, "little")) >= MAX_TENSORS:
                raise _corrupt("a tensor reference is not 4 bytes of a tensor number")
            return TensorRef(index)
        if kind in NESTED:
            return _MAKERS[kind](unpack_scanned(payload, ext_hook=hook, code=code))
        if kind in _LEAVES:
            return _LEAVES[kind](payload)
        raise _corrupt(f"extension {kind} is not one of the tree's")

    return hook


def check_tree(node: Node, *, partial: bool = False) -> list[int]:
    """Refuses what only the whole tree shows: depth above 64, an ``Indexed`` with gaps. Gives all tensor numbers.

    The numbers come one for each reference, in the order of the tree.
    """
    tensors: list[int] = []
    _visit(node, 1, tensors, partial=partial)
    return tensors


def _visit(node: Node, level: int, tensors: list[int], *, partial: bool) -> None:
    if level > MAX_TREE_DEPTH:
        raise _corrupt(f"nodes nest deeper than {MAX_TREE_DEPTH} levels")
    kind = type(node)
    if kind is TensorRef:
        tensors.append(node.index)
        return
    children: Any
    if kind is dict:
        children = node.values()
    elif kind is list or kind is tuple:
        children = node
    elif kind is Indexed:
        if len(node.values) != node.size and not partial:
            raise _corrupt(f"indexed along {show(node.axis)} has {len(node.values)} of its {node.size} values")
        children = node.values.values()
    elif kind is Flattened:
        children = (*node.inner.values(), node.attributes)
    else:
        return
    level += 1
    if level > MAX_TREE_DEPTH and children:
        raise _corrupt(f"nodes nest deeper than {MAX_TREE_DEPTH} levels")
    for child in children:
        kind = type(child)
        if kind is TensorRef:
            tensors.append(child.index)
        elif kind in _CONTAINERS:
            _visit(child, level, tensors, partial=partial)


_CONTAINERS: Final = frozenset({dict, list, tuple, Indexed, Flattened})


def _corrupt(message: str) -> Corrupt:
    return Corrupt("tree.schema", message)


def _tuple(value: Any) -> Node:
    if type(value) is not list:
        raise _corrupt("a tuple's payload is not an array")
    return tuple(value)


def _indexed(value: Any) -> Node:
    if type(value) is not dict or value.keys() != {"axis", "size", "values"}:
        raise _corrupt("an indexed node is not exactly axis, size and values")
    axis, size, values = value["axis"], value["size"], value["values"]
    if type(axis) is not str or type(size) is not int or type(values) is not dict or not 1 <= size <= MAX_TENSORS:
        raise _corrupt("an indexed node needs a name as its axis, a size from 1, and a map of values")
    if not all(type(index) is int and 0 <= index < size for index in values):
        raise _corrupt(f"an indexed node of size {size} has an index outside 0 .. {size - 1}")
    return Indexed(axis, size, values)


def _set(value: Any) -> Node:
    if type(value) is not list:
        raise _corrupt("a set's payload is not an array")
    kinds = set(map(type, value))
    if len(kinds) > 1 or not kinds <= {str, int}:
        raise _corrupt("a set is neither only of strings nor only of integers")
    if kinds == {int} and not all(MIN_NODE_INT <= each <= MAX_NODE_INT for each in value):
        raise _corrupt("a set has an integer beyond the range of integer nodes")
    # Python compares strings by code point, which is the order of their UTF-8 bytes too.
    if any(first >= second for first, second in pairwise(value)):
        raise _corrupt("a set is not strictly ascending")
    return frozenset(value)


def _flattened(value: Any) -> Node:
    if type(value) is not dict or value.keys() != {"inner", "attributes"}:
        raise _corrupt("a flattened node is not exactly inner and attributes")
    inner = value["inner"]
    if type(inner) is not dict or not all(type(name) is str for name in inner):
        raise _corrupt("a flattened node's inner is not a map with string keys")
    return Flattened(inner, value["attributes"])


def _complex(payload: bytes) -> Node:
    if len(payload) != 16:
        raise _corrupt(f"a complex number of {len(payload)} bytes, expected 16")
    return complex(*struct.unpack("<dd", payload))


def _bigint(payload: bytes) -> Node:
    size = len(payload)
    if not 9 <= size <= MAX_BIGINT_BYTES:
        raise _corrupt(f"a big integer of {size} bytes, expected 9 to {MAX_BIGINT_BYTES}")
    value = int.from_bytes(payload, "little", signed=True)
    if MIN_NODE_INT <= value <= MAX_NODE_INT or (value if value >= 0 else ~value).bit_length() // 8 + 1 != size:
        raise _corrupt("a big integer that is not the shortest form of a value outside -2^63 .. 2^64-1")
    return value


_FIRST_SECOND: Final = int((datetime.min - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001, DTZ901
_LAST_SECOND: Final = int((datetime.max - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001, DTZ901


def _timestamp(payload: bytes) -> Node:
    """A ``datetime`` where it can hold the value exactly, else a ``Timestamp``."""
    if len(payload) != 16:
        raise _corrupt(f"a timestamp of {len(payload)} bytes, expected 16")
    seconds, nanoseconds, offset = struct.unpack("<qIi", payload)
    if nanoseconds >= 10**9 or (offset != NO_ZONE and not -86400 < offset < 86400):
        raise _corrupt(f"a timestamp with {nanoseconds} nanoseconds and an offset of {offset} seconds")
    zone = 0 if offset == NO_ZONE else offset
    if nanoseconds % 1000 or not _FIRST_SECOND <= seconds + zone <= _LAST_SECOND:
        return Timestamp(seconds, nanoseconds, None if offset == NO_ZONE else offset)
    wall = datetime(1970, 1, 1) + timedelta(seconds=seconds + zone, microseconds=nanoseconds // 1000)  # noqa: DTZ001
    return wall if offset == NO_ZONE else wall.replace(tzinfo=timezone(timedelta(seconds=offset)))


def _dtype(payload: bytes) -> Node:
    name = payload.decode("latin-1")
    if not (name.isascii() and name.isidentifier() and len(name) <= 64):
        raise _corrupt(f"{show(name)} is not a dtype's name")
    return DTypeName(name)


_MAKERS: Final[Mapping[int, Callable[[Any], Node]]] = {
    EXT.TUPLE: _tuple,
    EXT.INDEXED: _indexed,
    EXT.SET: _set,
    EXT.FLATTENED: _flattened,
}
_LEAVES: Final[Mapping[int, Callable[[bytes], Node]]] = {
    EXT.COMPLEX: _complex,
    EXT.BIGINT: _bigint,
    EXT.TIMESTAMP: _timestamp,
    EXT.DTYPE: _dtype,
}
