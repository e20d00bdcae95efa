"""Who reads what of regions that several ranks want alike: every byte is read by one of them; pure.

Whole regions are dealt to those who want them, largest first, like replicas in a save; only what is larger than a fair
share is cut, between rows, because a part has to be read straight into the place where the whole belongs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import lcm
from typing import NamedTuple

from pyckpt.engine.deal import deal
from pyckpt.engine.exchange_agree import ByRank, Wanted
from pyckpt.format.geometry import Box, Region

__all__ = ["ReadPart", "SharedReads", "deal_reads"]


class ReadPart(NamedTuple):
    """What one rank reads of a region that it wants."""

    piece: int
    """Number of the region among those that the rank wants of the tensor."""
    region: Region
    rows: tuple[int, int] | None
    """Rows of the region's box along its first dimension; None: the whole region."""


class SharedReads(NamedTuple):
    """Who reads what. Sizes in bytes."""

    parts: Mapping[Wanted, tuple[tuple[ReadPart, ...], ...]]
    """By rank."""
    shared: int
    """Bytes that are read once and wanted by several ranks."""


def deal_reads(wanted: Mapping[Wanted, ByRank], bits: Mapping[Wanted, int], *, block: int) -> SharedReads:
    """Deals the reading of everything that is wanted; the same on every rank.

    ``bits`` are those of a stored element; cuts fall on multiples of ``block`` bytes of a region where they can.
    """
    size = max((len(ranks) for ranks in wanted.values()), default=0)
    parts: dict[Wanted, list[list[ReadPart]]] = {key: [[] for _ in range(size)] for key in wanted}
    groups: dict[tuple[int, ...], list[tuple[Wanted, Region, dict[int, int], int]]] = defaultdict(list)
    for key, ranks in wanted.items():
        holders: dict[Region, dict[int, int]] = defaultdict(dict)
        for rank, regions in enumerate(ranks):
            for piece, region in enumerate(regions):
                if region.start < region.stop:
                    holders[region].setdefault(rank, piece)
        for region, pieces in holders.items():
            if len(pieces) == 1:
                rank, piece = next(iter(pieces.items()))
                parts[key][rank].append(ReadPart(piece, region, None))
            else:
                groups[tuple(pieces)].append((key, region, pieces, region.elements * bits[key] // 8))
    shared = 0
    for members, held in groups.items():
        sizes = [nbytes for _, _, _, nbytes in held]
        shared += sum(sizes)
        steps = [_step(region, bits[key], block, nbytes) for key, region, _, nbytes in held]
        for part in deal(sizes, members, quantum=steps):
            key, region, pieces, nbytes = held[part.piece]
            mine = ReadPart(pieces[part.writer], region, None)
            if part.stop - part.start < nbytes:
                row = nbytes // region.box.size[0]
                mine = _rows(mine.piece, region, part.start // row, part.stop // row)
            parts[key][part.writer].append(mine)
    return SharedReads({key: tuple(map(tuple, ranks)) for key, ranks in parts.items()}, shared)


def _step(region: Region, bits: int, block: int, nbytes: int) -> int:
    """Bytes that cuts must be a multiple of; all of them where the region can't be cut between rows."""
    size = region.box.size
    if not size or not region.is_whole_run or size[0] < 2 or region.elements // size[0] * bits % 8:
        return nbytes
    step = lcm(nbytes // size[0], block)
    # Rows whose blocks rarely meet are cut where a row ends: one block more is read at each cut.
    return step if step * 2 <= nbytes else nbytes // size[0]


def _rows(piece: int, region: Region, first: int, stop: int) -> ReadPart:
    box = region.box
    part = Box((box.offset[0] + first, *box.offset[1:]), (stop - first, *box.size[1:]))
    return ReadPart(piece, Region.of_box(part), (first, stop))
