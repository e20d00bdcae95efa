"""Layouts of several writers: every way to cut tensors that frameworks have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from ..case import Case, Json
from ..requests import (
    BLOCK,
    Node,
    boolean,
    count,
    flat,
    integer,
    item,
    mapping,
    region,
    save,
    sharded_case,
    tensor,
    text,
    writer,
)

__all__ = ["cases"]

SHAPE = (6, 4)


def _parts(parts: Sequence[Sequence[Json]], shape: Sequence[int] = SHAPE, **tensors: Any) -> list[Node]:
    """One tree per writer, each with its regions of one tensor."""
    return [mapping(("w", tensor("w", shape, regions, **tensors))) for regions in parts]


def _rows(*counts: int, shape: Sequence[int] = SHAPE) -> list[list[Json]]:
    """Consecutive rows; a writer with none has no region."""
    parts, at = [], 0
    for each in counts:
        parts.append([region((at, *(0,) * (len(shape) - 1)), (each, *shape[1:]))] if each else [])
        at += each
    return parts


def _columns(*counts: int) -> list[list[Json]]:
    starts = [sum(counts[:number]) for number in range(len(counts))]
    return [[region((0, start), (SHAPE[0], each))] for start, each in zip(starts, counts, strict=True)]


def _runs(*cuts: int, shape: Sequence[int] = SHAPE) -> list[list[Json]]:
    return [flat(shape, start, stop) for start, stop in pairwise(cuts)]


_WHOLE = [region((0, 0), SHAPE)]
_EMPTY = [region((6, 0), (0, 4))]
_LAYOUTS: tuple[tuple[str, str, tuple[int, ...], list[list[Json]]], ...] = (
    ("rows", "rows over two writers", SHAPE, _rows(3, 3)),
    ("rows-four", "rows over four writers", (8, 3), _rows(2, 2, 2, 2, shape=(8, 3))),
    ("rows-uneven", "rows over four writers, the last one without any", SHAPE, _rows(2, 2, 2, 0)),
    ("rows-uneven-region", "rows over four writers, the last one with a region of none",
     SHAPE, [*_rows(2, 2, 2), _EMPTY]),
    ("columns", "columns over two writers, unevenly", SHAPE, _columns(1, 3)),
    ("grid", "a grid of two by two writers", SHAPE,
     [[region((row, column), (3, 2))] for row in (0, 3) for column in (0, 2)]),
    ("grid-strided", "two interleaved groups of rows per writer", SHAPE,
     [[region((0, 0), (1, 4)), region((3, 0), (2, 4))], [region((1, 0), (2, 4)), region((5, 0), (1, 4))]]),
    ("three-dimensions", "a grid over three dimensions", (4, 2, 6),
     [[region((row, 0, column), (2, 2, 3))] for row in (0, 2) for column in (0, 3)]),
    ("flat", "a flat cut over three writers, within rows", SHAPE, _runs(0, 7, 17, 24)),
    ("flat-empty", "a flat cut in which one writer has nothing", SHAPE, _runs(0, 9, 9, 24)),
    ("flat-one-element", "a flat cut with one element for a writer", SHAPE, _runs(0, 1, 23, 24)),
    ("box-and-run", "columns over two groups, and runs within them", SHAPE,
     [[region((0, column), (6, 2), run)] for column in (0, 2) for run in ((0, 5), (5, 12))]),
    ("replicas", "every writer holds all of it", SHAPE, [_WHOLE, _WHOLE, _WHOLE]),
    ("replicated-rows", "rows over two pairs of writers", SHAPE,
     [*_rows(3, 3), *_rows(3, 3)]),
    ("replicated-runs", "runs over two pairs of writers", SHAPE, [*_runs(0, 10, 24), *_runs(0, 10, 24)]),
    ("one-holds-all", "one writer holds all, the other has the path without a region", SHAPE, [_WHOLE, []]),
    ("order", "the first writer holds the last rows", SHAPE, _rows(2, 4)[::-1]),
    ("scalar", "a scalar that both writers hold", (), [[region((), ())], [region((), ())]]),
    ("empty-tensor", "a tensor without elements that both writers hold", (0, 4),
     [[region((0, 0), (0, 4))], [region((0, 0), (0, 4))]]),
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Layouts that are committed."""
    for name, what, shape, parts in _LAYOUTS:
        yield sharded_case(
            f"sharded-{name}", f"Several writers: {what}",
            ["SCF-REG-004", "SCF-OBJ-009", "SCF-OBJ-013", "SCF-LAYOUT-007"]
            if "repl" in name else ["SCF-REG-004", "SCF-REG-001", "SCF-LAYOUT-007"],
            save(*_parts(parts, shape)),
        )  # fmt: skip
    for codec in ("zstd", "planes"):
        yield sharded_case(
            f"sharded-{codec}", f"Rows over two writers with the codec {codec}", ["SCF-CODEC-001", "SCF-REG-004"],
            save(
                *(
                    mapping(("w", tensor("w", (40, 50), part, fill=count())))
                    for part in _rows(13, 27, shape=(40, 50))
                ),
                spec=item(codec=codec, block=BLOCK),
            ),
        )  # fmt: skip
    yield sharded_case(
        "sharded-subbyte", "Runs of four-bit elements over two writers", ["SCF-REG-001", "SCF-REG-004"],
        save(*_parts(_runs(0, 10, 24), dtype="F4")),
    )  # fmt: skip
    yield sharded_case(
        "sharded-mixed", "Each tensor in a layout of its own, some on one writer only", ["SCF-REG-004", "SCF-OBJ-005"],
        save(*map(_mixed, range(2))),
    )  # fmt: skip
    yield sharded_case(
        "sharded-replicas-of-many", "Several tensors of several dtypes that all writers hold",
        ["SCF-OBJ-013", "SCF-OBJ-009", "SCF-OBJ-005"],
        save(*[mapping(*(
            (f"w{number}", tensor(f"w{number}", (5, number + 1), dtype=dtype))
            for number, dtype in enumerate(("U8", "F64", "BF16", "C128", "F32"))
        ))] * 3),
    )  # fmt: skip
    yield from _without()
    yield from _trees()


