"""Nested plain state as nodes of the tree; whatever the format can't say exactly is refused by path."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
import torch

from pyckpt.errors import UnsupportedState
from pyckpt.format.tree import DTypeName, Flattened, Indexed, Node, Path, Timestamp
from pyckpt.torch.dtypes import registry_name
from pyckpt.torch.placed import PLAIN_TENSORS
from pyckpt.torch.walk import Walk

__all__ = ["array_tensor", "has_state", "plain_node", "scalar_of"]

_LEAVES: Final = (bool, int, float, str, bytes, complex, datetime, Timestamp, DTypeName)

_HINTS: Final[tuple[tuple[type, str], ...]] = (
    (torch.device, "store str(device), and torch.device(...) it after the load"),
    (torch.Generator, "store generator.get_state(), a tensor; for the global generators use pyckpt.RNG()"),
    (enum.Enum, "store its .value or .name"),
    (bytearray, "store bytes(...)"),
    (memoryview, "store bytes(...)"),
    (set, "a set of only str or only int can be stored"),
    (frozenset, "a set of only str or only int can be stored"),
)
_DEFAULT_HINT: Final = "give the object state_dict() and load_state_dict(), or store plain values"


def has_state(value: Any) -> bool:
    """True for objects that give and take their state as torch's do."""
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


def array_tensor(array: np.ndarray[Any, Any], *, shared: bool) -> torch.Tensor | None:
    """A tensor of the array's values; with ``shared`` over the array's own memory, or None if that can't be."""
    if not array.dtype.isnative:
        if shared:
            return None
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        if shared:
            return None
        array = array.copy()
    special = getattr(torch, array.dtype.name, None) if array.dtype.kind == "V" else None
    if isinstance(special, torch.dtype):
        width = {1: np.uint8, 2: np.uint16}.get(array.dtype.itemsize)
        return None if width is None else torch.from_numpy(array.view(width)).view(special)
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        return None


def scalar_of(value: np.generic) -> bool | int | float | complex | str | bytes | None:
    """The Python value of a numpy scalar; None for what has none without loss."""
    plain = value.item()
    return plain if isinstance(plain, (bool, int, float, complex, str, bytes)) else None


def plain_node(walk: Walk, value: Any, path: Path) -> Node:
    """The node of scalars, containers, tensors and arrays; ``UnsupportedState`` for anything else."""
    kind = type(value)
    if value is None or kind in _LEAVES:
        return value
    if isinstance(value, torch.Tensor):
        return walk.tensor(value, path)
    if isinstance(value, np.ndarray):
        tensor = array_tensor(value, shared=False)
        if tensor is None:
            raise walk.refuse(path, f"an array of dtype {value.dtype}", "store an array of numbers")
        # A view made here lives as long as the leaf; the array itself is what decides about aliases.
        return walk.tensor(tensor, path)
    if isinstance(value, np.generic):
        scalar = scalar_of(value)
        if scalar is None:
            raise walk.refuse(path, f"a numpy scalar of dtype {value.dtype}", "store a Python number")
        return scalar
    if isinstance(value, torch.dtype):
        return DTypeName(registry_name(value, walk.key(path)))
    if isinstance(value, (Mapping, list, tuple, Indexed, Flattened)):
        return _container(walk, value, path)
    if isinstance(value, (set, frozenset)):
        kinds = {type(member) for member in value}
        if kinds <= {str} or kinds <= {int}:
            return frozenset(value)
    elif not isinstance(value, enum.Enum):
        for base in (str, int, float):
            if isinstance(value, base):
                return base(value)
    hint = next((text for base, text in _HINTS if isinstance(value, base)), _DEFAULT_HINT)
    raise walk.refuse(path, f"a {kind.__module__}.{kind.__qualname__} is not plain data", hint)


def _container(walk: Walk, value: Any, path: Path) -> Node:
    if id(value) in walk.open_objects:
        raise walk.refuse(path, "the state contains itself", "break the cycle")
    if len(path) > _DEPTH:
        raise walk.refuse(path, f"nested more than {_DEPTH} levels deep", "flatten the state")
    walk.open_objects.append(id(value))
    try:
        return _containers(walk, value, path)
    finally:
        walk.open_objects.pop()


_DEPTH: Final = 64


def _containers(walk: Walk, value: Any, path: Path) -> Node:
    node: Callable[[Walk, Any, Path], Node] = walk.node
    if isinstance(value, Mapping):
        out: dict[str | int, Node] = {}
        for key, inner in value.items():
            if type(key) is str and type(inner) in PLAIN_TENSORS:
                out[key] = walk.tensor(inner, (*path, key))
                continue
            if isinstance(key, np.integer):
                raise _bad_key(walk, key, path)
            if type(key) not in (str, int) and not (isinstance(key, str) and not isinstance(key, enum.Enum)):
                raise _bad_key(walk, key, path)
            name = key if type(key) is int else str(key)
            out[name] = node(walk, inner, (*path, name))
        return out
    if isinstance(value, tuple):
        if type(value) not in (tuple, torch.Size):
            raise walk.refuse(path, f"a named tuple {type(value).__name__}", "store tuple(value) or value._asdict()")
        return tuple(node(walk, inner, (*path, i)) for i, inner in enumerate(value))
    if isinstance(value, list):
        return [node(walk, inner, (*path, i)) for i, inner in enumerate(value)]
    if isinstance(value, Indexed):
        inner_walk = walk.by_itself()
        values = {i: node(inner_walk, inner, (*path, i)) for i, inner in value.values.items()}
        return Indexed(value.axis, value.size, values)
    attributes = node(walk, value.attributes, (*path, "attributes"))
    inner_nodes = {name: node(walk, inner, (*path, "inner", name)) for name, inner in value.inner.items()}
    return Flattened(inner_nodes, attributes)


def _bad_key(walk: Walk, key: Any, path: Path) -> UnsupportedState:
    return walk.refuse(
        path, f"a mapping with the key {key!r} of type {type(key).__name__}", "keys are str or int; convert them"
    )
