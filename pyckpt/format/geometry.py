"""Regions of a tensor (a box, and a run in the box's row-major order) and the copies between any two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from pyckpt.errors import UsageError
from pyckpt.format.copies import Copy, Ints, join_copies, merge_dims

__all__ = [
    "Box",
    "Copy",
    "Ints",
    "Region",
    "box_copy",
    "check_region",
    "cut_region",
    "intersect",
    "region_boxes",
    "region_copies",
    "region_problem",
    "row_major_strides",
    "run_boxes",
]


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a tensor's global index space: ``offset[d] <= index[d] < offset[d] + size[d]``, in elements."""

    offset: Ints
    size: Ints

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """The box of all elements of a tensor of this shape."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.size)

    @property
    def volume(self) -> int:
        """Number of elements; 1 for a box without dimensions."""
        return prod(self.size)

    @property
    def end(self) -> Ints:
        """The first index behind the box, per dimension."""
        return tuple([first + count for first, count in zip(self.offset, self.size, strict=True)])


@dataclass(frozen=True, slots=True)
class Region:
    """The elements ``[start, stop)`` of the row-major order of ``box``; its memory holds them one after the other."""

    box: Box
    start: int
    stop: int

    @classmethod
    def of_box(cls, box: Box) -> Region:
        """All elements of a box."""
        return cls(box, 0, box.volume)

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Region:
        """All elements of a tensor of this shape."""
        return cls.of_box(Box.whole(shape))

    @classmethod
    def flat(cls, shape: Sequence[int], start: int, stop: int) -> Region:
        """The elements ``[start, stop)`` of a tensor's own row-major order."""
        return cls(Box.whole(shape), start, stop)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.stop - self.start

    @property
    def is_whole_run(self) -> bool:
        """Whether the run takes the whole box."""
        return self.start == 0 and self.stop == self.box.volume


def intersect(a: Box, b: Box) -> Box | None:
    """The box of the indices in both, or None if there are none; two boxes without dimensions share their element."""
    low = tuple(map(max, a.offset, b.offset))
    size = tuple([high - first for high, first in zip(map(min, a.end, b.end), low, strict=True)])
    return Box(low, size) if all(count > 0 for count in size) else None


def row_major_strides(size: Sequence[int]) -> Ints:
    """Elements between neighbours in each dimension of a row-major array."""
    strides = [1] * len(size)
    for d in range(len(size) - 1, 0, -1):
        strides[d - 1] = strides[d] * size[d]
    return tuple(strides)


def region_problem(region: Region, shape: Ints, bits: int = 8) -> str:
    """What is wrong with a region of a tensor of this shape and bits per element, or an empty string."""
    offset, size = region.box.offset, region.box.size
    if len(offset) != len(shape) or len(size) != len(shape):
        return f"the box {_text(region)} has {len(size)} dimensions, the shape {list(shape)} has {len(shape)}"
    for d, (first, count, limit) in enumerate(zip(offset, size, shape, strict=True)):
        if first < 0 or count < 0 or first + count > limit:
            return f"the box {_text(region)} leaves the shape {list(shape)} in dimension {d}"
    if not 0 <= region.start <= region.stop <= region.box.volume:
        return f"the run of {_text(region)} leaves its box of {region.box.volume} elements"
    if bits & 7:
        # Elements of less than a byte can only be cut where rows begin and end at a byte.
        ends = () if size == shape else (offset[-1], size[-1], shape[-1])
        if any(count * bits & 7 for count in (region.start, region.stop, *ends)):
            return f"{_text(region)} of {list(shape)} cuts elements of {bits} bits within a byte"
    return ""


def check_region(region: Region, shape: Ints, bits: int = 8, key: str = "") -> None:
    """Refuse a region that isn't within a tensor of this shape, or cuts a byte: ``UsageError`` ``state.layout``."""
    problem = region_problem(region, shape, bits)
    if problem:
        hint = "offsets, sizes and runs count elements of the global tensor; small ones are cut where a byte ends"
        raise UsageError("state.layout", problem, key=key, hint=hint)


def run_boxes(size: Ints, start: int, stop: int) -> tuple[Box, ...]:
    """The run ``[start, stop)`` of a box of this size as at most ``2 * len(size) - 1`` boxes, in the run's order.

    Coordinates are relative to the box; each box is one contiguous part of the run. Raises ``UsageError``
    ``state.layout`` if the run leaves the box.
    """
    volume = prod(size)
    if not 0 <= start <= stop <= volume:
        raise UsageError("state.layout", f"the run [{start}, {stop}) leaves its box of {volume} elements")
    if start == stop:
        return ()
    if stop - start == volume:
        return (Box.whole(size),)
    heads: list[Box] = []
    tails: list[Box] = []
    # From the innermost dimension outwards; begin and end count elements, then rows, then planes, and so on.
    begin, end = start, stop
    for d in range(len(size) - 1, -1, -1):
        first, skipped = divmod(begin, size[d])
        last, taken = divmod(end, size[d])
        if first == last or (taken == 0 and first == last - 1):
            heads.append(_part_of_row(size, d, first, skipped, end - first * size[d]))
            break
        if skipped:
            heads.append(_part_of_row(size, d, first, skipped, size[d]))
            first += 1
        if taken:
            tails.append(_part_of_row(size, d, last, 0, taken))
        if first == last:
            break
        begin, end = first, last
    return (*heads, *reversed(tails))


def _part_of_row(size: Ints, d: int, row: int, first: int, behind: int) -> Box:
    """Indices ``[first, behind)`` of dimension ``d`` in one row; rows count the indices of the dimensions before."""
    offset = [0] * len(size)
    for outer in range(d - 1, -1, -1):
        row, offset[outer] = divmod(row, size[outer])
    offset[d] = first
    return Box(tuple(offset), ((1,) * d) + (behind - first,) + size[d + 1 :])


