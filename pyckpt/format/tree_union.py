"""The committed tree: the union of what the writers hold, and every place where they contradict each other."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from pyckpt.errors import Finding, StateDiverged
from pyckpt.format.show import show
from pyckpt.format.tree import Flattened, Indexed, Node, Path, path_text

__all__ = ["missing_indices", "union_trees"]

Held = Sequence[tuple[int, Node]]
"""What some writers hold at one path: (writer, node), by writer."""


def union_trees(trees: Sequence[tuple[int, Node]]) -> Node:
    """One tree that says what all the writers' trees say; tensor leaves are numbered alike in all of them.

    Maps merge key by key, in the order of the lowest writer that has a key; sets by union; ``Indexed`` by index, where
    axis and size agree. Lists and tuples have the same length everywhere. All else is equal, floats bit by bit.
    Raises StateDiverged whose findings name every path with the writers and values on each side.
    """
    held = sorted(trees, key=lambda pair: pair[0])
    union = _Union()
    result = union.merge(held, ())
    if union.findings:
        count = len(union.findings)
        raise StateDiverged(
            "state.diverged",
            f"writers hold different values at {count} path{'s' if count > 1 else ''}",
            key=union.findings[0].key,
            hint="values that differ by design are declared per rank; all others must be equal on every rank",
            findings=union.findings,
        )
    return result


class _Union:
    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def merge(self, held: Held, path: Path) -> Node:
        first = held[0][1]
        if all(node is first for _, node in held):
            return first
        kind = type(first)
        if any(type(node) is not kind for _, node in held):
            return self.diverge(held, path)
        if kind is dict:
            return self.maps(held, path)
        if kind is list or kind is tuple:
            return self.sequences(held, path)
        if kind is Indexed:
            return self.indexed(held, path)
        if kind is Flattened:
            inner = self.maps([(writer, node.inner) for writer, node in held], (*path, "inner"))
            attributes = [(writer, node.attributes) for writer, node in held]
            return Flattened(inner, self.merge(attributes, (*path, "attributes")))
        if kind is frozenset:
            return self.sets(held, path)
        if all(_same(first, node) for _, node in held):
            return first
        return self.diverge(held, path)

    def maps(self, held: Held, path: Path) -> dict[Any, Node]:
        keys = list(held[0][1])
        if all(list(node) == keys for _, node in held):
            return {key: self.leaf_or_merge([(writer, node[key]) for writer, node in held], path, key) for key in keys}
        groups: dict[Any, list[tuple[int, Node]]] = {}
        for writer, node in held:
            for key, value in node.items():
                groups.setdefault(key, []).append((writer, value))
        return {key: self.leaf_or_merge(group, path, key) for key, group in groups.items()}

    def leaf_or_merge(self, held: Held, path: Path, key: str | int) -> Node:
        if len(held) == 1:
            return held[0][1]
        return self.merge(held, (*path, key))

    def sequences(self, held: Held, path: Path) -> Node:
        first = held[0][1]
        if any(len(node) != len(first) for _, node in held):
            return self.diverge(held, path)
        merged = [
            self.merge([(writer, node[position]) for writer, node in held], (*path, position))
            for position in range(len(first))
        ]
        return merged if type(first) is list else tuple(merged)

    def indexed(self, held: Held, path: Path) -> Node:
        first = held[0][1]
        if any((node.axis, node.size) != (first.axis, first.size) for _, node in held):
            return self.diverge(held, path)
        merged = self.maps([(writer, node.values) for writer, node in held], path)
        return Indexed(first.axis, first.size, {index: merged[index] for index in sorted(merged)})

    def sets(self, held: Held, path: Path) -> Node:
        members = frozenset().union(*(node for _, node in held))
        if len({type(member) for member in members}) > 1:
            return self.diverge(held, path)
        return members

    def diverge(self, held: Held, path: Path) -> Node:
        sides: list[tuple[Node, list[int]]] = []
        for writer, node in held:
            for value, writers in sides:
                if _same_shape(value, node):
                    writers.append(writer)
                    break
            else:
                sides.append((node, [writer]))
        text = "; ".join(f"{_writers(writers)}: {_short(value)}" for value, writers in sides)
        self.findings.append(Finding("state.diverged", path_text(path) or "the tree itself", text))
        return held[0][1]


def _same(a: Any, b: Any) -> bool:
    """Equality of two leaves of the same type, which for floats means of their bits."""
    if type(a) is float:
        return struct.pack("<d", a) == struct.pack("<d", b)
    if type(a) is complex:
        return struct.pack("<dd", a.real, a.imag) == struct.pack("<dd", b.real, b.imag)
    if hasattr(a, "utcoffset"):
        # two datetimes in different zones compare equal, but are not the same value
        return bool(a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.utcoffset() == b.utcoffset())
    return bool(a == b)


def missing_indices(node: Node, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every ``Indexed`` of a committed tree that lacks values, with what it lacks."""
    if isinstance(node, Indexed):
        absent = node.size - len(node.values)
        if absent:
            first = next(index for index in range(node.size) if index not in node.values)
            yield path, f"{absent} of {node.size} values along {show(node.axis)} are missing, the first at {first}"
        children: Iterable[tuple[Path, Node]] = (((*path, index), value) for index, value in node.values.items())
    elif isinstance(node, dict):
        children = (((*path, key), value) for key, value in node.items())
    elif isinstance(node, (list, tuple)):
        children = (((*path, position), value) for position, value in enumerate(node))
    elif isinstance(node, Flattened):
        inner = (((*path, "inner", name), value) for name, value in node.inner.items())
        children = chain(inner, [((*path, "attributes"), node.attributes)])
    else:
        return
    for where, child in children:
        if isinstance(child, (dict, list, tuple, Indexed, Flattened)):
            yield from missing_indices(child, where)


def _same_shape(a: Any, b: Any) -> bool:
    """Whether two nodes would be reported alike: containers by what was compared of them."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b)
    if isinstance(a, Indexed):
        return (a.axis, a.size) == (b.axis, b.size)
    if isinstance(a, (dict, Flattened)):
        return True
    return _same(a, b)


def _writers(writers: Sequence[int]) -> str:
    shown = ", ".join(map(str, writers[:8])) + (f" and {len(writers) - 8} more" if len(writers) > 8 else "")
    return f"rank{'s' if len(writers) > 1 else ''} {shown}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"a map of {len(value)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Indexed):
        return f"indexed along {show(value.axis)}, size {value.size}"
    if isinstance(value, Flattened):
        return "a flattened tensor"
    if isinstance(value, frozenset):
        return f"a set of {len(value)}, such as {show(next(iter(value), None))}"
    if isinstance(value, (int, str, bytes)):
        return show(value)
    return f"{value!r:.80}"
