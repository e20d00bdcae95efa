"""Few shards with a gap or an overlap; the methods that these catch out count elements or look at one dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...oracle.encode import Draft, Shard, Tensor
from ...oracle.encode_region import Region
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import B, one
from ..drafts_b import box, filled, grid, pieces, run, unsound
from ..expect import read_values
from ..forms import accepted, dtypes, refused
from .geometry_layouts import CUBE, PINWHEEL

__all__ = ["cases", "inexact"]

TILING = ["SCF-REG-005", "SCF-READ-008"]


def inexact(name: str, title: str, fault: str, sibling: str, draft: Draft) -> Case:
    """A case of a tensor that is not tiled, and is not read."""
    return refused(f"tiling-{name}", title, fault, "tiling.inexact", TILING, sibling, draft, op="read")


def _w(shape: tuple[int, ...], regions: Sequence[Region], dtype: str = "F32") -> Draft:
    """The tensor ``w`` in these regions, in the order of the shard table."""
    return pieces(filled("w", dtype, shape), regions)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _simple()
    yield from _cancelling()
    yield from _runs()
    yield from _empty()
    yield from _others()


def _simple() -> Iterator[Case]:
    rows = grid([2, 4, 6], [5])
    gaps = {"first": rows[1:], "middle": [rows[0], rows[2]], "last": rows[:-1]}
    for name, left in gaps.items():
        yield inexact(
            f"without-{name}", f"The {name} shard of three is missing", f"The {name} two rows are in no shard.",
            "geometry-rows", _w((6, 5), left),
        )  # fmt: skip
    yield inexact(
        "without-any", "A tensor without shards", "No element of the tensor is in a shard.", "geometry-whole",
        one(filled("w", "F32", (6, 5)), shards=(), objects=()),
    )  # fmt: skip
    yield inexact(
        "twice", "A shard that is there twice", "The rows 2 and 3 are in two shards.", "geometry-rows",
        _w((6, 5), [rows[0], rows[1], rows[1], rows[2]]),
    )  # fmt: skip
    yield inexact(
        "whole-twice", "A tensor that is there twice, whole", "Each element is in two shards.", "geometry-whole",
        _w((6, 5), [box((0, 6), (0, 5))] * 2),
    )  # fmt: skip
    yield inexact(
        "overlap-of-row", "Shards that overlap by a row", "The row 2 is in two shards.", "geometry-rows",
        _w((6, 5), [box((0, 3), (0, 5)), box((2, 6), (0, 5))]),
    )  # fmt: skip
    yield inexact(
        "gap-of-element", "One element that is in no shard", "The last element is in no shard.", "geometry-mesh",
        _w((6, 5), [box((0, 5), (0, 5)), box((5, 6), (0, 4))]),
    )  # fmt: skip
    yield inexact(
        "overlap-of-element", "One element that is in two shards", "The last element is in two shards.",
        "geometry-mesh", _w((6, 5), [box((0, 6), (0, 5)), box((5, 6), (4, 5))]),
    )  # fmt: skip


def _cancelling() -> Iterator[Case]:
    """A gap and an overlap of one size: the volumes of the shards add up to that of the tensor."""
    rows = [box((0, 2), (0, 5)), box((1, 3), (0, 5)), box((4, 6), (0, 5))]
    yield inexact(
        "shifted-row", "A gap and an overlap of a row each", "The row 1 is in two shards, the row 3 in none.",
        "geometry-rows", _w((6, 5), rows),
    )  # fmt: skip
    twice = grid([2, 4, 6], [5])
    yield inexact(
        "twice-for-missing", "One shard twice, and another one not at all",
        "The rows 0 and 1 are in two shards, the rows 2 and 3 in none.", "geometry-rows",
        _w((6, 5), [twice[0], twice[0], twice[2]]),
    )  # fmt: skip
    quarters = grid([3, 6], [2, 4])
    yield inexact(
        "diagonal-twice", "Two quarters of one diagonal twice, those of the other not at all",
        "The quarters above left and below right are in two shards, the other two in none.", "geometry-mesh",
        _w((6, 4), [quarters[0], quarters[0], quarters[3], quarters[3]]),
    )  # fmt: skip
    crossed = [box((0, 2), (0, 4)), box((0, 4), (0, 2))]
    yield inexact(
        "crossed", "Rows and columns that cross", "The corner above left is in two shards, that below right in none.",
        "geometry-mesh", _w((4, 4), crossed),
    )  # fmt: skip
    swapped = [box((0, 1), (0, 3)), box((0, 3), (3, 5)), box((1, 5), (0, 2)), box((2, 4), (2, 3)), box((3, 5), (2, 5))]
    yield inexact(
        "pinwheel-shifted", "Interlocked boxes of which the one in the middle lies a row too far down",
        "Element [1, 2] is in no shard, [3, 2] in two.", "geometry-pinwheel", _w((5, 5), swapped),
    )  # fmt: skip
    open_middle = [each for each in PINWHEEL if each.offset != (1, 2)]
    yield inexact(
        "pinwheel-open", "Interlocked boxes without the one in the middle",
        "The elements [1, 2] and [2, 2] are missing.", "geometry-pinwheel", _w((5, 5), open_middle),
    )  # fmt: skip
    longer = [box((0, 1), (0, 4)), *PINWHEEL[1:3], box((1, 2), (2, 3)), PINWHEEL[4]]
    yield inexact(
        "pinwheel-longer", "Interlocked boxes, one too long and one too short",
        "Element [0, 3] is in two shards, [2, 2] in none.", "geometry-pinwheel", _w((5, 5), longer),
    )  # fmt: skip
    cube = sorted([*CUBE[:-1], box((1, 2), (1, 2), (1, 2))], key=lambda each: each.offset)
    yield inexact(
        "cube-corner-for-centre", "Boxes of three dimensions: the centre twice, a corner not at all",
        "Element [1, 1, 1] is in two shards, [2, 2, 2] in none.", "geometry-cube", _w((3, 3, 3), cube, "U8"),
    )  # fmt: skip
    parity = [
        box(*((at, at + 1) for at in place)) for place in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)) for _ in range(2)
    ]
    yield inexact(
        "even-corners-twice", "A cube of two: the four even corners twice, the odd ones not at all",
        "Each line through the cube has one element in two shards and one in none.", "geometry-cube",
        _w((2, 2, 2), parity, "U8"),
    )  # fmt: skip


def _runs() -> Iterator[Case]:
    shape = (4, 6)
    half = box((0, 4), (0, 3))
    other = box((0, 4), (3, 6))
    faults: dict[str, tuple[str, str, list[Region]]] = {
        "run-gap": ("Runs with a gap", "Element 7 is in no shard.", [run(shape, 0, 7), run(shape, 8, 24)]),
        "run-overlap": ("Runs that overlap", "Element 7 is in two shards.", [run(shape, 0, 8), run(shape, 7, 24)]),
        "run-shifted": (
            "Runs with a gap and an overlap of one size",
            "Element 5 is in two shards, element 20 in none.",
            [run(shape, 0, 6), run(shape, 5, 20), run(shape, 21, 24)],
        ),
        "run-first-missing": ("Runs that begin late", "Element 0 is in no shard.", [run(shape, 1, 24)]),
        "run-last-missing": ("Runs that end early", "Element 23 is in no shard.", [run(shape, 0, 23)]),
        "run-of-box-short": (
            "Runs of boxes, one too short",
            "The last element of the right half is in no shard.",
            [half, Region(other.offset, other.size, (0, 11))],
        ),
        "run-of-other-box": (
            "Runs of two boxes that do not fit together",
            "The elements 3 and 4 of the first row are in two shards, the first two of the second row in none.",
            [run(shape, 0, 5), run(shape, 8, 24), Region((0, 3), (4, 3), (0, 3))],
        ),
        "run-over-box": (
            "A run of the tensor and a box that have one element in common",
            "Element 8 is in two shards.",
            [run(shape, 0, 9), Region((1, 2), (3, 4), (0, 12)), Region((2, 0), (2, 2), (1, 4))],
        ),
    }
    for name, (title, fault, regions) in faults.items():
        yield inexact(name, title, fault, "geometry-runs-of-boxes", _w(shape, regions))
    cube = (3, 4, 5)
    yield inexact(
        "run-of-cube-shifted",
        "Runs of three dimensions with a gap and an overlap of one size",
        "Elements 31 and 32 are in two shards, the elements 50 and 51 in none.",
        "geometry-runs-of-cube",
        _w(cube, [run(cube, 0, 33), run(cube, 31, 50), run(cube, 52, 60)]),
    )


def _empty() -> Iterator[Case]:
    empty = Tensor("w", "F32", (3, 0), b"")
    yield inexact(
        "empty-twice", "An empty tensor with two shards", "The empty tensor has two shards.", "geometry-empty-matrix",
        one(empty, shards=(Shard(0), Shard(0, name="again"))),
    )  # fmt: skip
    yield inexact(
        "scalar-twice", "A scalar with two shards", "The element of the scalar is in two shards.", "geometry-scalar",
        one(filled("w", "F64", ()), shards=(Shard(0), Shard(0, name="again"))),
    )  # fmt: skip
    yield inexact(
        "scalar-without-shard", "A scalar without a shard", "The element of the scalar is in no shard.",
        "geometry-scalar", one(filled("w", "F64", ()), shards=(), objects=()),
    )  # fmt: skip


def _others() -> Iterator[Case]:
    good = one(filled("w", "F32", (4, 2)), B, shards=(*(Shard(0, each) for each in grid([2, 4], [2])), Shard(1)))
    yield accepted("tiling-two-tensors", "Two tensors, both exact", TILING, good, read=True)
    bad = good.with_item("model", shards=(Shard(0, box((0, 2), (0, 2))), Shard(1)))
    exact = read_values(bad.items["model"], [("b",)])
    yield Case(
        "tiling-of-another-tensor",
        "A tensor that is tiled, beside one that is not: read, or the whole item refused",
        ["SCF-REG-005"],
        "read",
        [step("read", [ok(**exact), rejected("tiling.inexact")], paths=[["b"]])],
        kind="acceptable",
        files=checkpoint(bad),
        options=dtypes(bad),
    )
    yield inexact(
        "of-one-tensor", "A tensor that is not tiled, beside one that is", "The rows 2 and 3 of w are in no shard.",
        "tiling-two-tensors", bad,
    )  # fmt: skip
    region = {"offset": [0, 0], "size": [1, 2], "run": None}
    yield refused(
        "tiling-region-that-is-there",
        "A region whose own elements are each in one shard, of a tensor with a gap elsewhere",
        "The rows 2 and 3 of w are in no shard.",
        "tiling.inexact",
        TILING,
        "tiling-two-tensors",
        bad,
        op="read_region",
        request={"path": ["w"], "regions": [region]},
    )
    yield unsound(
        "tiling-verified",
        "A verification names the tensor that is not tiled",
        "The rows 2 and 3 of w are in no shard.",
        "tiling.inexact",
        ["SCF-DIG-013", "SCF-REG-005"],
        "tiling-two-tensors",
        bad,
        about=("w",),
    )
