"""Who writes which tensor whole, and in which stage, so that all write alike and memory stays bounded; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyckpt.engine.deal import deal

__all__ = ["WholeTensor", "plan_whole"]

ALIGNMENT = 64
"""Tensors begin at multiples of this many bytes in the memory of a stage."""


@dataclass(frozen=True, slots=True)
class WholeTensor:
    """Where one tensor is brought together."""

    owner: int
    """The rank that has it whole, and writes it."""
    stage: int
    offset: int
    """In the owner's memory of the stage, in bytes."""


def plan_whole(sizes: Sequence[int], ranks: int, *, budget: int) -> list[WholeTensor]:
    """A place for every tensor, from its bytes; the same on every rank.

    Tensors are dealt to the ranks by bytes, largest first. A rank's tensors fill stages of at most half of ``budget``
    each, in their order, since two stages are in memory at once; one that is larger has a stage for itself.
    """
    total = max(1, sum(sizes))
    owners = {part.piece: part.writer for part in deal(sizes, range(ranks), quantum=[total] * len(sizes))}
    stage, filled = [0] * ranks, [0] * ranks
    plan = []
    for number, size in enumerate(sizes):
        rank = owners[number]
        if filled[rank] and filled[rank] + size > budget // 2:
            stage[rank] += 1
            filled[rank] = 0
        plan.append(WholeTensor(rank, stage[rank], filled[rank]))
        filled[rank] += -(-size // ALIGNMENT) * ALIGNMENT
    return plan
