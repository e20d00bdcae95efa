"""The tensors of an item on one writer, numbered."""

from __future__ import annotations

from typing import NamedTuple

from pyckpt.engine.leaves import ItemState, TensorLeaf
from pyckpt.format.names import entry_name
from pyckpt.format.tree import walk

__all__ = ["Slot", "number_leaves"]


class Slot(NamedTuple):
    """One tensor of an item on this writer. A tuple, because there may be a million."""

    number: int
    name: str
    """Entry name of its first place in the tree."""
    leaf: TensorLeaf


def number_leaves(item: ItemState) -> tuple[Slot, ...]:
    """Numbers the tensors of an item in tree order; a leaf that stands at several places gets one number."""
    slots: dict[int, Slot] = {}
    for key, value in item.tree.items():
        found = [((key,), value)] if type(value) is TensorLeaf else walk(value, (key,))
        for path, leaf in found:
            if type(leaf) is TensorLeaf and id(leaf) not in slots:
                slots[id(leaf)] = Slot(len(slots), entry_name(path), leaf)
    return tuple(slots.values())
