"""The tree of a manifest (chapter 8): nodes, levels, extension payloads, paths."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import mpack
from .errors import Rejected
from .limits import MAX_BIGINT_BYTES, MAX_TREE_DEPTH, MIN_BIGINT_BYTES
from .mpack import Ext, Float, Packed, PackedMap

Key = str | int
Path = tuple[Key, ...]

DTYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
NO_ZONE = -(2**31)
_MAX_OFFSET = 86_399
_MAX_NANOSECONDS = 999_999_999
_MAX_INDEXED = 2**32 - 2


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class TupleNode:
    """A tuple."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode:
    """A map, in stored order (SCF-TREE-004)."""

    entries: tuple[tuple[Key, Node], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A reference to a tensor number."""

    number: int


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex number, by the bits of its two binary64."""

    real: int
    imaginary: int


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A time; `offset` is None where no zone is known."""

    seconds: int
    nanoseconds: int
    offset: int | None


@dataclass(frozen=True, slots=True)
class Indexed:
    """One value for each coordinate along an axis, complete (SCF-TREE-007)."""

    axis: str
    values: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class SetNode:
    """A set of texts or of integers, ascending."""

    elements: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Flattened:
    """A tensor subclass: its plain tensors by name, and its attributes."""

    inner: tuple[tuple[str, Node], ...]
    attributes: Node


@dataclass(frozen=True, slots=True)
class DtypeNode:
    """A dtype as a value; the name may be unknown (SCF-TREE-008)."""

    name: str


Node = (
    bool
    | int
    | Float
    | str
    | bytes
    | ListNode
    | TupleNode
    | MapNode
    | Tensor
    | Complex
    | Timestamp
    | Indexed
    | SetNode
    | Flattened
    | DtypeNode
    | None
)


def read_tree(packed: Packed, tensors: int) -> MapNode:
    """The top node of a committed tree; every one of the tensors is referenced (SCF-TREE-003, SCF-MAN-014)."""
    if not isinstance(packed, dict):
        raise _fault("the tree is no map")
    top = _map(packed, 1)
    referenced = {number for _, number in tensor_leaves(top)}
    if referenced and max(referenced) >= tensors:
        raise _fault(f"tensor {max(referenced)} is referenced, and there are {tensors}")
    if len(referenced) != tensors:
        raise _fault(f"{tensors - len(referenced)} tensors are not referenced")
    return top


def tensor_leaves(node: Node, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Path and tensor number of every tensor leaf, in tree order; a tensor of several paths comes several times."""
    if isinstance(node, Tensor):
        yield path, node.number
    for more, child in children(node):
        yield from tensor_leaves(child, path + more)


def children(node: Node) -> Iterator[tuple[Path, Node]]:
    """The nodes in a container, each with the components that lead to it (section 8.4, SCF-TREE-009)."""
    if isinstance(node, MapNode):
        yield from (((key,), child) for key, child in node.entries)
    elif isinstance(node, (ListNode, TupleNode)):
        yield from (((position,), child) for position, child in enumerate(node.items))
    elif isinstance(node, Indexed):
        yield from (((index,), child) for index, child in enumerate(node.values))
    elif isinstance(node, Flattened):
        yield from ((("inner", name), child) for name, child in node.inner)
        yield ("attributes",), node.attributes


def _fault(message: str) -> Rejected:
    return Rejected("tree.schema", message)


def _node(packed: Packed, level: int) -> Node:
    """The node of this level; recursion is bounded by the depth of the tree (SCF-TREE-002)."""
    if level > MAX_TREE_DEPTH:
        raise _fault(f"nodes are deeper than level {MAX_TREE_DEPTH}")
    if isinstance(packed, dict):
        return _map(packed, level)
    if isinstance(packed, list):
        return ListNode(tuple(_node(element, level + 1) for element in packed))
    if isinstance(packed, Ext):
        return _extension(packed, level)
    return packed


def _map(packed: PackedMap, level: int) -> MapNode:
    return MapNode(tuple((key, _node(value, level + 1)) for key, value in packed.items()))


def _extension(ext: Ext, level: int) -> Node:
    """The node of an extension value (SCF-TREE-006)."""
    payload = ext.payload
    if isinstance(payload, bytes):
        return _SCALARS[ext.code](payload)
    if isinstance(payload, list):
        if ext.code == mpack.SET:
            return _set(payload)
        return TupleNode(tuple(_node(element, level + 1) for element in payload))
    return _indexed(payload, level) if ext.code == mpack.INDEXED else _flattened(payload, level)


def _exactly(payload: bytes, size: int, name: str) -> bytes:
    if len(payload) != size:
        raise _fault(f"a {name} of {len(payload)} bytes")
    return payload


def _tensor(payload: bytes) -> Tensor:
    return Tensor(int.from_bytes(_exactly(payload, 4, "tensor"), "little"))


def _complex(payload: bytes) -> Complex:
    return Complex(*struct.unpack("<QQ", _exactly(payload, 16, "complex")))


def _bigint(payload: bytes) -> int:
    """An integer outside the range of plain ones, in its shortest form."""
    value = int.from_bytes(payload, "little", signed=True)
    if not MIN_BIGINT_BYTES <= len(payload) <= MAX_BIGINT_BYTES:
        raise _fault(f"a bigint of {len(payload)} bytes")
    if int.from_bytes(payload[:-1], "little", signed=True) == value:
        raise _fault("a bigint that is not the shortest")
    if -(2**63) <= value < 2**64:
        raise _fault("a bigint of a value that a plain integer holds")
    return value


def _timestamp(payload: bytes) -> Timestamp:
    seconds, nanoseconds, offset = struct.unpack("<qIi", _exactly(payload, 16, "timestamp"))
    if nanoseconds > _MAX_NANOSECONDS:
        raise _fault(f"a timestamp of {nanoseconds} nanoseconds")
    if offset != NO_ZONE and abs(offset) > _MAX_OFFSET:
        raise _fault(f"a timestamp {offset} seconds from UTC")
    return Timestamp(seconds, nanoseconds, None if offset == NO_ZONE else offset)


def _dtype(payload: bytes) -> DtypeNode:
    name = payload.decode("ascii", "replace")
    if DTYPE_NAME.fullmatch(name) is None:
        raise _fault(f"{name} is no dtype name")
    return DtypeNode(name)


_SCALARS: dict[int, Callable[[bytes], Node]] = {
    mpack.TENSOR: _tensor,
    mpack.COMPLEX: _complex,
    mpack.BIGINT: _bigint,
    mpack.TIMESTAMP: _timestamp,
    mpack.DTYPE: _dtype,
}


def _set(payload: list[Packed]) -> SetNode:
    """All texts or all integers, strictly ascending."""
    texts = [value for value in payload if isinstance(value, str)]
    integers = [value for value in payload if isinstance(value, int) and not isinstance(value, bool)]
    if len(payload) not in {len(texts), len(integers)}:
        raise _fault("a set whose elements are not all text, or not all integers")
    if texts != sorted(set(texts)) or integers != sorted(set(integers)):
        raise _fault("a set whose elements are not strictly ascending")
    return SetNode((*texts, *integers))


def _members(payload: PackedMap, *keys: str) -> list[Packed]:
    if payload.keys() != set(keys):
        raise _fault(f"an extension whose keys are not exactly {', '.join(keys)}")
    return [payload[key] for key in keys]


def _indexed(payload: PackedMap, level: int) -> Indexed:
    """Every index below the size is present, and no other."""
    axis, size, values = _members(payload, "axis", "size", "values")
    if not isinstance(axis, str):
        raise _fault("an indexed node whose axis is no text")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_INDEXED:
        raise _fault("an indexed node whose size is out of range")
    if not isinstance(values, dict) or len(values) != size:
        raise _fault("an indexed node that lacks an index, or has another one")
    if any(index not in values for index in range(size)):
        raise _fault("an indexed node that lacks an index")
    return Indexed(axis, tuple(_node(values[index], level + 1) for index in range(size)))


def _flattened(payload: PackedMap, level: int) -> Flattened:
    inner, attributes = _members(payload, "inner", "attributes")
    if not isinstance(inner, dict):
        raise _fault("a flattened node whose inner is no map")
    found = [(name, _node(child, level + 1)) for name, child in inner.items() if isinstance(name, str)]
    if len(found) != len(inner):
        raise _fault("a flattened node with an inner name that is no text")
    return Flattened(tuple(found), _node(attributes, level + 1))
