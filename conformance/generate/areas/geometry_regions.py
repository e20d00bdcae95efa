"""Regions of tensors, whatever they were stored in (SCF-READ-001, SCF-READ-002)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...oracle.encode import Draft, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ...oracle.encode_region import Region, whole
from ..case import Case
from ..drafts import ZSTD, one
from ..drafts_b import box, cut, filled, grid, pieces, region_case, run
from .geometry_layouts import CUBE, PINWHEEL, megatron, scattered

__all__ = ["REQUESTS", "cases"]

READ = ["SCF-READ-001", "SCF-READ-002", "SCF-REG-001"]
SHAPE = (6, 7)
REQUESTS: Sequence[Region] = (
    whole(SHAPE),
    run(SHAPE, 0, 42),
    *grid([1, 3, 6], [7]),
    *grid([6], [2, 3, 7]),
    *grid([2, 6], [3, 7]),
    box((4, 5), (6, 7)),
    box((0, 1), (0, 1)),
    *cut(SHAPE, 1, 6, 7, 8, 30, 41),
    run(SHAPE, 9, 12),
    run(SHAPE, 41, 42),
    Region((1, 2), (4, 3), (2, 11)),
    Region((1, 2), (4, 3), (0, 12)),
    Region((5, 0), (1, 7), (3, 4)),
    run(SHAPE, 13, 13),
    Region((2, 2), (0, 3)),
    Region((6, 7), (0, 0)),
    Region((2, 2), (3, 3), (9, 9)),
    box((1, 5), (1, 6)),
    box((1, 5), (1, 6)),
)
"""Requests of every form for a [6, 7] tensor: boxes, runs, runs of boxes, empty ones, the same one twice."""


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _layouts()
    yield from _higher()
    yield from _empty()
    yield from _blocks()


def _regions(name: str, title: str, draft: Draft, regions: Sequence[Region], *more: str) -> Case:
    return region_case(f"geometry-regions-{name}", title, [*READ, *more], draft, regions)


def _layouts() -> Iterator[Case]:
    w = filled("w", "F32", SHAPE)
    columns = grid([6], [3, 7])
    layouts: dict[str, tuple[str, Draft]] = {
        "of-whole": ("one piece", one(w)),
        "of-rows": ("rows of three writers", scattered(SHAPE, grid([3, 4, 6], [7]))),
        "of-columns": ("columns of three writers", scattered(SHAPE, grid([6], [1, 4, 7]))),
        "of-mesh": ("a mesh of writers", scattered(SHAPE, grid([2, 6], [3, 5, 7]))),
        "of-runs": ("runs of the whole tensor", scattered(SHAPE, cut(SHAPE, 5, 18, 19, 33))),
        "of-runs-of-boxes": ("runs of two boxes", scattered(SHAPE, megatron(SHAPE, columns, 3, 2))),
        "of-elements": ("single elements", pieces(w, grid([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]))),
    }
    for name, (what, draft) in layouts.items():
        yield _regions(name, f"Regions of a matrix that was stored in {what}", draft, REQUESTS)
    narrow = scattered(SHAPE, megatron(SHAPE, columns, 3, 2), dtype="U8")
    yield _regions("of-bytes", "Regions of a matrix of bytes", narrow, REQUESTS)
    wide = pieces(filled("w", "C128", SHAPE), cut(SHAPE, 5, 18, 19, 33))
    yield _regions("of-wide-elements", "Regions of a matrix of C128", wide, REQUESTS)
    boxes = [*grid([1, 2, 3, 4, 5], [5]), *grid([5], [1, 2, 3, 4, 5]), box((1, 4), (1, 4)), run((5, 5), 3, 22)]
    yield _regions(
        "of-pinwheel", "Regions of five interlocked boxes", pieces(filled("w", "F32", (5, 5)), PINWHEEL), boxes
    )


def _higher() -> Iterator[Case]:
    cube = (3, 4, 5)
    wanted = [
        *cut(cube, 7, 53),
        *cut(cube, 1, 2, 19, 20, 21, 40, 59),
        *grid([1, 3], [2, 4], [3, 5]),
        Region((0, 1, 1), (3, 2, 4), (3, 21)),
        Region((1, 0, 2), (2, 4, 1), (1, 7)),
        run(cube, 26, 28),
    ]
    yield _regions(
        "of-cube-in-runs", "Regions of three dimensions stored in runs", scattered(cube, cut(cube, 8, 31, 47)), wanted
    )
    yield _regions(
        "of-cube-in-boxes",
        "Regions of three dimensions stored in boxes",
        scattered(cube, grid([2, 3], [1, 4], [2, 5])),
        wanted,
    )
    small = (3, 3, 3)
    spans = [*cut(small, 4, 13, 14, 23), *grid([2, 3], [1, 3], [2, 3])]
    yield _regions(
        "of-interlocked-cube", "Regions of ten interlocked boxes", pieces(filled("w", "U8", small), CUBE), spans
    )
    four = (2, 3, 2, 5)
    wanted = [*cut(four, 1, 17, 31, 59), *grid([1, 2], [3], [2], [2, 5]), Region((0, 1, 0, 1), (2, 2, 2, 3), (5, 19))]
    yield _regions(
        "of-four-dimensions", "Regions of four dimensions stored in runs", scattered(four, cut(four, 13, 44)), wanted
    )
    spread = tuple(2 if at % 7 == 0 else 1 for at in range(64))
    middle = [(0, size) for size in spread]
    middle[7] = middle[56] = (1, 2)
    yield _regions(
        "of-64-dimensions",
        "Regions of 64 dimensions stored in runs",
        pieces(filled("w", "U8", spread), cut(spread, 3, 500, 513)),
        [run(spread, 2, 700), box(*middle), run(spread, 1023, 1024)],
        "SCF-LIMIT-001",
    )
    vector = (11,)
    spans = [run(vector, 0, 11), run(vector, 3, 9), box((3, 9)), Region((2,), (8,), (1, 7)), run(vector, 11, 11)]
    yield _regions("of-vector", "Regions of one dimension", scattered(vector, cut(vector, 4, 8)), spans)


def _empty() -> Iterator[Case]:
    scalar = filled("w", "F64", ())
    yield _regions(
        "of-scalar",
        "Regions of a scalar: its one element, as a box and as a run, and none",
        one(scalar),
        [Region((), ()), Region((), (), (0, 1)), Region((), (), (0, 0)), Region((), (), (1, 1))],
    )
    empty = Tensor("w", "F32", (3, 0), b"")
    wanted = [whole((3, 0)), Region((0, 0), (3, 0), (0, 0)), Region((1, 0), (2, 0)), Region((3, 0), (0, 0))]
    yield _regions("of-empty", "Regions of an empty tensor with a shard", one(empty), wanted)
    bare = one(empty, shards=(), objects=())
    yield _regions("of-empty-without-shard", "Regions of an empty tensor without a shard", bare, wanted)
    yield _regions("none", "No region at all", one(filled("w", "F32", SHAPE)), [])


def _blocks() -> Iterator[Case]:
    shape = (40, 300)
    wanted = [
        *grid([3, 4, 40], [10, 12, 300]),
        *cut(shape, 1023, 1024, 1025, 5000, 9216),
        Region((5, 290), (30, 10), (15, 295)),
    ]
    w = filled("w", "F32", shape)
    stored = cut(shape, 1500, 7777)
    yield _regions("over-blocks", "Regions over the borders of blocks", pieces(w, stored), wanted)
    coded = tuple(Shard(0, region, codec=1, encode=plain_frame) for region in stored)
    yield _regions(
        "over-encoded-blocks",
        "The same of encoded blocks",
        one(w, shards=coded, codecs=((), (ZSTD,))),
        wanted,
        "SCF-CODEC-002",
    )