def _mixed(writer_number: int) -> Node:
    alone = tensor("only", (3,), dtype="U8")
    return mapping(
        ("rows", tensor("rows", SHAPE, _rows(2, 4)[writer_number])),
        ("flat", tensor("flat", SHAPE, _runs(0, 11, 24)[writer_number], dtype="BF16")),
        ("all", tensor("all", (2, 2), dtype="F64")),
        (f"only{writer_number}", alone),
    )  # fmt: skip


def _without() -> Iterator[Case]:
    tree = mapping(("w", tensor("w")))
    yield sharded_case(
        "sharded-writer-without-item", "A writer that has no item at all", ["SCF-COMMIT-003", "SCF-TREE-010"],
        save(writers=[writer({"model": tree}), writer({})]),
    )  # fmt: skip
    yield sharded_case(
        "sharded-writer-without-tensors", "A writer whose tree is empty", ["SCF-TREE-010"], save(tree, mapping())
    )
    yield sharded_case(
        "sharded-first-writer-without-item", "The first writer has no item", ["SCF-TREE-010"],
        save(writers=[writer({}), writer({"model": tree})]),
    )  # fmt: skip
    yield sharded_case(
        "sharded-items", "Each writer has an item of its own, and one in common", ["SCF-LAYOUT-006", "SCF-ROOT-013"],
        save(
            items={"model": item(), "stage-0": item("other"), "stage-1": item("other")},
            writers=[
                writer({"model": part, f"stage-{number}": tree})
                for number, part in enumerate(_parts(_rows(1, 5)))
            ],
        ),
    )  # fmt: skip
    yield sharded_case(
        "sharded-assets", "Assets beside items of two writers", ["SCF-LAYOUT-004"],
        save(*_parts(_rows(3, 3)), spec=item(assets={"config.json": b"{}", "a/b": b""})),
    )  # fmt: skip


