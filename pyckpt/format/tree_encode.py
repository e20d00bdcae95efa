"""From a tree of Python values to what MessagePack can say, refusing everything that the format has no word for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import msgpack
import numpy as np

from pyckpt.errors import Finding, LimitExceeded, UnsupportedState
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.show import show
from pyckpt.format.tree import DTypeName, Flattened, Indexed, Node, Path, TensorRef, Timestamp, path_text
from pyckpt.limits import MAX_BIGINT_BYTES, MAX_TENSORS, MAX_TREE_DEPTH, MAX_VALUES

__all__ = ["EXT", "MAX_NODE_INT", "MIN_NODE_INT", "NO_ZONE", "encode_tree"]

MIN_NODE_INT: Final = -(2**63)
MAX_NODE_INT: Final = 2**64 - 1
"""Integers beyond these two are extensions."""
NO_ZONE: Final = -(2**31)
"""The UTC offset of a timestamp without a time zone."""


class EXT:
    """MessagePack extension codes of the tree."""

    TENSOR: Final = 1
    TUPLE: Final = 2
    COMPLEX: Final = 3
    BIGINT: Final = 4
    TIMESTAMP: Final = 5
    INDEXED: Final = 6
    SET: Final = 7
    FLATTENED: Final = 8
    DTYPE: Final = 9


def encode_tree(
    node: Node, *, tensor_index: Callable[[object], int | None] | None = None, partial: bool = False
) -> object:
    """The node as a value for ``msgpack_strict.pack``.

    Takes, beside nodes, any ``Mapping``, ``bytearray``, ``set``, ``torch.Size`` and the NumPy scalars that equal a
    Python scalar. ``tensor_index`` gives the tensor number of a caller's own leaf, None for what is no tensor.
    ``partial`` allows ``Indexed`` with only some of its values, as one writer of several has them.

    A naive ``datetime`` loses its ``fold``; the order of a set is not kept. Raises UnsupportedState, whose findings
    name every value that can't be stored.
    """
    encoder = _Encoder(tensor_index, partial=partial)
    encoded = encoder.node(node, (), 1)
    if encoder.findings:
        count = len(encoder.findings)
        raise UnsupportedState(
            "state.unsupported",
            f"{count} value{'s' if count > 1 else ''} can't be stored",
            key=encoder.findings[0].key,
            findings=encoder.findings,
        )
    return encoded


class _Encoder:
    def __init__(self, tensor_index: Callable[[object], int | None] | None, *, partial: bool) -> None:
        self.findings: list[Finding] = []
        self.tensor_index = tensor_index
        self.partial = partial
        self.active: set[int] = set()  # containers around the current node, to notice cycles
        self.nodes = 0

    def refuse(self, path: Path, message: str) -> None:
        self.findings.append(Finding("state.unsupported", path_text(path) or "the tree itself", message))

    def node(self, node: Any, path: Path, level: int) -> object:
        if level > MAX_TREE_DEPTH:
            self.refuse(path, f"nested deeper than {MAX_TREE_DEPTH} levels")
            return None
        kind = type(node)
        if kind in _PLAIN:
            return node
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            try:
                return scalar(node)
            except _UnsayableError as error:
                self.refuse(path, str(error))
                return None
        if kind is TensorRef:
            return self.tensor(node.index, path)
        if self.tensor_index is not None:
            index = self.tensor_index(node)
            if index is not None:
                return self.tensor(index, path)
        if isinstance(node, np.generic) and type(node) in _NUMPY_SCALARS:
            return self.node(node.item(), path, level)
        return self.container(node, path, level)

    def tensor(self, index: int, path: Path) -> object:
        if type(index) is not int or not 0 <= index < MAX_TENSORS:
            self.refuse(path, f"a reference to tensor {show(index)}, expected 0 .. {MAX_TENSORS - 1}")
            return None
        # What ExtType(...) gives, without its checks of what was checked above.
        return tuple.__new__(msgpack.ExtType, (EXT.TENSOR, index.to_bytes(4, "little")))

    def container(self, node: Any, path: Path, level: int) -> object:
        encode = _container_encoder(node)
        if encode is None:
            self.refuse(path, _hint(node))
            return None
        if id(node) in self.active:
            self.refuse(path, "a container that contains itself")
            return None
        self.active.add(id(node))
        try:
            return encode(self, node, path, level + 1)
        finally:
            self.active.discard(id(node))

    def count(self, values: int) -> None:
        self.nodes += values
        if self.nodes > MAX_VALUES:
            raise LimitExceeded("limit.exceeded", f"a tree of more than {MAX_VALUES} values")

    def mapping(self, node: Mapping[Any, Any], path: Path, level: int) -> object:
        self.count(2 * len(node))
        result: dict[str | int, object] = {}
        for key, value in node.items():
            if type(key) is str:
                if not _is_text(key):
                    self.refuse((*path, repr(key)), "a key with a lone surrogate")
                    continue
                plain: str | int = key
            elif type(key) is int or isinstance(key, np.integer):
                plain = int(key)
                if not MIN_NODE_INT <= plain <= MAX_NODE_INT:
                    self.refuse((*path, "(key)"), "an integer key outside -2^63 .. 2^64-1")
                    continue
            else:
                self.refuse((*path, str(key)[:80]), f"a key of type {_type_name(key)}; keys are str or int")
                continue
            result[plain] = self.node(value, (*path, plain), level)
        return result

    def sequence(self, node: list[Any] | tuple[Any, ...], path: Path, level: int) -> list[object]:
        self.count(len(node))
        return [self.node(value, (*path, position), level) for position, value in enumerate(node)]

    def tuple_node(self, node: tuple[Any, ...], path: Path, level: int) -> object:
        return self.payload(EXT.TUPLE, self.sequence(node, path, level))

    def indexed(self, node: Indexed, path: Path, level: int) -> object:
        size, indices = node.size, node.values.keys()
        if type(node.axis) is not str or type(size) is not int or not 1 <= size <= MAX_TENSORS:
            self.refuse(path, f"Indexed(axis={show(node.axis)}, size={show(size)}), expected a name and a size from 1")
            return None
        if not all(type(index) is int and 0 <= index < size for index in indices):
            self.refuse(path, f"Indexed with an index outside 0 .. {size - 1}")
            return None
        if len(indices) < size and not self.partial:
            self.refuse(path, f"Indexed along {show(node.axis)} has {len(indices)} of its {size} values")
            return None
        values = {index: node.values[index] for index in sorted(indices)}
        return self.payload(
            EXT.INDEXED, {"axis": node.axis, "size": size, "values": self.mapping(values, path, level)}
        )

    def flattened(self, node: Flattened, path: Path, level: int) -> object:
        if not all(type(name) is str for name in node.inner):
            self.refuse(path, "Flattened with an inner name that is not str")
            return None
        inner = self.mapping(node.inner, (*path, "inner"), level)
        attributes = self.node(node.attributes, (*path, "attributes"), level)
        return self.payload(EXT.FLATTENED, {"inner": inner, "attributes": attributes})

    def set_node(self, node: frozenset[Any] | set[Any], path: Path, level: int) -> object:  # noqa: ARG002
        self.count(len(node))
        kinds = {type(member) for member in node}
        if len(kinds) > 1 or not kinds <= {str, int}:
            found = ", ".join(sorted(kind.__name__ for kind in kinds))
            self.refuse(path, f"a set of {found}; only sets of str or of int can be stored")
            return None
        members = sorted(node)
        if kinds == {int} and not MIN_NODE_INT <= members[0] <= members[-1] <= MAX_NODE_INT:
            self.refuse(path, "a set with an integer outside -2^63 .. 2^64-1")
            return None
        if kinds == {str} and not all(map(_is_text, members)):
            self.refuse(path, "a set with a string that has a lone surrogate")
            return None
        return self.payload(EXT.SET, members)

    def payload(self, code: int, value: object) -> object:
        if self.findings:
            return None
        data = pack(value)
        if len(data) >= 2**32:
            raise LimitExceeded("limit.exceeded", "a node of 4 GiB or more")
        return msgpack.ExtType(code, data)


class _UnsayableError(Exception):
    """A value of a type that the tree has, but outside what it can say."""


def _int(value: int) -> object:
    if MIN_NODE_INT <= value <= MAX_NODE_INT:
        return value
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    if size > MAX_BIGINT_BYTES:
        raise _UnsayableError(f"an integer of {size} bytes, at most {MAX_BIGINT_BYTES} can be stored")
    return msgpack.ExtType(EXT.BIGINT, value.to_bytes(size, "little", signed=True))


def _str(value: str) -> object:
    if not _is_text(value):
        raise _UnsayableError("a string with a lone surrogate, which UTF-8 can't say; store it as bytes")
    return value


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _complex(value: complex) -> object:
    return msgpack.ExtType(EXT.COMPLEX, struct.pack("<dd", value.real, value.imag))


def _datetime(value: datetime) -> object:
    offset = value.utcoffset()
    if offset is None:
        zone = NO_ZONE
    elif offset.microseconds:
        raise _UnsayableError(f"a time zone that is not whole seconds from UTC: {offset}")
    else:
        zone = offset.days * 86400 + offset.seconds
    since = value.replace(tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc) - (offset or timedelta())
    seconds = since.days * 86400 + since.seconds
    return msgpack.ExtType(EXT.TIMESTAMP, struct.pack("<qIi", seconds, since.microseconds * 1000, zone))


def _timestamp(value: Timestamp) -> object:
    zone = NO_ZONE if value.offset is None else value.offset
    in_range = -(2**63) <= value.seconds < 2**63 and 0 <= value.nanoseconds < 10**9
    if not in_range or (zone != NO_ZONE and not -86400 < zone < 86400):
        raise _UnsayableError("a Timestamp outside its range")
    return msgpack.ExtType(EXT.TIMESTAMP, struct.pack("<qIi", value.seconds, value.nanoseconds, zone))


def _dtype(value: DTypeName) -> object:
    if not (value.name.isascii() and value.name.isidentifier() and len(value.name) <= 64):
        raise _UnsayableError(f"{show(value.name)} is not a dtype's name")
    return msgpack.ExtType(EXT.DTYPE, value.name.encode())


_PLAIN: Final = frozenset({type(None), bool, float, bytes})
_SCALARS: Final[Mapping[type, Callable[[Any], object]]] = {
    int: _int,
    str: _str,
    complex: _complex,
    bytearray: bytes,
    datetime: _datetime,
    Timestamp: _timestamp,
    DTypeName: _dtype,
}
_NUMPY_SCALARS: Final = frozenset(
    np.dtype(code).type for code in ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "d", "D", "U")
)


def _container_encoder(node: Any) -> Callable[[_Encoder, Any, Path, int], object] | None:
    kind = type(node)
    if kind is list:
        return _Encoder.sequence
    if kind is tuple or (kind.__name__ == "Size" and kind.__module__ == "torch" and isinstance(node, tuple)):
        return _Encoder.tuple_node
    if kind is set or kind is frozenset:
        return _Encoder.set_node
    if kind is Indexed:
        return _Encoder.indexed
    if kind is Flattened:
        return _Encoder.flattened
    return _Encoder.mapping if isinstance(node, Mapping) else None


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _hint(node: Any) -> str:
    """Why it can't be stored and what to do instead."""
    name = _type_name(node)
    if isinstance(node, tuple) and hasattr(node, "_asdict"):
        return f"{name} is a named tuple; store node._asdict() or a plain tuple"
    if isinstance(node, (str, int, float, list, tuple, set, frozenset)):
        base = next(kind.__name__ for kind in type(node).__mro__ if kind.__module__ == "builtins")
        return f"{name} would come back as plain {base}; convert it before saving if that is meant"
    if callable(node):
        return f"{name} is code, which is never stored; store its name or its settings"
    return f"{name} has no form in the format; store it as a tensor, a number or a string; objects are never pickled"
