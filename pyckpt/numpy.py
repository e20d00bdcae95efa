"""Nested mappings of numpy arrays as state, without torch: collect, bind in place, or load anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pyckpt.engine.leaves import BoundItem, ItemState, ItemView, Piece, Target, TensorLeaf, TensorRequest
from pyckpt.errors import Finding, LimitExceeded, Unsupported, UnsupportedState, UsageError
from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import Copy, Ints, Region
from pyckpt.format.tree import DTypeName, Node, Path, TensorRef, Timestamp, map_leaves, path_text
from pyckpt.format.windows import split_windows

ml_dtypes: Any
try:
    import ml_dtypes  # type: ignore[no-redef, import-not-found, unused-ignore]
except ImportError:
    ml_dtypes = None

__all__ = ["ArrayBinder", "ArraySink", "ArraySource", "FreshArrayBinder", "bind_numpy", "collect_numpy", "numpy_dtype"]

_MISMATCH: Final = "state.mismatch"
_NATIVE: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16", "U32": "uint32",
    "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64",
    "C128": "complex128",
}  # fmt: skip
_ML: Final = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_NAMES: Final = {numpy: name for name, numpy in (*_NATIVE.items(), *_ML.items())}
_LEAVES: Final = (bool, int, float, str, bytes, complex, datetime, Timestamp, DTypeName)

DTypeRule = Literal["error", "widen", "cast"]


def numpy_dtype(name: str, key: str = "") -> np.dtype[Any]:
    """The numpy dtype of a registry name. ``Unsupported`` (dtype.unsupported) if there is none here."""
    if name in _NATIVE:
        return np.dtype(_NATIVE[name])
    kind = getattr(ml_dtypes, _ML[name], None) if ml_dtypes is not None and name in _ML else None
    if kind is None:
        dtype_of(name)
        hint = "install ml_dtypes" if name in _ML else "read the tensor's bytes through pyckpt.open"
        raise Unsupported("dtype.unsupported", f"numpy has no dtype for {name}", key=key, hint=hint)
    dtype: np.dtype[Any] = np.dtype(kind)
    return dtype


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Row-major, little-endian, without a copy where it is that already."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _bytes(array: np.ndarray[Any, Any]) -> memoryview:
    """The memory of a contiguous array as one dimension of bytes."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)


def _places(start: int, shape: Ints, strides: Ints) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The positions ``start + sum(i * strides)``, one by one."""
    steps = zip(np.ix_(*[np.arange(count) for count in shape]), strides, strict=True)
    return start + sum([index * stride for index, stride in steps], np.zeros(shape, np.int64))


class ArraySource:
    """Reads one array, which it keeps alive."""

    __slots__ = ("_array", "nbytes")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = _native(array)
        self.nbytes = array.nbytes

    def view(self) -> memoryview | None:
        """All bytes; arrays that were strided or big-endian have been copied."""
        return _bytes(self._array)

    def read_into(self, start: int, out: memoryview) -> None:
        """Copies the bytes from ``start`` on."""
        out[:] = _bytes(self._array)[start : start + out.nbytes]

    def close(self) -> None:
        """Keeps nothing."""


class ArraySink:
    """Fills ``array`` with elements stored as ``stored``: its own memory if it lies alike, else as they arrive."""

    __slots__ = ("_array", "_stored", "nbytes")

    def __init__(self, array: np.ndarray[Any, Any], stored: np.dtype[Any]) -> None:
        self._array = array
        self._stored = stored.newbyteorder("<")
        self.nbytes = array.size * stored.itemsize

    def open(self) -> memoryview | None:
        """The array's own memory, or None."""
        is_direct = self._array.flags.c_contiguous and self._array.dtype == self._stored
        return _bytes(self._array) if is_direct else None

    def take(self, staged: memoryview, copies: Sequence[Copy]) -> Callable[[], None] | None:
        """Puts staged elements in their places, cast if need be."""
        array = self._array.reshape(1) if self._array.ndim == 0 else self._array
        values = np.frombuffer(staged, np.uint8).view(self._stored)
        for copy in copies:
            windows = split_windows(
                array.shape, copy.dst_start, copy.shape, copy.dst_strides, copy.src_start, copy.src_strides
            )
            if windows is None:
                at = np.unravel_index(_places(copy.dst_start, copy.shape, copy.dst_strides), array.shape)
                array[at] = values[_places(copy.src_start, copy.shape, copy.src_strides)].astype(array.dtype)
                continue
            for window in windows:
                corner = array[tuple([slice(first, None) for first in window.first])]
                _, strides = window.place(array.strides)
                there = values[window.other_start :]
                pitches = [stride * values.itemsize for stride in window.other_strides]
                source = as_strided(there, window.shape, pitches)
                np.copyto(as_strided(corner, window.shape, strides), source, casting="unsafe")
        return None

    def close(self) -> None:
        """Everything is in its place."""


