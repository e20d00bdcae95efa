"""Regions (chapter 10): a box and a run within it, their boxes, and what two of them share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

Numbers = tuple[int, ...]
Box = tuple[Numbers, Numbers]
"""Offset and size."""


@dataclass(frozen=True, slots=True)
class Region:
    """The elements of a box at the positions [start, stop) of its row-major order (SCF-REG-001)."""

    offset: Numbers
    size: Numbers
    start: int
    stop: int

    @property
    def volume(self) -> int:
        """Elements of the box."""
        return prod(self.size)

    @property
    def elements(self) -> int:
        """Elements of the region."""
        return self.stop - self.start

    @property
    def is_box(self) -> bool:
        """Whether the run is the whole box."""
        return self.start == 0 and self.stop == self.volume

    def is_whole(self, shape: Numbers) -> bool:
        """Whether the box is the whole tensor."""
        return self.size == shape and not any(self.offset)


def whole(shape: Numbers) -> Region:
    """All of a tensor."""
    return Region((0,) * len(shape), shape, 0, prod(shape))


def lies_in(region: Region, shape: Numbers) -> bool:
    """Whether the box is within the tensor and the run within the box (SCF-REG-002, SCF-READ-003)."""
    return (
        len(region.offset) == len(region.size) == len(shape)
        and all(
            offset >= 0 and size >= 0 and offset + size <= length
            for offset, size, length in zip(region.offset, region.size, shape, strict=True)
        )
        and 0 <= region.start <= region.stop <= region.volume
    )


def cuts_no_byte(region: Region, shape: Numbers, bits: int) -> bool:
    """Whether the region begins and ends at whole bytes by section 10.5 (SCF-REG-006)."""
    if region.start * bits % 8 or region.stop * bits % 8:
        return False
    if region.is_whole(shape):
        return True
    return not any(number * bits % 8 for number in (region.offset[-1], region.size[-1], shape[-1]))


def boxes(size: Numbers, start: int, stop: int) -> list[Box]:
    """The boxes of a run, in its order and relative to its box, at most 2n - 1 (section 10.2)."""
    if start == stop:
        return []
    if not size:
        return [((), ())]
    if len(size) == 1:
        return [((start,), (stop - start,))]
    inner = size[1:]
    row = prod(inner)
    first, x = divmod(start, row)
    last, y = divmod(stop, row)
    if first == last:
        return _below(first, boxes(inner, x, y))
    found = []
    if x > 0:
        found += _below(first, boxes(inner, x, row))
        first += 1
    if first < last:
        found.append(((first, *(0 for _ in inner)), (last - first, *inner)))
    if y > 0:
        found += _below(last, boxes(inner, 0, y))
    return found


def _below(index: int, found: list[Box]) -> list[Box]:
    return [((index, *offset), (1, *size)) for offset, size in found]


def region_boxes(region: Region) -> list[Box]:
    """The boxes of a region, in coordinates of the tensor."""
    return [
        (tuple(a + b for a, b in zip(region.offset, offset, strict=True)), size)
        for offset, size in boxes(region.size, region.start, region.stop)
    ]


def shared(wanted: Region, stored: Region) -> Iterator[tuple[int, int, int]]:
    """What two regions of one tensor share (section 10.4), as rows that are contiguous in both.

    A row is its first element in `wanted`, its first element in `stored`, and its number of elements.
    """
    if wanted.offset == stored.offset and wanted.size == stored.size:
        start, stop = max(wanted.start, stored.start), min(wanted.stop, stored.stop)
        if start < stop:
            yield start - wanted.start, start - stored.start, stop - start
        return
    if _common((wanted.offset, wanted.size), (stored.offset, stored.size)) is None:
        return
    others = region_boxes(stored)
    for one in region_boxes(wanted):
        for other in others:
            box = _common(one, other)
            if box is not None:
                yield from _rows(box, wanted, stored)


def _common(one: Box, other: Box) -> Box | None:
    """The intersection of two boxes, None if it is empty."""
    offset = tuple(max(a, b) for a, b in zip(one[0], other[0], strict=True))
    size = tuple(
        min(a + m, b + n) - begin for a, m, b, n, begin in zip(one[0], one[1], other[0], other[1], offset, strict=True)
    )
    return (offset, size) if all(length > 0 for length in size) else None


def _rows(box: Box, wanted: Region, stored: Region) -> Iterator[tuple[int, int, int]]:
    """The rows of a box that lies in both regions, joined over dimensions that are whole in both of their boxes."""
    offset, size = box
    split = len(size)
    row = 1
    while split > 0:
        split -= 1
        row *= size[split]
        if not size[split] == wanted.size[split] == stored.size[split]:
            break
    ranges = (range(begin, begin + length) for begin, length in zip(offset[:split], size[:split], strict=True))
    for outer in product(*ranges):
        index = (*outer, *offset[split:])
        yield _position(index, wanted) - wanted.start, _position(index, stored) - stored.start, row


def _position(index: Numbers, region: Region) -> int:
    """The position of an index in a region's box."""
    position = 0
    for coordinate, offset, size in zip(index, region.offset, region.size, strict=True):
        position = position * size + coordinate - offset
    return position