def region_boxes(region: Region) -> tuple[tuple[Box, int], ...]:
    """A region as boxes of the tensor, each with the position of its first element in the region's memory."""
    position = 0
    boxes: list[tuple[Box, int]] = []
    for part in run_boxes(region.box.size, region.start, region.stop):
        offset = tuple([base + first for base, first in zip(region.box.offset, part.offset, strict=True)])
        boxes.append((Box(offset, part.size), position))
        position += part.volume
    return tuple(boxes)


def cut_region(region: Region, bounds: Sequence[int]) -> tuple[Region, ...]:
    """A region cut at ascending positions of its memory: ``len(bounds) + 1`` regions of the same box, in order.

    Bounds count elements from the region's first one; where two are equal the region between them is empty. Raises
    ``UsageError`` ``state.layout`` if they descend or leave the region.
    """
    edges = [0, *bounds, region.elements]
    pairs = list(pairwise(edges))
    if any(first > behind for first, behind in pairs):
        raise UsageError(
            "state.layout",
            f"{_text(region)} with {region.elements} elements can't be cut at {list(bounds)}",
            hint="positions ascend, from 0 to the number of elements",
        )
    return tuple([Region(region.box, region.start + first, region.start + behind) for first, behind in pairs])


def region_copies(src: Region, dst: Region) -> tuple[Copy, ...]:
    """Everything that two regions of one tensor share, as strided copies from the memory of ``src`` to that of ``dst``.

    Each shared element is in exactly one copy; pieces that lie alike in both memories are joined. Raises ``UsageError``
    ``state.layout`` if the regions differ in their number of dimensions.
    """
    if src.box == dst.box:
        return _shared_run(0, src, 0, dst)
    if src.box.ndim != dst.box.ndim:
        raise UsageError("state.layout", f"{_text(src)} and {_text(dst)} can't be regions of one tensor")
    if src.start >= src.stop or dst.start >= dst.stop or intersect(src.box, dst.box) is None:
        return ()
    src_box, dst_box = _fold(src.box, dst.box)
    if src_box.ndim == 1:
        return _shared_run(src_box.offset[0], src, dst_box.offset[0], dst)
    folded_src, folded_dst = Region(src_box, src.start, src.stop), Region(dst_box, dst.start, dst.stop)
    src_parts, dst_parts = region_boxes(folded_src), region_boxes(folded_dst)
    copies: list[Copy] = []
    for src_part, _ in src_parts:
        for dst_part, _ in dst_parts:
            shared = intersect(src_part, dst_part)
            if shared is None:
                continue
            piece = box_copy(folded_src, folded_dst, shared)
            joined = join_copies(copies[-1], piece) if copies else None
            if joined is None:
                copies.append(piece)
            else:
                copies[-1] = joined
    return tuple(copies)


def box_copy(src: Region, dst: Region, box: Box) -> Copy:
    """The copy of a box's elements between two regions; the box must be a part of one of ``region_boxes`` of each."""
    src_strides, dst_strides = row_major_strides(src.box.size), row_major_strides(dst.box.size)
    src_start = _position(box.offset, src.box.offset, src_strides) - src.start
    dst_start = _position(box.offset, dst.box.offset, dst_strides) - dst.start
    return merge_dims(Copy(box.size, src_start, src_strides, dst_start, dst_strides))


def _shared_run(src_offset: int, src: Region, dst_offset: int, dst: Region) -> tuple[Copy, ...]:
    """The copy between two runs of one line, each run counted from its own offset."""
    start = max(src_offset + src.start, dst_offset + dst.start)
    count = min(src_offset + src.stop, dst_offset + dst.stop) - start
    if count <= 0:
        return ()
    src_start, dst_start = start - src_offset - src.start, start - dst_offset - dst.start
    if count == 1:
        return (Copy((), src_start, (), dst_start, ()),)
    return (Copy((count,), src_start, (1,), dst_start, (1,)),)


def _fold(a: Box, b: Box) -> tuple[Box, Box]:
    """The two boxes with each dimension in which they are equal folded into the one before it.

    Neither row-major order changes, and a run falls into far fewer boxes: two slabs along the first dimension become
    two intervals. The boxes differ, so one dimension at least remains.
    """
    folded: list[tuple[int, int, int, int]] = []
    for a_first, a_size, b_first, b_size in zip(
        reversed(a.offset), reversed(a.size), reversed(b.offset), reversed(b.size), strict=True
    ):
        if folded and folded[-1][0] == folded[-1][2] and folded[-1][1] == folded[-1][3]:
            # The folded dimension is counted from the box's own edge, which is the same for both.
            unit = folded[-1][1]
            folded[-1] = (a_first * unit, a_size * unit, b_first * unit, b_size * unit)
        else:
            folded.append((a_first, a_size, b_first, b_size))
    a_offset, a_sizes, b_offset, b_sizes = zip(*reversed(folded), strict=True)
    return Box(a_offset, a_sizes), Box(b_offset, b_sizes)


def _position(index: Ints, origin: Ints, strides: Ints) -> int:
    return sum([(at - first) * stride for at, first, stride in zip(index, origin, strides, strict=True)])


def _text(region: Region) -> str:
    """A region for a message, as in the entry names of data objects: ``[0:4,2:6](3:9)``."""
    bounds = zip(region.box.offset, region.box.size, strict=False)
    return f"[{','.join([f'{first}:{first + count}' for first, count in bounds])}]({region.start}:{region.stop})"
