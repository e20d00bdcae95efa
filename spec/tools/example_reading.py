"""The region that chapter 19 reads, worked out by the definitions of chapters 10 and 15."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from example_bytes import BLOCK, DataObject
from example_state import SHARDS, TENSORS, Box, Shard, coords, flat

__all__ = ["TENSOR", "WANTED", "Element", "Row", "boxes", "elements", "global_boxes", "intersect", "rows"]

Ints = tuple[int, ...]

TENSOR, WANTED = 1, Box((1, 1), (2, 2))
"""The region to read: a box, whole."""


def boxes(size: Ints, start: int, stop: int) -> list[Box]:
    """Section 10.2, to the letter."""
    if start == stop:
        return []
    if not size:
        return [Box((), ())]
    if len(size) == 1:
        return [Box((start,), (stop - start,))]
    row = 1
    for each in size[1:]:
        row *= each
    (a, x), (b, y) = divmod(start, row), divmod(stop, row)
    if a == b:
        return _in_front(a, boxes(size[1:], x, y))
    result: list[Box] = []
    if x > 0:
        result += _in_front(a, boxes(size[1:], x, row))
        a += 1
    if a < b:
        result.append(Box((a, *(0 for _ in size[1:])), (b - a, *size[1:])))
    if y > 0:
        result += _in_front(b, boxes(size[1:], 0, y))
    return result


def _in_front(at: int, found: list[Box]) -> list[Box]:
    return [Box((at, *box.offset), (1, *box.size)) for box in found]


def global_boxes(shard: Shard) -> list[Box]:
    """The boxes of a shard's run, in coordinates of the tensor."""
    found = boxes(shard.box.size, shard.start, shard.stop)
    return [Box(tuple(low + at for low, at in zip(shard.box.offset, b.offset, strict=True)), b.size) for b in found]


def intersect(a: Box, b: Box) -> Box | None:
    """Section 10.4: per dimension from the greater offset to the smaller end."""
    low = tuple(map(max, a.offset, b.offset))
    ends = (tuple(x + n for x, n in zip(box.offset, box.size, strict=True)) for box in (a, b))
    high = tuple(map(min, *ends))
    size = tuple(end - begin for begin, end in zip(low, high, strict=True))
    return Box(low, size) if all(each > 0 for each in size) else None


@dataclass(frozen=True, slots=True)
class Row:
    """Elements that are contiguous in a shard and in the wanted region."""

    shard: int
    box: Box
    """Of the shard's run, the one that the row is in."""
    shared: Box
    """What it shares with the wanted region."""
    first: int
    """First byte in the shard's decoded bytes."""
    to: int
    """First byte in the result."""
    size: int


def rows() -> Iterator[Row]:
    """All rows, shard by shard."""
    item = TENSORS[TENSOR].item
    for number, shard in enumerate(SHARDS):
        for box in global_boxes(shard) if shard.tensor == TENSOR else ():
            shared = intersect(box, WANTED)
            if shared is None:
                continue
            heads = (range(low, low + size) for low, size in zip(shared.offset[:-1], shared.size[:-1], strict=True))
            for head in product(*heads):
                at = (*head, shared.offset[-1])
                first, to = _position(at, shard.box) - shard.start, _position(at, WANTED)
                yield Row(number, box, shared, first * item, to * item, shared.size[-1] * item)


@dataclass(frozen=True, slots=True)
class Element:
    """One round of the loop in section 15.1."""

    p: int
    g: Ints
    shard: int
    position: int
    """flat(g - o', z')."""
    q: int
    begin: int
    """First byte in the object."""
    value: float


def elements(objects: tuple[DataObject, ...]) -> Iterator[Element]:
    """Section 15.1, element by element; with codec 0 and one block a decoded byte is a stored one."""
    tensor = TENSORS[TENSOR]
    for p in range(WANTED.size[0] * WANTED.size[1]):
        g = tuple(low + at for low, at in zip(WANTED.offset, coords(p, WANTED.size), strict=True))
        for number, shard in enumerate(SHARDS):
            if shard.tensor == TENSOR and g in shard.coordinates():
                position = _position(g, shard.box)
                q = position - shard.start
                begin = objects[shard.writer].offset_of(shard) + q * tensor.item
                if len(shard.data()) > BLOCK:
                    raise ValueError(shard)
                yield Element(p, g, number, position, q, begin, tensor.values[flat(g, tensor.shape)])


def _position(at: Ints, box: Box) -> int:
    return flat(tuple(x - low for x, low in zip(at, box.offset, strict=True)), box.size)