def collect_numpy(state: Mapping[str, object], *, kinds: Mapping[str, str] | None = None) -> tuple[ItemState, ...]:
    """The items of ``state``, a mapping of item name to nested plain values with arrays in them.

    The same array object under two names is one tensor. ``UnsupportedState`` names the path of anything else.
    """
    items = []
    for item, value in state.items():
        if not isinstance(value, Mapping):
            raise UsageError("usage.invalid", f"a {type(value).__name__}, not a mapping of names to values", key=item)
        tree = _Collector(item).node(value, ())
        kind = (kinds or {}).get(item) or _kind(value)
        items.append(ItemState(item, kind, tree))
    return tuple(items)


def _kind(value: Mapping[Any, Any]) -> str:
    return "model" if value and all(isinstance(v, np.ndarray) for v in value.values()) else "other"


@dataclass(slots=True)
class _Collector:
    item: str
    leaves: dict[int, tuple[np.ndarray[Any, Any], TensorLeaf]] = field(default_factory=dict)

    def node(self, value: Any, path: Path) -> Node:
        if value is None or type(value) in _LEAVES:
            return value
        if isinstance(value, np.ndarray):
            return self.leaf(value, path)
        if len(path) > 64:
            raise self.refuse(path, "nested more than 64 levels deep, or within itself")
        if isinstance(value, Mapping) and all(type(key) in (str, int) for key in value):
            return {key: self.node(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.node(inner, (*path, i)) for i, inner in enumerate(value)]
        if type(value) is tuple:
            return tuple(self.node(inner, (*path, i)) for i, inner in enumerate(value))
        if isinstance(value, np.generic) and type(value.item()) in _LEAVES:
            return value.item()
        if isinstance(value, np.dtype) and value.name in _NAMES:
            return DTypeName(_NAMES[value.name])
        if isinstance(value, AbstractSet) and ({type(m) for m in value} <= {str} or {type(m) for m in value} <= {int}):
            return frozenset(value)
        raise self.refuse(path, f"a {type(value).__module__}.{type(value).__qualname__} is not plain data")

    def leaf(self, array: np.ndarray[Any, Any], path: Path) -> TensorLeaf:
        known = self.leaves.get(id(array))
        if known is None:
            name = _NAMES.get(array.dtype.name)
            if name is None:
                raise self.refuse(path, f"an array of dtype {array.dtype}")
            piece = Piece(Region.whole(array.shape), ArraySource(array))
            known = array, TensorLeaf(name, tuple(array.shape), (piece,), None, claimed=True)
            self.leaves[id(array)] = known
        return known[1]

    def refuse(self, path: Path, message: str) -> UnsupportedState:
        key = path_text((self.item, *path))
        return UnsupportedState("state.unsupported", message, key=key, hint="store arrays of numbers and plain values")


class ArrayBinder:
    """Binds one item to a nested mapping: arrays are filled in place, other values are replaced."""

    def __init__(self, target: Mapping[Any, Any], *, strict: bool = True, dtype: DTypeRule = "error") -> None:
        self.target = target
        self.strict = strict
        self.dtype = dtype

    def bind(self, item: ItemView) -> BoundItem:
        """Requests and findings for ``item``; ``finish`` returns the mapping."""
        bound = BoundItem()
        bound.finish = self._fill(item, bound, item.tree, self.target, ())
        return bound

    def _fill(self, item: ItemView, bound: BoundItem, node: Node, target: Any, path: Path) -> Callable[[], Any]:
        if isinstance(target, np.ndarray):
            self._array(item, bound, node, target, path)
            return lambda: target
        if isinstance(target, Mapping) and isinstance(node, Mapping):
            names = set(node) | set(target)
            absent = bound.findings if self.strict else bound.skipped
            for name in sorted(names - set(node), key=str):
                absent.append(Finding(_MISMATCH, path_text((*path, name)), "missing: the checkpoint has no such name"))
            for name in sorted(names - set(target), key=str):
                message = "unexpected: the target has no such name"
                bound.unexpected.append(Finding(_MISMATCH, path_text((*path, name)), message))
            steps = {
                name: self._fill(item, bound, node[name], inner, (*path, name))
                for name, inner in target.items()
                if name in node
            }
            return lambda: _update(target, steps)
        value = _fresh(item, bound, node, path)
        return lambda: value

    def _array(self, item: ItemView, bound: BoundItem, node: Node, target: np.ndarray[Any, Any], path: Path) -> None:
        key = path_text((item.name, *path))
        if not isinstance(node, TensorRef):
            message = f"the checkpoint has a {type(node).__name__}, no tensor"
            bound.findings.append(Finding(_MISMATCH, path_text(path), message))
            return
        shape, name = item.shape(node.index), item.dtype(node.index)
        wanted = _NAMES.get(target.dtype.name, target.dtype.name)
        stored = numpy_dtype(name, key)
        fits = name == wanted or self.dtype == "cast"
        fits |= self.dtype == "widen" and np.can_cast(stored, target.dtype, casting="safe")
        if shape != target.shape:
            message = f"shape: the checkpoint has {list(shape)}, the target {list(target.shape)}"
        elif not fits:
            message = f"dtype: the checkpoint has {name}, the target {wanted}"
        elif not target.flags.writeable:
            message = "the target is read-only"
        else:
            pieces = ((Region.whole(shape), ArraySink(target, stored)),)
            bound.requests.append(TensorRequest(path, node.index, Target(pieces)))
            return
        bound.findings.append(Finding(_MISMATCH, path_text(path), message))


def _update(target: Mapping[Any, Any], steps: Mapping[Any, Callable[[], Any]]) -> Mapping[Any, Any]:
    for name, step in steps.items():
        value = step()
        if isinstance(target, MutableMapping):
            target[name] = value
    return target


class FreshArrayBinder:
    """Binds any item to new arrays."""

    def bind(self, item: ItemView) -> BoundItem:
        """Requests for every tensor; ``finish`` returns the nested value."""
        bound = BoundItem()
        value = _fresh(item, bound, item.tree, ())
        bound.finish = lambda: value
        return bound


def _fresh(item: ItemView, bound: BoundItem, node: Node, path: Path) -> Any:
    made: dict[int, np.ndarray[Any, Any]] = {}

    def change(where: Path, leaf: Any) -> Any:
        if isinstance(leaf, DTypeName):
            return numpy_dtype(leaf.name) if leaf.name in _NATIVE else leaf
        if not isinstance(leaf, TensorRef):
            return leaf
        if leaf.index not in made:
            key = path_text((item.name, *where))
            dtype, shape = numpy_dtype(item.dtype(leaf.index), key), item.shape(leaf.index)
            try:
                array = np.empty(shape, dtype=dtype)
            except (MemoryError, ValueError) as error:
                message = f"no memory for an array of {list(shape)} {dtype}: {error}"
                raise LimitExceeded("limit.exceeded", message, key=key) from error
            made[leaf.index] = array
            target = Target(((Region.whole(shape), ArraySink(array, dtype)),))
            bound.requests.append(TensorRequest(where, leaf.index, target))
        return made[leaf.index]

    return map_leaves(node, change, path)


def bind_numpy(
    into: Mapping[str, Mapping[Any, Any]], *, strict: bool = True, dtype: DTypeRule = "error"
) -> dict[str, ArrayBinder]:
    """A binder for every item named in ``into``."""
    return {item: ArrayBinder(target, strict=strict, dtype=dtype) for item, target in into.items()}