def _trees() -> Iterator[Case]:
    stages = [
        mapping(("embed", tensor("e")), ("layers", mapping((0, mapping(("w", tensor("0")))))), ("step", integer(7))),
        mapping(("layers", mapping((1, mapping(("w", tensor("1")))))), ("head", tensor("h")), ("step", integer(7))),
    ]
    yield sharded_case(
        "sharded-pipeline", "Each writer holds other names of the same maps",
        ["SCF-TREE-010", "SCF-OBJ-010"], save(*stages),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-order", "Keys stand in order of first appearance", ["SCF-TREE-010"],
        save(*(mapping(*((key, text(key)) for key in keys)) for keys in ("cad", "bac", "eab"))),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-sets", "Sets are united", ["SCF-TREE-010"],
        save(*(mapping(("params", ["set", names])) for names in (["a", "c"], ["b", "c"], []))),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-sequences", "Lists and tuples are united position by position", ["SCF-TREE-010"],
        save(*(
            mapping((
                "list", ["list", [mapping((f"key{number}", integer(number))), tensor("w", SHAPE, part),
                                  ["tuple", [text("same")]]]],
            ))
            for number, part in enumerate(_rows(2, 4))
        )),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-flattened", "The inside of flattened tensors is united, attributes are equal", ["SCF-TREE-010"],
        save(*(
            mapping(("x", ["flattened", [["q", tensor("q", SHAPE, part)], [f"s{number}", tensor(f"s{number}", ())]],
                           mapping(("bits", integer(8)))]))
            for number, part in enumerate(_rows(2, 4))
        )),
    )  # fmt: skip
    equal = mapping(
        ("nil", ["nil"]), ("bool", boolean(value=True)), ("int", integer(2**70)), ("bytes", ["bytes", "00ff"]),
        ("nan", ["float", "fff8000000000001"]), ("zero", ["float", "8000000000000000"]),
        ("complex", ["complex", "7ff8000000000001", "8000000000000000"]), ("dtype", ["dtype", "BF16"]),
        ("timestamp", ["timestamp", "0", 5000, 3600]), ("empty", ["list", []]), ("text", text("x")),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-equal", "Leaves of every kind that all writers hold alike, a NaN among them",
        ["SCF-TREE-010", "SCF-COMMIT-006"], save(equal, equal),
    )  # fmt: skip
    yield from _indexed()
    yield from _ties()


def _indexed() -> Iterator[Case]:
    yield sharded_case(
        "sharded-union-indexed", "Each writer has a value of its own", ["SCF-TREE-011", "SCF-STATE-010"],
        save(*(
            mapping(("value", ["indexed", "rank", 3, {str(number): mapping(("at", integer(10 * number)))}]))
            for number in range(3)
        )),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-indexed-shared", "Writers of one coordinate hold equal values",
        ["SCF-TREE-011"],
        save(*(
            mapping(("value", ["indexed", "data_parallel", 2, {str(number // 2): text(f"same {number // 2}")}]))
            for number in range(4)
        )),
    )  # fmt: skip
    yield sharded_case(
        "sharded-union-indexed-tensors", "Each writer has a tensor of its own, of its own shape",
        ["SCF-TREE-011", "SCF-OBJ-010"],
        save(*(
            mapping(("rng", ["indexed", "rank", 2, {str(number): tensor(f"r{number}", (number + 3,), dtype="U8")}]))
            for number in (1, 0)
        )),
    )  # fmt: skip


def _ties() -> Iterator[Case]:
    yield sharded_case(
        "sharded-tied", "All writers hold a tensor under the same two paths", ["SCF-MODEL-003", "SCF-TREE-012"],
        save(*(
            mapping(("embed", tensor("w", SHAPE, part)), ("head", tensor("w", SHAPE, part))) for part in _rows(2, 4)
        )),
    )  # fmt: skip
    yield sharded_case(
        "sharded-tied-on-one-writer", "One writer alone has the second path of a tensor",
        ["SCF-TREE-012", "SCF-MODEL-003"],
        save(
            mapping(("embed", tensor("w", SHAPE, _rows(2, 4)[0])), ("head", tensor("w", SHAPE, _rows(2, 4)[0]))),
            mapping(("embed", tensor("w", SHAPE, _rows(2, 4)[1]))),
        ),
    )  # fmt: skip
    yield sharded_case(
        "sharded-equal-but-untied", "Two tensors of the same bytes stay two", ["SCF-MODEL-003"],
        save(*(
            mapping(("a", tensor("a", SHAPE, part, fill=count())), ("b", tensor("b", SHAPE, part, fill=count())))
            for part in _rows(2, 4)
        )),
    )  # fmt: skip
