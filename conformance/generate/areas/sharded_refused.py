"""Saves of several writers that must not be committed: contradictions, gaps, failures."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case, Json, ok, rejected, step
from ..requests import (
    Node,
    boolean,
    constant,
    flat,
    integer,
    item,
    listing,
    mapping,
    names,
    real,
    region,
    save,
    sharded_case,
    tensor,
    text,
    writer,
)

__all__ = ["cases"]

SHAPE = (6, 4)
_AFTER = {"main": {"absent": ["c/checkpoint.json"]}}
_TOP = region((0, 0), (3, 4))
_BOTTOM = region((3, 0), (3, 4))
_UNIONS: tuple[tuple[str, str, Node, Node], ...] = (
    ("int", "integers differ", integer(1), integer(2)),
    ("int-and-float", "1 and 1.0", integer(1), real(0x3FF0000000000000)),
    ("int-and-bool", "1 and true", integer(1), boolean(value=True)),
    ("nil", "nil and false", ["nil"], boolean(value=False)),
    ("zeros", "0.0 and -0.0", real(0), real(1 << 63)),
    ("nans", "NaNs of different bits", real(0x7FF8000000000000), real(0x7FF8000000000001)),
    ("text", "texts differ", text("ü"), text("u\u0308")),
    ("bytes-and-text", "bytes and text", ["bytes", "61"], text("a")),
    ("complex", "complex numbers of different bits", ["complex", "0" * 16, "0" * 16],
     ["complex", "0" * 16, "8000000000000000"]),
    ("timestamp", "one moment in two zones", ["timestamp", "1767319445", 0, 3600], ["timestamp", "1767319445", 0, 0]),
    ("timestamp-zone", "a time in UTC and one without a zone", ["timestamp", "0", 0, 0], ["timestamp", "0", 0, None]),
    ("dtype", "dtypes differ", ["dtype", "BF16"], ["dtype", "F16"]),
    ("dtype-and-text", "a dtype and its name", ["dtype", "BF16"], text("BF16")),
    ("list-length", "lists of different lengths", ["list", [integer(1)]], ["list", [integer(1), integer(2)]]),
    ("tuple-and-list", "a tuple and a list", ["tuple", [integer(1)]], ["list", [integer(1)]]),
    ("map-and-list", "a map and a list", mapping(), ["list", []]),
    ("tensor-and-scalar", "a tensor and a number", tensor("w", ()), real(0)),
    ("set-kinds", "a set of texts and one of integers", ["set", ["1"]], ["set", [{"int": "1"}]]),
    ("flattened", "attributes of flattened tensors differ",
     ["flattened", [], mapping(("bits", integer(8)))], ["flattened", [], mapping(("bits", integer(4)))]),
    ("deep", "a value deep inside differs", ["list", [mapping(("x", ["tuple", [integer(1)]]))]],
     ["list", [mapping(("x", ["tuple", [integer(2)]]))]]),
    ("dtype-of-tensor", "a tensor has two dtypes", tensor("w", SHAPE, [_TOP]),
     tensor("w", SHAPE, [_BOTTOM], dtype="I32")),
    ("shape-of-tensor", "a tensor has two shapes", tensor("w", SHAPE, [_TOP]), tensor("w", (7, 4), [_BOTTOM])),
)  # fmt: skip

_INDEXED: tuple[tuple[str, str, Node, Node], ...] = (
    ("value", "two writers hold one index with different values",
     ["indexed", "rank", 1, {"0": text("a")}], ["indexed", "rank", 1, {"0": text("b")}]),
    ("missing", "no writer has the index 1",
     ["indexed", "rank", 3, {"0": text("a")}], ["indexed", "rank", 3, {"2": text("c")}]),
    ("missing-last", "no writer has the last index",
     ["indexed", "rank", 3, {"0": text("a")}], ["indexed", "rank", 3, {"1": text("c")}]),
    ("size", "two writers give different sizes",
     ["indexed", "rank", 2, {"0": text("a")}], ["indexed", "rank", 3, {"1": text("b")}]),
    ("axis", "two writers give different axes",
     ["indexed", "rank", 2, {"0": text("a")}], ["indexed", "data_parallel", 2, {"1": text("b")}]),
    ("plain", "one writer has an indexed value, the other one a plain one",
     ["indexed", "rank", 2, {"0": text("a")}], text("b")),
)  # fmt: skip

_INEXACT: tuple[tuple[str, str, list[list[Json]]], ...] = (
    ("gap", "row 3 is with no writer", [[_TOP], [region((4, 0), (2, 4))]]),
    ("overlap", "row 2 is with two writers, whose regions differ", [[_TOP], [region((2, 0), (4, 4))]]),
    ("overlap-whole", "one writer holds all, another one the first rows", [[region((0, 0), SHAPE)], [_TOP]]),
    ("run-gap", "element 11 is with no writer", [flat(SHAPE, 0, 11), flat(SHAPE, 12, 24)]),
    ("run-overlap", "element 11 is with two writers", [flat(SHAPE, 0, 12), flat(SHAPE, 11, 24)]),
    ("shifted", "one element is with two writers and one with none",
     [flat(SHAPE, 0, 8), flat(SHAPE, 7, 16), flat(SHAPE, 17, 24)]),
    ("last-writer", "the part of a third writer is missing", [[region((0, 0), (2, 4))], [region((2, 0), (2, 4))]]),
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Saves that fail on all writers."""
    for name, what, first, second in _UNIONS:
        yield sharded_case(
            f"sharded-diverged-{name}", f"Values at one path that have no union: {what}",
            ["SCF-TREE-010", "SCF-COMMIT-006"],
            save(
                mapping(("same", integer(1)), ("culprit", first)), mapping(("same", integer(1)), ("culprit", second)),
                expect=names("state.diverged", "culprit"),
            ),
            kind="invalid", sibling="sharded-union-equal",
            fault=f"The two writers contradict each other: {what}.", after=_AFTER,
        )  # fmt: skip
    for name, what, first, second in _INDEXED:
        yield sharded_case(
            f"sharded-indexed-{name}", f"An indexed value that is not united: {what}",
            ["SCF-TREE-011", "SCF-TREE-010", "SCF-STATE-010"],
            save(
                mapping(("culprit", first)), mapping(("culprit", second)), expect=names("state.diverged", "culprit")
            ),
            kind="invalid", sibling="sharded-union-indexed", fault=f"{what[0].upper()}{what[1:]}.", after=_AFTER,
        )  # fmt: skip
    for name, what, parts in _INEXACT:
        yield sharded_case(
            f"sharded-inexact-{name}", f"Parts that do not tile: {what}", ["SCF-COMMIT-005", "SCF-REG-004"],
            save(
                *(mapping(("culprit", tensor("w", SHAPE, part))) for part in parts),
                expect=names("tiling.inexact", "culprit"),
            ),
            kind="invalid", sibling="sharded-rows", fault=f"{what[0].upper()}{what[1:]}.", after=_AFTER,
        )  # fmt: skip
    yield from _replicas()
    yield from _aliases()
    yield from _failures()


