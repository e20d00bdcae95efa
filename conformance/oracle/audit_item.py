"""The audit of a written item: kind, assets, tree, tensors, bytes, objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .assets import read_asset
from .audit_objects import object_findings
from .entries import tensor_name
from .given import GivenWrite
from .given_tree import Leaf, shown_path
from .mpack import Float
from .opening import OpenItem
from .reading import read_region
from .tree import (
    Complex,
    DtypeNode,
    Flattened,
    Indexed,
    ListNode,
    MapNode,
    Node,
    Path,
    SetNode,
    Tensor,
    Timestamp,
    TupleNode,
    children,
)
from .union import Joined, Place, United, UnitedTensor, unite
from .writer import part_content

_KINDS: Mapping[type, str] = {
    type(None): "nil",
    bool: "bool",
    int: "int",
    Float: "float",
    str: "text",
    bytes: "bytes",
    ListNode: "list",
    TupleNode: "tuple",
    MapNode: "map",
    Tensor: "tensor",
    Complex: "complex",
    Timestamp: "timestamp",
    Indexed: "indexed",
    SetNode: "set",
    Flattened: "flattened",
    DtypeNode: "dtype",
}


def item_findings(opened: OpenItem, name: str, given: GivenWrite, *, should: bool) -> Iterator[str]:
    """What is wrong with an item; `should`: with what is only recommended, too."""
    wanted = given.items[name]
    if opened.item.kind != wanted.kind:
        yield f"item {name} is of the kind {opened.item.kind}, not {wanted.kind}"
    yield from _assets(opened, wanted.assets)
    united = unite(
        [(place, writer.trees[name]) for place, writer in enumerate(given.writers) if name in writer.trees],
    )
    numbers: dict[int, int] = {}
    yield from _tree(opened.manifest.tree, united.tree, (), united.numbers, numbers)
    for tensor in united.tensors:
        if tensor.number in numbers:
            yield from _tensor(opened, tensor, numbers[tensor.number], should=should)
    dtypes = {numbers[tensor.number]: tensor.dtype for tensor in united.tensors if tensor.number in numbers}
    yield from object_findings(opened, wanted, dtypes, should=should)


def _assets(opened: OpenItem, wanted: Mapping[str, bytes]) -> Iterator[str]:
    there = opened.item.assets
    if there.keys() != wanted.keys():
        yield f"the assets of {opened.item.name} are {sorted(there)}"
    for name in there.keys() & wanted.keys():
        if read_asset(opened.store, opened.root, opened.item, name) != wanted[name]:
            yield f"the asset {name} of {opened.item.name} has other bytes"


def _tree(
    node: Node,
    wanted: United,
    path: Path,
    numbers: Mapping[Path, int],
    found: dict[int, int],
) -> Iterator[str]:
    """Where two trees differ; `found` gets the tensor number that each wanted tensor has become."""
    place = shown_path(path) or "the tree"
    kind = _KINDS[type(node)]
    expected = "tensor" if isinstance(wanted, Place) else wanted.kind
    if kind != expected:
        yield f"{place} is of the kind {kind}, not {expected}"
    elif isinstance(node, Tensor):
        number = numbers[path]
        taken = [other for other, became in found.items() if became == node.number and other != number]
        if taken or found.setdefault(number, node.number) != node.number:
            yield f"SCF-MODEL-003: {place} is tied to other leaves than in the request"
    elif isinstance(wanted, Leaf):
        if node != wanted.value:
            yield f"{place} has another value: {node!r}, not {wanted.value!r}"
    elif isinstance(wanted, Joined):
        yield from _children(node, wanted, path, numbers, found)


def _children(
    node: Node,
    wanted: Joined,
    path: Path,
    numbers: Mapping[Path, int],
    found: dict[int, int],
) -> Iterator[str]:
    place = shown_path(path) or "the tree"
    there, expected = dict(children(node)), dict(wanted.children)
    if isinstance(node, Indexed) and (node.axis, len(node.values)) != wanted.head:
        yield f"{place} has the axis {node.axis} of {len(node.values)}, not {wanted.head}"
    if there.keys() != expected.keys():
        differ = ", ".join(shown_path(more) for more in there.keys() ^ expected.keys())
        yield f"{place} has other members than in the request: {differ}"
    elif list(there) != list(expected):
        yield f"section 8.1: {place} has its members in another order"
    for more, child in expected.items():
        if more in there:
            yield from _tree(there[more], child, path + more, numbers, found)


def _tensor(opened: OpenItem, wanted: UnitedTensor, number: int, *, should: bool) -> Iterator[str]:
    """Dtype, shape, name, and the bytes of every region that a writer held."""
    row = opened.manifest.tensors[number]
    place = shown_path(wanted.paths[0])
    if (row.dtype.name, row.shape) != (wanted.dtype, wanted.shape):
        yield f"{place} is {row.dtype.name} {list(row.shape)}, not {wanted.dtype} {list(wanted.shape)}"
        return
    if should and row.name != tensor_name(wanted.paths[0]):
        yield f"SCF-OBJ-010: the tensor at {place} is called {row.name}"
    for writer, part in wanted.parts:
        for region, data in part_content(part).items():
            if read_region(opened, number, region) != data:
                yield f"{place} has other bytes than writer {writer} held in {region}"
