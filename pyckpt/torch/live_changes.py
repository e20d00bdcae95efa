"""Source and target of a planned exchange as they are now: tensors may have been replaced, but not laid out anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyckpt.engine.exchange_agree import LiveSource, LiveTargets, Wanted
from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
from pyckpt.engine.slots import number_leaves
from pyckpt.errors import StateMismatch
from pyckpt.format.geometry import Region

__all__ = ["pieces_now", "refuse_other_wants"]


def pieces_now(source: LiveSource, state: Sequence[ItemState]) -> dict[tuple[str, int], tuple[Piece, ...]]:
    """By item and number of a tensor, what this rank holds of it in ``state``.

    StateMismatch for a tensor that is no longer there, or has another dtype, shape or regions.
    """
    found = {item.name: {slot.name: slot.leaf for slot in number_leaves(item)} for item in state}
    pieces = {}
    for name, item in source.items.items():
        for slot, number in zip(item.slots, item.numbers, strict=True):
            leaf = found.get(name, {}).get(slot.name)
            if leaf is None or _layout_of(leaf) != _layout_of(slot.leaf):
                raise _changed("state", "holds", name, item.names[number])
            pieces[name, number] = leaf.pieces if item.own[number] else ()
    return pieces


def refuse_other_wants(
    source: LiveSource, targets: LiveTargets, rank: int, wants: Mapping[Wanted, tuple[Region, ...]]
) -> None:
    """StateMismatch if ``wants``, what this rank wants now, is not what was planned for it."""
    for key in dict.fromkeys((*targets.wanted, *wants)):
        planned = targets.wanted[key][rank] if key in targets.wanted else ()
        if wants.get(key, ()) != planned:
            raise _changed("target", "wants", key.item, source.items[key.item].names[key.tensor])


def _layout_of(leaf: TensorLeaf) -> tuple[object, ...]:
    return leaf.dtype, tuple(leaf.shape), [piece.region for piece in leaf.pieces]


def _changed(end: str, verb: str, item: str, tensor: str) -> StateMismatch:
    return StateMismatch(
        "state.mismatch",
        f"the {end} {verb} other regions of it, or in another dtype, than when the exchange was planned",
        key=f"{item}/{tensor}",
        hint="make a new Resharder when the layout changes",
    )
