"""The union of the writers' trees (section 8.5), and the tensors in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .encode_names import tensor_name
from .errors import Rejected
from .given_tree import Branch, Given, GivenTensor, Leaf, shown_path
from .tree import Path, SetNode

Held = tuple[int, Given]
"""A writer's number and its node."""


@dataclass(frozen=True)
class Joined:
    """A container of the union; see Branch."""

    kind: str
    head: tuple[str | int, ...]
    children: tuple[tuple[Path, United], ...]


@dataclass(frozen=True)
class Place:
    """A tensor leaf of the union: the writers that hold it, each with what it gives."""

    path: Path
    held: tuple[tuple[int, GivenTensor], ...]


United = Leaf | Joined | Place


@dataclass(frozen=True)
class UnitedTensor:
    """A tensor of the union: its paths in tree order, and each writer's part of it."""

    number: int
    paths: tuple[Path, ...]
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[tuple[int, GivenTensor], ...]

    @property
    def name(self) -> str:
        """The name that its first leaf derives (SCF-OBJ-010)."""
        return tensor_name(self.paths[0])


@dataclass(frozen=True)
class UnitedTree:
    """The tree, its tensors by number, and the number of the tensor at each path."""

    tree: Joined
    tensors: tuple[UnitedTensor, ...]
    numbers: dict[Path, int]


def unite(trees: Sequence[tuple[int, Branch]]) -> UnitedTree:
    """The union of these trees, in order of writer number; what has none is refused (SCF-TREE-010)."""
    tree = _branch((), trees) if trees else Joined("map", (), ())
    tensors = _tensors(tree)
    return UnitedTree(tree, tensors, {path: tensor.number for tensor in tensors for path in tensor.paths})


def diverged(path: Path, writers: Sequence[int], message: str) -> Rejected:
    """The refusal of values that contradict each other: it names the path and the writers."""
    who = ", ".join(str(writer) for writer in sorted(set(writers)))
    return Rejected("state.diverged", f"{shown_path(path)}: {message} (writers {who})", subject=shown_path(path))


def _unite(path: Path, held: Sequence[Held]) -> United:
    branches = [(writer, node) for writer, node in held if isinstance(node, Branch)]
    leaves = [(writer, node) for writer, node in held if isinstance(node, Leaf)]
    tensors = [(writer, node) for writer, node in held if isinstance(node, GivenTensor)]
    kinds = {"tensor" if isinstance(node, GivenTensor) else node.kind for _, node in held}
    if len(kinds) > 1:
        raise diverged(path, _writers(held), f"nodes of the kinds {', '.join(sorted(kinds))}")
    if branches:
        return _branch(path, branches)
    if tensors:
        return Place(path, tuple(tensors))
    if kinds == {"set"}:
        return _set(path, leaves)
    if len({leaf.value for _, leaf in leaves}) > 1:
        raise diverged(path, _writers(held), "different values")
    return leaves[0][1]


def _writers(held: Sequence[tuple[int, object]]) -> list[int]:
    return [writer for writer, _ in held]


def _set(path: Path, leaves: Sequence[tuple[int, Leaf]]) -> Leaf:
    elements = {element for _, leaf in leaves if isinstance(leaf.value, SetNode) for element in leaf.value.elements}
    texts = sorted(element for element in elements if isinstance(element, str))
    integers = sorted(element for element in elements if isinstance(element, int))
    if texts and integers:
        raise diverged(path, _writers(leaves), "a set of texts and one of integers")
    return Leaf("set", SetNode((*texts, *integers)))


def _branch(path: Path, held: Sequence[tuple[int, Branch]]) -> Joined:
    first = held[0][1]
    if any(branch.head != first.head for _, branch in held):
        raise diverged(path, _writers(held), f"a {first.kind} of different length, axis or size")
    by_place: dict[Path, list[Held]] = {}
    for writer, branch in held:
        for more, child in branch.children:
            by_place.setdefault(more, []).append((writer, child))
    children = [(more, _unite(path + more, found)) for more, found in _ordered(first.kind, by_place)]
    if first.kind == "indexed" and len(children) != first.head[1]:  # SCF-TREE-011
        lacking = next(index for index in range(int(first.head[1])) if (index,) not in by_place)
        raise diverged((*path, lacking), _writers(held), "no writer holds this index")
    return Joined(first.kind, first.head, tuple(children))


def _ordered(kind: str, by_place: dict[Path, list[Held]]) -> list[tuple[Path, list[Held]]]:
    """Keys of maps as they appeared first; indices ascending; of a flattened node the attributes last."""
    if kind == "indexed":
        return sorted(by_place.items(), key=lambda entry: int(entry[0][0]))
    return (
        sorted(by_place.items(), key=lambda entry: entry[0] == ("attributes",))
        if kind == "flattened"
        else [*by_place.items()]
    )


def _places(node: United) -> list[Place]:
    if isinstance(node, Place):
        return [node]
    return [] if isinstance(node, Leaf) else [place for _, child in node.children for place in _places(child)]


def _tensors(tree: Joined) -> tuple[UnitedTensor, ...]:
    """Places that a writer ties are one tensor; numbers are in order of the first leaf (SCF-MODEL-003)."""
    places = _places(tree)
    group = {place.path: place.path for place in places}

    def top(path: Path) -> Path:
        while group[path] != path:
            path = group[path]
        return path

    first: dict[tuple[int, str], Path] = {}
    for place in places:
        for writer, tensor in place.held:
            group[top(place.path)] = top(first.setdefault((writer, tensor.id), place.path))
    members: dict[Path, list[Place]] = {}
    for place in places:
        members.setdefault(top(place.path), []).append(place)
    return tuple(_tensor(number, found) for number, found in enumerate(members.values()))


def _tensor(number: int, places: Sequence[Place]) -> UnitedTensor:
    parts: dict[int, GivenTensor] = {}
    dtype, shape = places[0].held[0][1].dtype, places[0].held[0][1].shape
    for place in places:
        for writer, tensor in place.held:
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                message = f"{tensor.dtype} {list(tensor.shape)} and {dtype} {list(shape)}"
                raise diverged(place.path, [*parts, writer], message)
            if parts.setdefault(writer, tensor).id != tensor.id:  # SCF-TREE-012
                message = f"one tensor with {shown_path(places[0].path)} for some writers, another one for others"
                raise diverged(place.path, [*parts, *_writers(place.held)], message)
    paths = tuple(place.path for place in places)
    return UnitedTensor(number, paths, dtype, shape, tuple(sorted(parts.items(), key=lambda part: part[0])))
