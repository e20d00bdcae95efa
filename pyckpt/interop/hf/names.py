"""Which names an export has: each tensor of the item under the name that loaders look for; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from pyckpt.engine.open import OpenItem
from pyckpt.errors import UsageError
from pyckpt.format.tree import TensorRef, walk

__all__ = ["Chosen", "Leaf", "Named", "choose_names", "first_names", "read_leaves"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor of the item under a name of the export."""

    name: str
    tensor: int


@dataclass(frozen=True, slots=True)
class Named:
    """The leaves of an item, and what it holds beside them."""

    leaves: tuple[Leaf, ...]
    left_out: tuple[str, ...]


def read_leaves(item: OpenItem, map_key: Callable[[str], str | None] | None) -> Named:
    """The named tensors at the top of the item's tree, in its order; ``map_key`` renames them, or drops with None.

    Raises UsageError for a name that no file can have, or that two tensors would get.
    """
    leaves: list[Leaf] = []
    left_out: list[str] = []
    origin: dict[str, str] = {}
    for key, value in item.tree.items():
        if not isinstance(value, TensorRef) or not isinstance(key, str):
            what = "a value" if not any(isinstance(leaf, TensorRef) for _, leaf in walk(value)) else "nested tensors"
            left_out.append(f"{key}: {what}, and a model has named tensors only")
            continue
        name = key if map_key is None else map_key(key)
        if name is None:
            left_out.append(f"{key}: map_key gives None")
            continue
        if not isinstance(name, str) or not name or name == "__metadata__":
            raise UsageError("usage.invalid", f"expected a name for the tensor, found {name!r:.200}", key=key)
        if name in origin:
            raise UsageError("usage.invalid", f"{origin[name]!r} and {key!r} both get the name {name!r}", key=key)
        origin[name] = key
        leaves.append(Leaf(name, value.index))
    return Named(tuple(leaves), tuple(left_out))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which leaves are written, and which are only other names of those."""

    leaves: tuple[Leaf, ...]
    aliases: Mapping[str, str]
    """Dropped name -> the name under which the same tensor is written."""
    copies: tuple[tuple[Leaf, Leaf], ...]
    """(leaf, leaf that it should equal): the model ties the two, and the checkpoint has a tensor for each."""


def choose_names(leaves: Sequence[Leaf], tied: Mapping[str, str], known: Collection[str]) -> Chosen:
    """Decides under which names tensors are written, given what the model ties.

    ``tied`` is name that the model's files leave out -> name that they keep; ``known`` are all names of the model. A
    tensor that the model has under two names without tying them is written twice: loaders would miss the second.
    """
    by_root: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        by_root.setdefault(tied.get(leaf.name, leaf.name), []).append(leaf)
    mains: list[Leaf] = []
    aliases: dict[str, str] = {}
    copies: list[tuple[Leaf, Leaf]] = []
    for root, group in by_root.items():
        tensor = next((leaf.tensor for leaf in group if leaf.name == root), group[0].tensor)
        main = Leaf(root, tensor)
        mains.append(main)
        for leaf in group:
            if leaf.tensor != tensor:
                copies.append((leaf, main))
            elif leaf.name != root:
                aliases[leaf.name] = root
    home = {leaf.tensor: leaf.name for leaf in reversed(mains) if leaf.name in known}
    kept = []
    for main in mains:
        name = home.get(main.tensor, main.name)
        if main.name in known or name == main.name:
            kept.append(main)
        else:
            aliases[main.name] = name
    order = {leaf.name: at for at, leaf in enumerate(leaves)}
    kept += [leaf for leaf, _ in copies]
    return Chosen(tuple(sorted(kept, key=lambda leaf: order.get(leaf.name, -1))), aliases, tuple(copies))


def first_names(leaves: Sequence[Leaf], *, untied: bool) -> Chosen:
    """The same without knowing the model: every tensor under its first name; under all if its config ties nothing."""
    first: dict[int, str] = {}
    kept = []
    aliases: dict[str, str] = {}
    for leaf in leaves:
        if untied or leaf.tensor not in first:
            first.setdefault(leaf.tensor, leaf.name)
            kept.append(leaf)
        else:
            aliases[leaf.name] = first[leaf.tensor]
    return Chosen(tuple(kept), aliases, ())