def _replicas() -> Iterator[Case]:
    def differing(part: list[Json] | None, *bits: str) -> Json:
        trees = (mapping(("culprit", tensor("w", SHAPE, part, fill=constant(each)))) for each in bits)
        return save(*trees, expect=names("state.diverged", "culprit"))

    for name, what, request in (
        ("replica", "two writers hold all of a tensor", differing(None, "3f800000", "40000000")),
        ("replica-third", "the third of three writers differs", differing(None, "3f800000", "3f800000", "40000000")),
        ("replica-zeros", "zeros of different signs", differing(None, "00000000", "80000000")),
        ("replica-run", "two writers hold the same run, and one of them the rest",
         save(
             mapping(("culprit", tensor("w", SHAPE, [*flat(SHAPE, 0, 9), *flat(SHAPE, 9, 24)], fill=constant("01")))),
             mapping(("culprit", tensor("w", SHAPE, [*flat(SHAPE, 0, 9), *flat(SHAPE, 9, 24)], fill=constant("02")))),
             expect=names("state.diverged", "culprit"))),
    ):  # fmt: skip
        yield sharded_case(
            f"sharded-diverged-{name}", f"One region with different bytes: {what}", ["SCF-COMMIT-006", "SCF-STATE-010"],
            request, kind="invalid", sibling="sharded-replicas",
            fault="Writers hold different bytes for one region of one tensor.", after=_AFTER,
        )  # fmt: skip
    yield sharded_case(
        "sharded-diverged-scalar-tensor", "A running mean that differs between writers", ["SCF-COMMIT-006"],
        save(
            mapping(("culprit", tensor("m", (), fill=constant("3f800000"))), ("w", tensor("w", SHAPE, [_TOP]))),
            mapping(("culprit", tensor("m", (), fill=constant("3f800001"))), ("w", tensor("w", SHAPE, [_BOTTOM]))),
            expect=names("state.diverged", "culprit"),
        ),
        kind="invalid", sibling="sharded-scalar", fault="The writers hold different bytes.", after=_AFTER,
    )  # fmt: skip


