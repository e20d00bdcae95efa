"""Regions of one writer: several per tensor, runs, sub-byte elements; what is no region and what does not tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..case import Case, Json, rejected
from ..requests import flat, item, mapping, names, region, save, tensor, write_case

__all__ = ["cases"]

SHAPE = (4, 6)

_VALID: tuple[tuple[str, str, tuple[int, ...], list[Json]], ...] = (
    ("rows", "two groups of rows", SHAPE, [region((0, 0), (1, 6)), region((1, 0), (3, 6))]),
    ("columns", "two groups of columns", SHAPE, [region((0, 0), (4, 2)), region((0, 2), (4, 4))]),
    ("grid", "four quarters", SHAPE, [region((row, column), (2, 3)) for row in (0, 2) for column in (0, 3)]),
    ("runs", "three runs over all elements, cut within rows", SHAPE,
     [*flat(SHAPE, 0, 5), *flat(SHAPE, 5, 19), *flat(SHAPE, 19, 24)]),
    ("box-and-run", "runs within two groups of columns", SHAPE,
     [region((0, 0), (4, 3), (0, 7)), region((0, 0), (4, 3), (7, 12)), region((0, 3), (4, 3))]),
    ("run-in-rows", "a run within one row, and what is left", (3, 5),
     [region((0, 0), (3, 5), (0, 6)), region((0, 0), (3, 5), (6, 9)), region((0, 0), (3, 5), (9, 15))]),
    ("unordered", "regions in another order than that of their places", SHAPE,
     [region((3, 0), (1, 6)), region((0, 0), (2, 6)), region((2, 0), (1, 6))]),
    ("deep", "a run that takes five boxes to say, and the two beside it", (3, 4, 5),
     [*flat((3, 4, 5), 0, 7), *flat((3, 4, 5), 7, 53), *flat((3, 4, 5), 53, 60)]),
    ("empty-among-others", "a region without elements beside one with all", SHAPE,
     [region((0, 0), (4, 6)), region((4, 0), (0, 6))]),
    ("empty-run", "a run without elements beside those with all", SHAPE,
     [*flat(SHAPE, 0, 10), *flat(SHAPE, 10, 10), *flat(SHAPE, 10, 24)]),
)  # fmt: skip

_OUTSIDE: tuple[tuple[str, str, list[Json]], ...] = (
    ("box", "a box ends beyond its tensor", [region((0, 0), (2, 6)), region((2, 0), (3, 6))]),
    ("offset", "a box begins beyond its tensor", [region((0, 0), (4, 6)), region((5, 0), (0, 6))]),
    ("run", "a run ends beyond its box", [*flat(SHAPE, 0, 12), *flat(SHAPE, 12, 25)]),
    ("run-backwards", "a run ends before it begins", [*flat(SHAPE, 0, 24), *flat(SHAPE, 9, 7)]),
    ("dimensions", "a box has another number of dimensions than its tensor", [region((0,), (4,))]),
)

_INEXACT: tuple[tuple[str, str, list[Json]], ...] = (
    ("gap", "the last row is in no region", [region((0, 0), (3, 6))]),
    ("overlap", "row 1 is in two regions", [region((0, 0), (2, 6)), region((1, 0), (3, 6))]),
    ("gap-and-overlap", "one element is in two runs and one in none, so that their number is right",
     [*flat(SHAPE, 0, 12), *flat(SHAPE, 11, 23)]),
    ("run-gap", "element 11 is in no run", [*flat(SHAPE, 0, 11), *flat(SHAPE, 12, 24)]),
    ("hole-in-grid", "one of four quarters is there twice, another not at all",
     [region((0, 0), (2, 3)), region((0, 3), (2, 3)), region((2, 0), (2, 3)), region((0, 2), (2, 3))]),
    ("nothing", "no region holds anything of the tensor", []),
)  # fmt: skip


def _step(regions: Sequence[Json], shape: Sequence[int] = SHAPE, **more: Any) -> Json:
    dtype = str(more.pop("dtype", "F32"))
    return save(mapping(("weight", tensor("w", shape, regions, dtype=dtype))), **more)


def cases() -> Iterator[Case]:
    """Regions of one writer."""
    for name, what, shape, regions in _VALID:
        yield write_case(
            f"write-regions-{name}", f"One writer, several regions: {what}",
            ["SCF-REG-001", "SCF-REG-004", "SCF-OBJ-002"], _step(regions, shape),
        )  # fmt: skip
    yield write_case(
        "write-regions-runs-planes", "Runs of odd sizes with a codec", ["SCF-REG-001", "SCF-CODEC-001"],
        save(
            mapping(("w", tensor("w", (40, 50), [*flat((40, 50), 0, 777), *flat((40, 50), 777, 2000)]))),
            spec=item(codec="planes"),
        ),
    )  # fmt: skip
    for name, what, regions in _OUTSIDE:
        yield write_case(
            f"write-region-outside-{name}", f"Not a region of its tensor: {what}", ["SCF-REG-003"],
            _step(regions, expect=rejected("state.layout")),
            kind="invalid", sibling="write-regions-runs" if "run" in name else "write-regions-rows",
            fault=f"{what[0].upper()}{what[1:]}.", after={"main": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
    for name, what, regions in _INEXACT:
        yield write_case(
            f"write-inexact-{name}", f"Regions that do not tile: {what}", ["SCF-REG-004", "SCF-COMMIT-005"],
            _step(regions, expect=names("tiling.inexact", "weight")),
            kind="invalid", sibling="write-regions-runs" if "run" in what else "write-regions-rows",
            fault=f"{what[0].upper()}{what[1:]}.",
            after={"main": {"absent": ["c/checkpoint.json", "c/model/manifest-*"]}},
        )  # fmt: skip
    yield from _bits()


def _bits() -> Iterator[Case]:
    valid: tuple[tuple[str, str, tuple[int, ...], list[Json]], ...] = (
        ("f4-columns", "F4", (2, 8), [region((0, 0), (2, 2)), region((0, 2), (2, 6))]),
        ("f4-runs", "F4", (3, 6), [*flat((3, 6), 0, 4), *flat((3, 6), 4, 18)]),
        ("f6-rows", "F6_E3M2", (3, 4), [region((0, 0), (1, 4)), region((1, 0), (2, 4))]),
        ("f6-runs", "F6_E2M3", (5, 4), [*flat((5, 4), 0, 8), *flat((5, 4), 8, 20)]),
        ("f4-odd-rows", "F4", (2, 3), [region((0, 0), (2, 3))]),
    )
    for name, dtype, shape, regions in valid:
        yield write_case(
            f"write-subbyte-{name}", f"Elements of less than a byte: {dtype}, cut at whole bytes",
            ["SCF-REG-001", "SCF-OBJ-002"], _step(regions, shape, dtype=dtype),
        )  # fmt: skip
    invalid: tuple[tuple[str, str, str, tuple[int, ...], list[Json], str], ...] = (
        ("run", "a run ends within a byte", "F4", (3, 6), [*flat((3, 6), 0, 5), *flat((3, 6), 5, 18)], "f4-runs"),
        ("columns", "a box ends within a byte in the last dimension", "F4", (2, 8),
         [region((0, 0), (2, 3)), region((0, 3), (2, 5))], "f4-columns"),
        ("rows", "rows of an odd number of elements are cut apart", "F4", (2, 3),
         [region((0, 0), (1, 3)), region((1, 0), (1, 3))], "f4-odd-rows"),
        ("tensor", "the whole tensor ends within a byte", "F4", (3,), [region((0,), (3,))], "f4-runs"),
        ("f6", "a run of F6 elements begins within a byte", "F6_E2M3", (5, 4),
         [*flat((5, 4), 0, 6), *flat((5, 4), 6, 20)], "f6-runs"),
    )  # fmt: skip
    for name, what, dtype, shape, regions, sibling in invalid:
        yield write_case(
            f"write-cut-byte-{name}", f"Elements of less than a byte: {what}", ["SCF-REG-007"],
            _step(regions, shape, dtype=dtype, expect=rejected("state.layout")),
            kind="invalid", sibling=f"write-subbyte-{sibling}", fault=f"{what[0].upper()}{what[1:]}.",
            after={"main": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
