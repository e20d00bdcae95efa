"""Tensors stored in every layout that training knows, and read whole (chapters 10 and 15)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from ...oracle.encode import Draft, Item, Object, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ...oracle.encode_region import Region
from ..case import Case
from ..drafts import ZSTD, content, one, tensor
from ..drafts_b import box, cut, filled, grid, pieces, run
from ..forms import accepted

__all__ = ["CUBE", "PINWHEEL", "cases", "chunks", "megatron", "scattered"]

READ = ["SCF-READ-001", "SCF-REG-001"]
PINWHEEL = [
    box((0, 1), (0, 3)),
    box((0, 3), (3, 5)),
    box((1, 5), (0, 2)),
    box((1, 3), (2, 3)),
    box((3, 5), (2, 5)),
]
"""Five boxes of a [5, 5] tensor that no straight cut separates."""
CUBE = [
    box((0, 1), (0, 1), (0, 1)),
    box((0, 1), (0, 2), (1, 3)),
    box((0, 2), (1, 3), (0, 1)),
    box((0, 2), (2, 3), (1, 3)),
    box((1, 2), (0, 2), (1, 2)),
    box((1, 3), (0, 1), (0, 1)),
    box((1, 3), (0, 2), (2, 3)),
    box((2, 3), (0, 3), (1, 2)),
    box((2, 3), (1, 3), (0, 1)),
    box((2, 3), (2, 3), (2, 3)),
]
"""Ten boxes of a [3, 3, 3] tensor."""


def chunks(size: int, parts: int) -> list[int]:
    """The ends of the pieces of a dimension, each of ceil(size / parts) but the last; empty pieces are left out."""
    step = -(-size // parts)
    return [*range(step, size, step), size]


def megatron(shape: tuple[int, ...], boxes: Sequence[Region], *parts: int) -> list[Region]:
    """Boxes that are each cut into runs, of about the same number of elements."""
    regions = []
    for each, count in zip(boxes, parts, strict=True):
        ends = [each.volume * number // count for number in range(count + 1)]
        regions += [Region(each.offset, each.size, span) for span in pairwise(ends)]
    assert sum(region.elements for region in regions) == prod(shape)
    return regions


def scattered(shape: tuple[int, ...], regions: Sequence[Region], dtype: str = "F32", **changes: Any) -> Draft:
    """One tensor ``w``, each shard in an object of its own."""
    shards = tuple(Shard(0, region, object=number) for number, region in enumerate(regions))
    objects = tuple(Object(number=number, **changes) for number in range(len(regions)))
    return one(filled("w", dtype, shape), shards=shards, objects=objects)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _boxes()
    yield from _runs()
    yield from _small()
    yield from _items()


def _read(name: str, title: str, draft: Draft, *more: str) -> Case:
    return accepted(f"geometry-{name}", title, [*READ, *more], draft, read=True)


def _boxes() -> Iterator[Case]:
    w = filled("w", "F32", (4, 6))
    yield _read("whole", "A tensor in one piece", one(w))
    yield _read("rows", "Rows of three writers: 3, 3 and 1", scattered((7, 4), grid(chunks(7, 3), [4])))
    yield _read("columns", "Columns of three writers: 3, 3 and 1", scattered((4, 7), grid([4], chunks(7, 3))))
    cube = (4, 5, 6)
    for dim, size in enumerate(cube):
        ends = [[each] for each in cube]
        ends[dim] = chunks(size, 3)
        yield _read(
            f"shards-of-dimension-{dim}", f"Shards along dimension {dim} of three", scattered(cube, grid(*ends))
        )
    fewer = scattered((2, 3), grid(chunks(2, 4), [3]))
    yield _read("fewer-rows-than-writers", "Two rows for four writers, two of whom have nothing", fewer)
    yield _read("mesh", "A mesh of two by three writers", scattered((4, 6), grid([2, 4], [2, 4, 6])))
    yield _read("mesh-uneven", "A mesh of two by two writers, cut unevenly", scattered((5, 7), grid([1, 5], [4, 7])))
    strided = scattered((8, 2), grid([2, 4, 6, 8], [2]))
    shards = tuple(Shard(0, region, object=at % 2) for at, region in enumerate(grid([2, 4, 6, 8], [2])))
    item = strided.items["model"]
    yield _read(
        "strided",
        "Two writers with every other pair of rows each",
        strided.with_item("model", shards=shards, objects=item.objects[:2]),
    )
    yield _read(
        "elements",
        "Every element a shard of its own",
        pieces(filled("w", "U16", (3, 4)), grid([1, 2, 3], [1, 2, 3, 4])),
    )
    yield _read("pinwheel", "Five boxes that no straight cut separates", pieces(filled("w", "F32", (5, 5)), PINWHEEL))
    yield _read("cube", "Boxes of three dimensions that no plane separates", pieces(filled("w", "U8", (3, 3, 3)), CUBE))
    backwards = pieces(w, list(reversed(grid([1, 2, 3, 4], [6]))))
    yield _read("stored-backwards", "Shards that lie in the object in another order than in the table", backwards)


def _runs() -> Iterator[Case]:
    yield _read("runs-of-vector", "Runs of one dimension", scattered((11,), cut((11,), 4, 8)))
    yield _read("runs-of-matrix", "Runs of a matrix that end within rows", scattered((4, 5), cut((4, 5), 3, 17)))
    yield _read("runs-of-matrix-at-rows", "Runs of a matrix that end at rows", scattered((4, 5), cut((4, 5), 5, 15)))
    yield _read("runs-within-row", "Runs of a matrix within one row", scattered((3, 8), cut((3, 8), 9, 11, 15)))
    yield _read(
        "runs-of-cube", "Runs of three dimensions, five boxes each", scattered((3, 4, 5), cut((3, 4, 5), 7, 53))
    )
    four = (2, 3, 2, 5)
    yield _read("runs-of-four-dimensions", "Runs of four dimensions", scattered(four, cut(four, 1, 17, 31, 59)))
    ones = (1, 3, 1, 4, 1)
    yield _read("runs-with-ones", "Runs of a tensor with dimensions of one", scattered(ones, cut(ones, 2, 7)))
    single = cut((2, 3), 1, 2, 3, 4, 5)
    yield _read("runs-of-one-element", "Runs of one element each", pieces(filled("w", "I8", (2, 3)), single))
    columns = grid([4], [3, 6])
    yield _read(
        "runs-of-boxes",
        "Two halves of columns, cut into two and three runs",
        scattered((4, 6), megatron((4, 6), columns, 2, 3)),
    )
    mesh = grid([2, 4], [3, 5])
    yield _read(
        "runs-of-mesh",
        "A mesh of boxes, each cut into runs, one whole",
        scattered((4, 5), megatron((4, 5), mesh, 2, 1, 3, 2)),
    )
    mixed = [run((4, 6), 0, 8), Region((1, 2), (3, 4), (0, 12)), Region((2, 0), (2, 2), (0, 4))]
    yield _read(
        "runs-and-boxes", "A run of the tensor, and boxes of the rest", pieces(filled("w", "F32", (4, 6)), mixed)
    )
    explicit = [Region((0, 0), (2, 3), (0, 6))]
    made = pieces(filled("w", "F32", (2, 3)), explicit)
    yield _read("run-of-all", "A run that is the whole box", made)
    shape = (3, 2000)
    yield _read(
        "blocks",
        "Runs of several blocks each, the last ones short",
        scattered(shape, cut(shape, 1025, 4500), block=4096),
    )
    coded = tuple(Shard(0, region, codec=1, encode=plain_frame) for region in cut(shape, 1025, 4500))
    yield _read(
        "blocks-encoded",
        "The same, encoded",
        one(filled("w", "F32", shape), shards=coded, codecs=((), (ZSTD,))),
        "SCF-CODEC-002",
    )


def _small() -> Iterator[Case]:
    yield _read("scalar", "A scalar", one(filled("w", "F64", ())))
    yield _read("scalar-as-run", "A scalar with run columns", pieces(filled("w", "F64", ()), [Region((), (), (0, 1))]))
    shapes: dict[str, tuple[int, ...]] = {"vector": (0,), "matrix": (3, 0), "cube": (0, 2, 5), "zeros": (0, 0)}
    for name, shape in shapes.items():
        empty = Tensor("w", "F32", shape, b"")
        yield _read(f"empty-{name}", f"An empty tensor {list(shape)} with one shard", one(empty), "SCF-REG-005")
        none = one(empty, shards=(), objects=())
        yield _read(
            f"empty-{name}-without-shard", f"An empty tensor {list(shape)} without a shard", none, "SCF-REG-005"
        )
    large = Tensor("w", "U8", (2**30, 0, 2**29), b"")
    yield _read(
        "empty-large",
        "An empty tensor with sizes that multiply to 2^59",
        one(large, shards=(), objects=()),
        "SCF-LIMIT-001",
    )
    shape = (*(1 for _ in range(62)), 2, 3)
    yield _read("64-dimensions", "A tensor of 64 dimensions", one(filled("w", "U8", shape)), "SCF-LIMIT-001")
    ends = [[size] for size in shape[:62]]
    yield _read(
        "64-dimensions-cut",
        "A tensor of 64 dimensions in boxes of the last two",
        pieces(filled("w", "U8", shape), grid(*ends, [1, 2], [2, 3])),
        "SCF-LIMIT-001",
    )
    spread = tuple(2 if at % 7 == 0 else 1 for at in range(64))
    yield _read(
        "64-dimensions-runs",
        "A tensor of 64 dimensions in runs",
        pieces(filled("w", "U8", spread), cut(spread, 3, 500, 513)),
        "SCF-LIMIT-001",
    )


def _items() -> Iterator[Case]:
    tied = Tensor("embed", "F32", (3, 2), content(24))
    tree = {"embed": tensor(0), "head": {"weight": tensor(0)}, "list": [tensor(0), tensor(1)]}
    other = filled("b", "BF16", (3,))
    yield accepted(
        "geometry-tied",
        "Three paths that lead to one tensor",
        ["SCF-READ-001", "SCF-OBJ-011"],
        Draft({"model": Item((tied, other), tree=tree)}),
        read=True,
    )
    many = [filled(f"t{number}", "U16", (3, number), number) for number in range(1, 6)]
    order = {f"t{number}": tensor(number - 1) for number in (4, 2, 5, 1, 3)}
    shards = tuple(
        Shard(number, region, object=at)
        for at in range(2)
        for number in (3, 0, 4, 2, 1)
        for region in [grid([1, 3], [number + 1])[at]]
    )
    yield _read(
        "tensors-in-any-order",
        "Five tensors of two writers: tree, table and objects each in an order of their own",
        Draft({"model": Item(tuple(many), tree=order, shards=shards, objects=(Object(), Object(number=7)))}),
    )
    regions = [*grid([1, 3], [1500]), *grid([3, 6], [1500])[1:]]
    objects = (
        Object(digest="sha256", block=4096),
        Object(number=1, digest="blake3", block=8192),
        Object(number=2, digest="sha256", block=1 << 30),
    )
    yield _read(
        "objects-of-different-blocks",
        "Three writers with digests and block sizes of their own",
        one(
            filled("w", "F32", (6, 1500)),
            shards=tuple(Shard(0, region, object=at) for at, region in enumerate(regions)),
            objects=objects,
        ),
        "SCF-DIG-001",
    )
