"""Many shards, and many dimensions: a check of tiling takes time by a polynomial in the size of the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from ...oracle.encode import Draft, Object, Record, Tensor, column
from ...oracle.encode_region import Region
from ..case import Case
from ..drafts import content, one
from ..drafts_b import box, cut, filled, grid, pieces, run
from ..forms import accepted, refused
from .geometry_layouts import PINWHEEL
from .tiling_pairs import inexact

__all__ = ["cases"]

BOXES = ["SCF-REG-005", "SCF-READ-001", "SCF-LIMIT-001"]
TIME = 30


def cases() -> Iterator[Case]:
    """All cases of this module."""
    wheels = [_moved(each, 5 * row, 5 * column) for row in range(8) for column in range(8) for each in PINWHEEL]
    steps = staircase(12)
    tables: dict[str, tuple[str, tuple[int, ...], list[Region]]] = {
        "grid": ("A grid of 24 by 24 boxes", (48, 48), grid(range(2, 49, 2), range(2, 49, 2))),
        "interlocked": ("64 times five interlocked boxes", (40, 40), wheels),
        "runs": ("Runs of one to three elements of a cube", (9, 10, 11), _uneven((9, 10, 11))),
        "dimensions": ("13 boxes that cut twelve dimensions", (2,) * 12, steps),
        "halves": ("Halves of halves of a row, alternating with columns", (64, 64), _halved()),
    }
    for name, (title, shape, regions) in tables.items():
        ordered = sorted(regions, key=lambda each: (each.offset, each.start))
        draft = pieces(filled("w", "U8", shape), ordered)
        yield accepted(f"tiling-many-{name}", title, BOXES, draft, read=True, timeout=TIME)
        yield inexact(
            f"many-{name}-but-one",
            f"{title}; one of them is missing",
            f"Shard {len(ordered) // 2} of {len(ordered)} is missing.",
            f"tiling-many-{name}",
            pieces(filled("w", "U8", shape), [each for at, each in enumerate(ordered) if at != len(ordered) // 2]),
        )
    wheel = sorted(wheels, key=lambda each: each.offset)
    centre = next(at for at, each in enumerate(wheel) if each.offset == (21, 22))
    doubled = [*wheel[:centre], _moved(wheel[centre], 0, 5), *wheel[centre + 1 :]]
    yield inexact(
        "many-interlocked-twice",
        "64 times five interlocked boxes; one middle is there twice, its neighbour's not at all",
        "Two elements are in two shards, and two in none.",
        "tiling-many-interlocked",
        pieces(filled("w", "U8", (40, 40)), sorted(doubled, key=lambda each: each.offset)),
    )
    yield from _claimed()


def _moved(region: Region, rows: int, columns: int) -> Region:
    return Region((region.offset[0] + rows, region.offset[1] + columns), region.size)


def staircase(dims: int) -> list[Region]:
    """Boxes that cut every dimension of a tensor of sizes of two: of what is left, the lower half of the next one."""
    stairs = [box(*(((1, 2),) * at), (0, 1), *(((0, 2),) * (dims - at - 1))) for at in range(dims)]
    return [*stairs, box(*(((1, 2),) * dims))]


def _uneven(shape: tuple[int, ...]) -> list[Region]:
    ends, at = [], 0
    for step in content(prod(shape)):
        at += 1 + step % 3
        if at >= prod(shape):
            break
        ends.append(at)
    return cut(shape, *ends)


def _halved() -> list[Region]:
    """The tensor halved by rows, the second half by columns, the second half of that by rows, and so on."""
    regions = []
    row, column_, rows, columns = 0, 0, 64, 64
    for turn in range(12):
        if turn % 2:
            columns //= 2
            regions.append(box((row, row + rows), (column_, column_ + columns)))
            column_ += columns
        else:
            rows //= 2
            regions.append(box((row, row + rows), (column_, column_ + columns)))
            row += rows
    return [*regions, box((row, row + rows), (column_, column_ + columns))]


def _claimed() -> Iterator[Case]:
    """Tensors of many dimensions whose bytes are claimed and not there: time and memory are judged."""
    dims = 36
    exact = staircase(dims)
    shape = (2,) * dims
    yield refused(
        "tiling-claimed",
        f"37 boxes that cut {dims} dimensions exactly, in an object that is not as large",
        "The data object has none of the bytes that the manifest claims.",
        "object.size",
        ["SCF-DIG-018", "SCF-REG-005"],
        "tiling-many-dimensions",
        claimed(shape, exact),
        op="read",
        memory=256 << 20,
    )
    gap = [*exact[:-2], exact[-1]]
    yield refused(
        "tiling-claimed-gap",
        f"36 boxes that cut {dims} dimensions, with a gap of one element",
        "One element is in no shard.",
        ["tiling.inexact", "object.size"],
        ["SCF-REG-005"],
        "tiling-many-dimensions",
        claimed(shape, gap),
        op="read",
        memory=256 << 20,
    )
    yield refused(
        "tiling-claimed-runs",
        f"Runs of a tensor of {dims} dimensions that end within each of them",
        "The data object has none of the bytes that the manifest claims.",
        "object.size",
        ["SCF-DIG-018", "SCF-REG-005"],
        "tiling-many-dimensions",
        claimed(
            shape, [run(shape, 0, 0x555555555), run(shape, 0x555555555, 0xAAAAAAAAA), run(shape, 0xAAAAAAAAA, 2**dims)]
        ),
        op="read",
        memory=256 << 20,
    )


def claimed(shape: tuple[int, ...], regions: Sequence[Region]) -> Draft:
    """A tensor ``w`` of U8 in shards of an object that the manifest says is large enough for them, and is not."""
    block = 1 << 30
    sizes = [each.elements for each in regions]
    offsets = [4096 + sum(sizes[:at]) for at in range(len(sizes))]
    blocks = sum(-(-size // block) for size in sizes)

    def claims(record: Record) -> None:
        record["objects"][0].update(size=4096 + sum(sizes), block=block)
        columns = {
            "tensor": column("u32", [0] * len(sizes)),
            "object": column("u32", [0] * len(sizes)),
            "box_offset": column("u64", [number for each in regions for number in each.offset]),
            "box_size": column("u64", [number for each in regions for number in each.size]),
            "run_start": column("u64", [each.start for each in regions]),
            "run_stop": column("u64", [each.stop for each in regions]),
            "offset": column("u64", offsets),
            "block_digest": bytes(32 * blocks),
        }
        record["shards"] = {"count": len(sizes), "columns": columns}

    def counted(members: Record) -> None:
        members["items"]["model"]["counts"]["shards"] = len(sizes)

    made = one(Tensor("w", "U8", shape, b""), shards=(), objects=(Object(),))
    return made.with_item("model", record=claims).with_(members=counted)
