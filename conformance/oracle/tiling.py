"""Whether shards tile a tensor exactly (section 10.3), in time that is polynomial in their number (SCF-SEC-005).

The runs are joined where they meet in one box, and cut into boxes. The boxes lie in the tensor; so they tile it if
their volumes add up to its volume and no two have an element in common. The latter is found by halving: a plane sends
each box to the side or sides that it has elements on. Where no plane halves well, all pairs are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import prod

from .errors import beyond
from .limits import Limits
from .regions import Numbers, Region, region_boxes

Span = tuple[Numbers, Numbers]
"""First index and end of a box, per dimension."""

_FEW = 12
_GOOD, _POOR = 0.55, 0.9


def tiles(shape: Numbers, regions: Sequence[Region], limits: Limits) -> bool:
    """Whether every index of the shape is in exactly one of the regions, each of which lies in it."""
    if 0 in shape:
        return not regions or (len(regions) == 1 and regions[0] == Region((0,) * len(shape), shape, 0, 0))
    if sum(region.elements for region in regions) != prod(shape):
        return False
    joined = _joined(regions)
    if joined is None:
        return False
    spans = []
    numbers = 0
    for region in joined:
        parts = region_boxes(region)
        if not region.is_box:
            numbers += 2 * len(shape) * len(parts)
            if numbers > limits.max_box_numbers:
                raise beyond("max_box_numbers", limits.max_box_numbers, numbers, phase="manifest")
        spans += [(offset, tuple(a + b for a, b in zip(offset, size, strict=True))) for offset, size in parts]
    return _disjoint(spans)


def _joined(regions: Iterable[Region]) -> list[Region] | None:
    """The regions, those of one box that follow on each other as one; None if two of one box overlap."""
    found = []
    for (offset, size), group in groupby(sorted(regions, key=_order), key=lambda region: (region.offset, region.size)):
        start = stop = -1
        for region in group:
            if region.start < stop:
                return None
            if region.start > stop:
                if stop > start:
                    found.append(Region(offset, size, start, stop))
                start = region.start
            stop = region.stop
        found.append(Region(offset, size, start, stop))
    return found


def _order(region: Region) -> tuple[Numbers, Numbers, int]:
    return region.offset, region.size, region.start


def _disjoint(spans: list[Span]) -> bool:
    """Whether no two boxes have an element in common."""
    groups = [spans]
    while groups:
        group = groups.pop()
        plane = _plane(group) if len(group) > _FEW else None
        if plane is None:
            if not _pairs_disjoint(group):
                return False
        else:
            dimension, at = plane
            groups.append([span for span in group if span[0][dimension] < at])
            groups.append([span for span in group if span[1][dimension] > at])
    return True


def _plane(group: list[Span]) -> tuple[int, int] | None:
    """Dimension and index of a plane at which to halve; None if none makes the comparison of all pairs cheaper."""
    every = len(group) ** 2
    best, least = None, _POOR * every
    for dimension in range(len(group[0][0])):
        begins = sorted(span[0][dimension] for span in group)
        if begins[0] == begins[-1]:
            continue
        at = next(begin for begin in begins[len(begins) // 2 :] if begin > begins[0])
        below = sum(begin < at for begin in begins)
        above = sum(span[1][dimension] > at for span in group)
        cost = below**2 + above**2
        if cost < least:
            best, least = (dimension, at), cost
        if cost < _GOOD * every:
            break
    return best


def _pairs_disjoint(group: list[Span]) -> bool:
    return all(_apart(one, other) for place, one in enumerate(group) for other in group[:place])


def _apart(one: Span, other: Span) -> bool:
    """Whether two boxes are apart in some dimension; two boxes of a scalar never are."""
    return any(
        a_end <= b_begin or b_end <= a_begin
        for a_begin, a_end, b_begin, b_end in zip(one[0], one[1], other[0], other[1], strict=True)
    )
