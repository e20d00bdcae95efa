"""Deals replicated tensors to the writers that hold them, so that each is written once and all write alike.

Every member of a replica group computes the same deal from the same list, so nothing is sent. Whole tensors go to the
writer with the least bytes so far, largest first; only what is larger than a fair share is cut into runs, because
files with whole tensors stay readable by other tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

__all__ = ["Dealt", "deal"]


@dataclass(frozen=True, slots=True)
class Dealt:
    """Bytes ``[start, stop)`` of one piece, dealt to ``writer``."""

    piece: int
    writer: int
    start: int
    stop: int


def deal(sizes: Sequence[int], members: Sequence[int], *, quantum: Sequence[int]) -> list[Dealt]:
    """Gives each piece, or runs of it, to one of ``members``.

    ``sizes`` are bytes per piece in an order that all members agree on; ``quantum`` is, per piece, the number of bytes
    that cuts must be a multiple of (a whole number of blocks and of elements). Empty pieces go to the first member.
    """
    count = len(members)
    if count == 1:
        return [Dealt(i, members[0], 0, size) for i, size in enumerate(sizes)]
    fair = max(1, -(-sum(sizes) // count))
    parts: list[tuple[int, int, int]] = []
    for piece, size in enumerate(sizes):
        if size <= fair:
            parts.append((piece, 0, size))
            continue
        step = -(-fair // quantum[piece]) * quantum[piece]
        parts += [(piece, at, min(at + step, size)) for at in range(0, size, step)]
    parts.sort(key=lambda part: (part[1] - part[2], part[0], part[1]))
    loads = [(0, order) for order in range(count)]
    heapify(loads)
    dealt = []
    for piece, start, stop in parts:
        if start == stop:
            dealt.append(Dealt(piece, members[0], start, stop))
            continue
        load, order = loads[0]
        heapreplace(loads, (load + stop - start, order))
        dealt.append(Dealt(piece, members[order], start, stop))
    dealt.sort(key=lambda part: (part.piece, part.start))
    return dealt
