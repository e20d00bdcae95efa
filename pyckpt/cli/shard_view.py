"""Pictures of how a tensor is cut: which data object holds which region, one letter per object.

A tensor that is cut along one dimension is drawn as a bar along it, one that is cut along several as a grid of two of
them. Runs (flat shards) are drawn as bars over the elements of their box in row-major order.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

from pyckpt.engine.open import OpenItem
from pyckpt.format.geometry import Box, Ints, Region

__all__ = ["Held", "Picture", "held_shards", "pictures", "region_text"]

BAR: Final = 64
ROWS: Final = 16
_MARKS: Final = string.ascii_uppercase + string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Held:
    """One shard of a tensor and where its bytes lie."""

    number: int
    """Number in the item's table of shards."""
    region: Region
    object: int
    mark: str
    """Letter of the data object; letters begin anew after 62 objects."""
    key: str
    """Key of the data object in the store."""
    offset: int
    """First stored byte within the object."""
    stored: int
    """Stored bytes."""
    codec: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawing: what its axes are, and its rows of letters."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[int, int]
    """The range of indices that the columns run over."""
    lines: tuple[int, int] | None = None
    """The range of indices that the rows run over; None for a bar."""


def held_shards(item: OpenItem, tensor: int) -> list[Held]:
    """The shards of a tensor in the manifest's order."""
    table = item.manifest.shards
    rows = table.slice_of(tensor)
    marks: dict[int, str] = {}
    held = []
    for row in rows:
        number = int(table.object[row])
        mark = marks.setdefault(number, _MARKS[len(marks) % len(_MARKS)])
        codec = "+".join(codec.id for codec in item.manifest.codecs[table.codec_of(row)])
        place = (item.object_keys[number], int(table.offset[row]), int(table.stored[row]))
        held.append(Held(row, table.region(row), number, mark, *place, codec))
    return held


def region_text(region: Region) -> str:
    """A region as entry names have it: ``[0:4,2:6]``, and ``(3:9)`` behind it for a run that isn't the whole box."""
    bounds = ",".join(f"{low}:{high}" for low, high in zip(region.box.offset, region.box.end, strict=True))
    return f"[{bounds}]" + ("" if region.is_whole_run else f"({region.start}:{region.stop})")


def pictures(shape: Ints, held: Sequence[Held]) -> Iterator[Picture]:
    """Drawings of a tensor that together show every shard, as far as there is room."""
    if not held or any(shard.region.elements == 0 for shard in held):
        return
    runs: dict[Box, list[Held]] = {}
    boxes: list[Held] = []
    for shard in held:
        if shard.region.is_whole_run:
            boxes.append(shard)
        else:
            runs.setdefault(shard.region.box, []).append(shard)
    if boxes:
        yield _boxes(shape, boxes)
    for box, shards in runs.items():
        title = "elements in row-major order"
        if box != Box.whole(shape):
            title += f" of the box {region_text(Region.of_box(box))}"
        yield _bar(title, 0, box.volume, [(each.region.start, each.region.stop, each.mark) for each in shards])


def _boxes(shape: Ints, held: Sequence[Held]) -> Picture:
    offsets = np.array([shard.region.box.offset for shard in held], dtype=np.int64).reshape(len(held), len(shape))
    sizes = np.array([shard.region.box.size for shard in held], dtype=np.int64).reshape(len(held), len(shape))
    cut = [axis for axis in range(len(shape)) if bool((sizes[:, axis] != shape[axis]).any())]
    if not cut or (len(cut) == 1 and len(shape) != 2):
        axis = cut[0] if cut else 0
        rows = [
            (shard.region.box.offset[axis], shard.region.box.end[axis], shard.mark) if shape else (0, 1, shard.mark)
            for shard in held
        ]
        title = f"dimension {axis}" if len(shape) > 1 else "elements"
        if not cut and shape:
            title, rows = "elements in row-major order", [(0, prod(shape), shard.mark) for shard in held]
            return _bar(title, 0, prod(shape), rows)
        return _bar(title, 0, shape[axis] if shape else 1, rows)
    down, across = (0, 1) if len(shape) == 2 else cut[:2]
    title = f"dimension {down} down, dimension {across} across"
    others = [axis for axis in cut if axis not in (down, across)]
    if others:
        title += f", at 0 of dimension {', '.join(map(str, others))}"
    heights, widths = _samples(shape[down], ROWS if len(cut) > 1 else ROWS // 2), _samples(shape[across], BAR)
    fixed = np.ones(len(held), dtype=np.bool_)
    for axis in others:
        fixed &= offsets[:, axis] == 0
    marks = [shard.mark for shard in held]
    lines = []
    for y in heights:
        level = fixed & (offsets[:, down] <= y) & (y < offsets[:, down] + sizes[:, down])
        lines.append(
            "".join(
                _mark_at(marks, level & (offsets[:, across] <= x) & (x < offsets[:, across] + sizes[:, across]))
                for x in widths
            )
        )
    return Picture(title, tuple(lines), (0, shape[across]), (0, shape[down]))


def _bar(title: str, first: int, end: int, rows: Sequence[tuple[int, int, str]]) -> Picture:
    starts = np.array([start for start, _, _ in rows], dtype=np.int64)
    stops = np.array([stop for _, stop, _ in rows], dtype=np.int64)
    marks = [mark for _, _, mark in rows]
    line = "".join(_mark_at(marks, (starts <= at) & (at < stops)) for at in _samples(end - first, BAR))
    return Picture(title, (line,), (first, end))


def _samples(size: int, most: int) -> list[int]:
    """Indices in the middle of at most ``most`` equal parts of a dimension; a short one is stretched."""
    cells = min(most, max(size, most // size * size)) if size else 0
    return [(2 * cell + 1) * size // (2 * cells) for cell in range(cells)]


def _mark_at(marks: Sequence[str], holds: npt.NDArray[np.bool_]) -> str:
    """The letter of the first shard that holds a place; a dot if none does."""
    found = int(holds.argmax()) if holds.size else 0
    return marks[found] if holds.size and holds[found] else "."
