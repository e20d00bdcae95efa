"""An item's tree: nested maps and lists whose leaves are scalars or references to tensors.

A node is one of these Python values:

* ``None``, ``bool``, ``int`` (up to 4096 bytes), ``float``, ``str``, ``bytes``, ``complex``, ``datetime.datetime``;
* ``list``, ``tuple``, ``dict`` with ``str`` or ``int`` keys, ``frozenset`` of only ``str`` or only ``int``;
* one of the classes below.

``tree_wire`` turns nodes into MessagePack and back; this module says what they are and walks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "DTypeName",
    "Flattened",
    "Indexed",
    "Node",
    "Path",
    "TensorRef",
    "Timestamp",
    "map_leaves",
    "path_text",
    "walk",
]

Path = tuple[str | int, ...]
"""Where a node is: keys of maps, positions in lists and tuples, indices of ``Indexed``; in a ``Flattened``, ``"inner"``
followed by the name, or ``"attributes"``."""

Node = Any
"""Any value that the module's docstring lists; checked where it is encoded or decoded."""


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A leaf that stands for a tensor of the item's tensor table. Two equal ones are one tensor under two names."""

    index: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """One value for each coordinate along ``axis`` (a rank, a data-parallel coordinate), which differ by design."""

    axis: str
    size: int
    values: Mapping[int, Node]
    """Coordinate -> value; a committed tree has all of ``0 .. size - 1``, a single writer's tree only its own."""


@dataclass(frozen=True, slots=True)
class Flattened:
    """A tensor subclass as the plain tensors inside it, and whatever else it takes to rebuild it."""

    inner: Mapping[str, Node]
    attributes: Node


@dataclass(frozen=True, slots=True)
class DTypeName:
    """A dtype as a value (an option such as ``dtype=torch.bfloat16``), by its name in the registry of dtypes."""

    name: str


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A point in time that ``datetime`` can't hold: finer than a microsecond, or outside the years 1 to 9999."""

    seconds: int
    """Since 1970-01-01T00:00:00Z; with ``offset`` None, of the local wall clock read as if it were UTC."""
    nanoseconds: int
    """``0 .. 999_999_999``, added to ``seconds``."""
    offset: int | None
    """Seconds that the time zone is ahead of UTC; None where no zone is known."""


def path_text(path: Path) -> str:
    """The path for people, components joined by ``/``; not reversible (entry names are)."""
    return "/".join(str(component) for component in path)


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path, depth first, in the order of the tree. Empty containers have no leaves."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if type(value) is TensorRef:
                yield (*path, key), value
            else:
                yield from walk(value, (*path, key))
    elif isinstance(node, (list, tuple)):
        for position, value in enumerate(node):
            yield from walk(value, (*path, position))
    elif isinstance(node, Indexed):
        for index, value in node.values.items():
            yield from walk(value, (*path, index))
    elif isinstance(node, Flattened):
        for name, value in node.inner.items():
            yield from walk(value, (*path, "inner", name))
        yield from walk(node.attributes, (*path, "attributes"))
    else:
        yield path, node


def map_leaves(node: Node, change: Callable[[Path, Any], Node], path: Path = ()) -> Node:
    """The same tree with ``change(path, leaf)`` in the place of every leaf; containers are built anew."""
    if isinstance(node, Mapping):
        return {key: map_leaves(value, change, (*path, key)) for key, value in node.items()}
    if isinstance(node, list):
        return [map_leaves(value, change, (*path, position)) for position, value in enumerate(node)]
    if isinstance(node, tuple):
        return tuple(map_leaves(value, change, (*path, position)) for position, value in enumerate(node))
    if isinstance(node, Indexed):
        values = {index: map_leaves(value, change, (*path, index)) for index, value in node.values.items()}
        return Indexed(node.axis, node.size, values)
    if isinstance(node, Flattened):
        inner = {name: map_leaves(value, change, (*path, "inner", name)) for name, value in node.inner.items()}
        return Flattened(inner, map_leaves(node.attributes, change, (*path, "attributes")))
    return change(path, node)