def _aliases() -> Iterator[Case]:
    def part(name: str, each: Json) -> Node:
        return tensor(name, SHAPE, [each], fill=constant("3f800000"))

    tied = mapping(("a", part("w", _TOP)), ("b", part("w", _TOP)))
    apart = mapping(("a", part("v", _BOTTOM)), ("b", part("w", _BOTTOM)))
    for name, trees in (("", (tied, apart)), ("-reversed", (apart, tied))):
        yield sharded_case(
            f"sharded-aliases-disagree{name}", "Two paths are one tensor on one writer, and two on the other",
            ["SCF-TREE-012"], save(*trees, expect=rejected("state.diverged")),
            kind="invalid", sibling="sharded-tied",
            fault="The writers disagree on whether two paths are one tensor.", after=_AFTER,
        )  # fmt: skip


def _failures() -> Iterator[Case]:
    parts = [mapping(("w", tensor("w", SHAPE, [part]))) for part in (_TOP, _BOTTOM)]

    def faulty(*faults: str | None) -> list[Json]:
        trees = [{"model": tree} for tree in (*parts, *[mapping()] * (len(faults) - 2))]
        return [
            writer(tree, **({"fault": fault} if fault else {})) for tree, fault in zip(trees, faults, strict=True)
        ]

    failed = rejected("rank.failed", "save.aborted")
    silent = rejected("rank.timeout", "rank.failed", "save.aborted")
    for name, title, faults, expected in (
        ("fails", "A writer that fails", (None, "fails"), failed),
        ("first-fails", "The first writer fails", ("fails", None), failed),
        ("one-of-four-fails", "A writer of four that fails, and holds nothing of any tensor",
         (None, None, None, "fails"), failed),
        ("dies", "A writer that falls silent", (None, "dies"), silent),
        ("one-of-three-dies", "A writer that falls silent, and holds nothing of any tensor",
         (None, None, "dies"), silent),
        ("fails-and-dies", "A writer that fails beside one that falls silent", (None, "fails", "dies"), silent),
    ):  # fmt: skip
        yield sharded_case(
            f"sharded-writer-{name}", f"{title}: no checkpoint",
            [*(["SCF-COMMIT-004"] if "dies" in faults else []), "SCF-COMMIT-003", "SCF-COMMIT-007"],
            save(writers=faulty(*faults), deadline=2, expect=expected),
            step("list", ok(checkpoints=[], newest=None)),
            kind="invalid", sibling="sharded-rows", fault=f"{title}.", after=_AFTER, timeout=30,
        )  # fmt: skip
    yield sharded_case(
        "sharded-after-failure", "A save after one that failed, under the same name",
        ["SCF-LAYOUT-006", "SCF-COMMIT-003", "SCF-COMMIT-007"],
        save(writers=faulty(None, "fails"), deadline=2, expect=failed),
        save(*parts), listing(("c", 1), newest="c"), timeout=30,
    )  # fmt: skip
    yield sharded_case(
        "sharded-store-split", "The store of the second writer is another one, in which an old save has died",
        ["SCF-LAYOUT-010"],
        save(
            writers=[writer({"model": parts[0]}), writer({"model": parts[1]}, store="$other")],
            expect=rejected("store.split"),
        ),
        kind="invalid", sibling="sharded-rows", fault="The writers of one save have different stores.",
        stores={"main": {}, "other": {}},
        more_files={"other": {"c/.attempt-0123456789abcdef": b'{"attempt":"0123456789abcdef"}'}},
        after={each: {"absent": ["c/checkpoint.json"]} for each in ("main", "other")}, timeout=30,
    )  # fmt: skip
    yield sharded_case(
        "sharded-same-store", "Each writer is given the store by itself", ["SCF-LAYOUT-010"],
        save(writers=[writer({"model": part}, store="$main") for part in parts], items={"model": item()}),
    )  # fmt: skip
