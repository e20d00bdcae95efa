"""Values that differ from rank to rank by design, and what happens to them when the number of ranks changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pyckpt.errors import Finding, UsageError
from pyckpt.format.tree import Indexed

__all__ = ["OnResize", "PerRank", "per_rank", "pick"]

OnResize = Literal["error", "nearest", "reseed"]
_RULES = ("error", "nearest", "reseed")


@dataclass(frozen=True, slots=True, eq=False)
class PerRank:
    """One rank's value of an indexed value; made by ``per_rank``."""

    value: Any
    axis: str = "rank"
    index: int | None = None
    """This rank's coordinate along the axis; None: its rank."""
    size: int | None = None
    """Length of the axis; None: the number of ranks."""
    on_resize: OnResize = "error"

    def coordinate(self, rank: int, world_size: int, key: str) -> tuple[int, int]:
        """Index and size on this rank. ``UsageError`` if the index is outside of the axis."""
        index = rank if self.index is None else self.index
        size = world_size if self.size is None else self.size
        if not 0 <= index < size:
            raise UsageError("usage.invalid", f"index {index} on an axis {self.axis!r} of size {size}", key=key)
        return index, size


def per_rank(
    value: Any,
    axis: str = "rank",
    index: int | None = None,
    size: int | None = None,
    on_resize: OnResize = "error",
) -> PerRank:
    """Marks ``value`` as this rank's own, at ``index`` of ``size`` along ``axis``.

    Ranks with the same index must hold equal values. On a load with another size, ``on_resize`` decides: ``error``;
    ``nearest``, the value at the same relative position; ``reseed``, for random state only, new seeds derived from
    the saved state and the rank.
    """
    if on_resize not in _RULES:
        raise UsageError("usage.invalid", f"on_resize={on_resize!r} is not one of {', '.join(_RULES)}")
    return PerRank(value, axis, index, size, on_resize)


def pick(
    stored: Indexed, index: int, size: int, rule: OnResize, key: str, *, axis: str | None = None
) -> tuple[Any, Finding | None]:
    """The stored value for coordinate ``index`` of ``size``, or a finding that says why there is none."""
    if axis is not None and stored.axis != axis:
        return None, Finding(
            "state.mismatch", key, f"saved per {stored.axis!r}, wanted per {axis!r}: coordinates mean different things"
        )
    if stored.size == size:
        position = index
    elif rule == "nearest":
        position = min(stored.size - 1, index * stored.size // size)
    else:
        return None, Finding(
            "state.mismatch",
            key,
            f"saved for {stored.size} coordinates along {stored.axis!r}, wanted for {size}; "
            'choose on_resize="nearest" (or "reseed" for random state), or leave the item out',
        )
    if position not in stored.values:
        return None, Finding("state.mismatch", key, f"no value at {position} along {stored.axis!r}")
    return stored.values[position], None
