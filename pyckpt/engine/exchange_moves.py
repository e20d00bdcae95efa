"""What an exchange of tensors between ranks consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pyckpt.format.geometry import Copy, Ints, Region

__all__ = ["ExchangePlan", "Move", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """One tensor: who holds which regions of it, and who wants which."""

    name: str
    shape: Ints
    """Global shape."""
    have: tuple[tuple[Region, ...], ...]
    """By rank, the regions that it holds; equal regions have equal values, whoever holds them."""
    want: tuple[tuple[Region, ...], ...]
    """By rank, the regions that are to be filled there."""
    bits: int
    """Of one element on the wire: of the narrower of the dtypes on both sides."""


class Move(NamedTuple):
    """One strided copy from memory on one rank to memory on another, or on the same. A tuple: there are many."""

    tensor: int
    """Number of the route."""
    source: int
    """Rank that sends."""
    source_piece: int
    """Number of the region in ``Route.have[source]``."""
    target: int
    """Rank that receives."""
    target_piece: int
    """Number of the region in ``Route.want[target]``."""
    copy: Copy
    """Over the wire the elements go in the row-major order of its shape."""
    nbytes: int
    """On the wire."""
    wave: int
    """From 0; -1 where nothing is sent."""


@dataclass(frozen=True, slots=True)
class ExchangePlan:
    """All moves of one exchange."""

    size: int
    """Number of ranks."""
    budget: int
    """Bytes of wire buffers that no rank exceeds."""
    names: tuple[str, ...]
    """Of the tensors, by number."""
    remote: tuple[Move, ...]
    """Moves between ranks, by tensor; the same order on all ranks."""
    local: tuple[Move, ...]
    """Moves within a rank."""
    echoes: tuple[Move, ...]
    """Copies from one target to another of the same rank, once all else has arrived: its ``source_piece`` counts in
    ``Route.want`` too."""
    waves: int
