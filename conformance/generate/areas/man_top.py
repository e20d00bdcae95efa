"""The top level of a manifest: keys, tables, lengths of columns (section 7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ...oracle.encode import Draft
from ..case import Case
from ..drafts import OTHER, basic, encoded, runs, scalars, unassigned
from ..forms import accepted
from .man_common import SCHEMA, bad, changed, put, without

__all__ = ["cases"]

PLAIN: Final = "manifest-top"
PRESENT: Final = ["SCF-MAN-006"]
REQUIRED: Final = ("scf", "attempt", "item", "dtypes", "codecs", "tensors", "objects", "shards", "tree")


def cases() -> Iterator[Case]:
    """All cases of this module."""
    requirements = ["SCF-MAN-006", "SCF-MAN-008", "SCF-LIMIT-001"]
    yield accepted(PLAIN, "A manifest with all tables", requirements, basic(), read=True)
    yield from _keys()
    yield from _tables()


def _keys() -> Iterator[Case]:
    for name in REQUIRED:
        yield bad(f"without-{name}", f"The key {name} is absent.", PLAIN, changed(basic(), without(name)), PRESENT)
    rows: list[tuple[str, str, Any, str]] = [
        ("scf-0", "scf", 0, "0"),
        ("scf-2", "scf", 2, "2"),
        ("scf-minus-1", "scf", -1, "-1"),
        ("scf-true", "scf", True, "true"),
        ("scf-float", "scf", 1.0, "the float 1"),
        ("scf-text", "scf", "1", "text"),
        ("attempt-other", "attempt", OTHER, "another attempt than that of its key"),
        ("attempt-bytes", "attempt", b"3f9c2a71d0b84e55", "bytes"),
        ("item-other", "item", "optimizer", "another item than that of its key"),
        ("item-case", "item", "Model", "the item of its key with an upper-case letter"),
        ("item-nil", "item", None, "nil"),
        ("dtypes-map", "dtypes", {}, "a map"),
        ("dtypes-text", "dtypes", "F32", "text"),
        ("dtypes-number", "dtypes", ["F32", 1], "an array with a number"),
        ("dtypes-bytes", "dtypes", ["F32", b"BF16"], "an array with bytes"),
        ("codecs-map", "codecs", {}, "a map"),
        ("codecs-flat", "codecs", [{"id": "zstd"}], "an array of a map"),
        ("tensors-array", "tensors", [], "an array"),
        ("objects-map", "objects", {}, "a map"),
        ("objects-texts", "objects", ["model"], "an array of text"),
        ("shards-nil", "shards", None, "nil"),
    ]
    for name, key, value, what in rows:
        requirement = {"scf": "SCF-COMPAT-001", "attempt": "SCF-MAN-007", "item": "SCF-MAN-007"}.get(key, "SCF-MAN-006")
        fault = f"The value of {key} is {what}."
        requirements = list(dict.fromkeys([requirement, "SCF-MAN-006"]))
        yield bad(name, fault, PLAIN, changed(basic(), put(key, value=value)), requirements)
    for name, value, what in (
        ("list", [], "a list"),
        ("nil", None, "nil"),
        ("int", 1, "an integer"),
        ("text", "x", "text"),
    ):
        fault = f"The tree is {what}."
        draft = changed(scalars(), put("tree", value=value))
        yield bad(f"tree-{name}", fault, "tree-scalars", draft, ["SCF-TREE-003"], ["tree.schema", SCHEMA])
    swapped = basic().with_item("model", attempt=OTHER, record=put("attempt", value="3f9c2a71d0b84e55"))
    fault = "The attempt is that of the root, and the manifest's key has another one."
    yield bad("attempt-of-root", fault, "root-attempt-of-manifest-differs", swapped, ["SCF-MAN-007"])


def _tables() -> Iterator[Case]:
    for table in ("tensors", "shards"):
        for key in ("count", "columns"):
            draft = changed(basic(), without(table, key))
            yield bad(f"{table}-without-{key}", f"The table {table} has no {key}.", PLAIN, draft, PRESENT)
        rows: tuple[tuple[str, str, Any, str, list[str]], ...] = (
            ("more", "count", 4, "one row more than its columns have", ["SCF-MAN-008"]),
            ("less", "count", 1, "fewer rows than its columns have", ["SCF-MAN-008"]),
            ("zero", "count", 0, "no rows, though its columns have some", ["SCF-MAN-008"]),
            ("negative", "count", -1, "a negative count", PRESENT),
            ("float", "count", 3.0, "a count that is a float", PRESENT),
            ("huge", "count", (1 << 64) - 1, "a count of 2^64 - 1", ["SCF-CONV-003", "SCF-CONV-004"]),
            ("text", "count", "3", "a count that is text", PRESENT),
            ("columns-array", "columns", [], "an array of columns", PRESENT),
        )
        for name, key, value, what, requirements in rows:
            draft = changed(basic(), put(table, key, value=value))
            codes = [SCHEMA, "digest.missing"] if name == "zero" else SCHEMA
            yield bad(f"{table}-count-{name}", f"The table {table} has {what}.", PLAIN, draft, requirements, codes)
        columns: tuple[tuple[str, Any, Any, str], ...] = (
            ("text", "x-acme", "text", "an unknown column of text"),
            ("nil", "x-acme", None, "an unknown column that is nil"),
            ("array", "x-acme", [0], "an unknown column that is an array"),
            ("key-int", 7, b"", "a column whose name is a number"),
        )
        for name, column, value, what in columns:
            draft = changed(basic(), put(table, "columns", column, value=value))
            requirements = ["SCF-MAN-006", "SCF-CONV-007"]
            yield bad(f"{table}-column-{name}", f"The table {table} has {what}.", PLAIN, draft, requirements)
    for table, names in (
        ("tensors", ("dtype", "ndim", "shape", "name_size", "name")),
        ("shards", ("tensor", "object", "offset")),
    ):
        for name in names:
            shown = name.replace("_", "-")
            draft = changed(basic(), without(table, "columns", name))
            yield bad(f"{table}-without-{shown}", f"The column {name} of {table} is absent.", PLAIN, draft, PRESENT)
            draft = changed(basic(), put(table, "columns", name, value="text"))
            yield bad(f"{table}-{shown}-text", f"The column {name} of {table} is text.", PLAIN, draft, PRESENT)
    yield from _lengths()


def _lengths() -> Iterator[Case]:
    """Each column one byte longer and one byte shorter."""
    bases: tuple[tuple[str, str, Draft, tuple[str, ...]], ...] = (
        ("tensors", PLAIN, basic(), ("dtype", "ndim", "shape", "name_size", "name")),
        ("shards", PLAIN, basic(), ("tensor", "object", "offset", "box_offset", "box_size", "block_digest")),
        ("shards", "manifest-shards-runs", runs(), ("run_start", "run_stop")),
        (
            "shards",
            "manifest-shards-encoded",
            encoded(),
            ("stored_size", "codec", "block_stored_size", "decoded_digest"),
        ),
        ("shards", "manifest-shards-unassigned", unassigned(), ("entry_size", "entry")),
    )
    for table, sibling, draft, columns in bases:
        for column in columns:
            for name, what in (("longer", "one byte longer"), ("shorter", "one byte shorter")):

                def change(record: Any, table: str = table, column: str = column, name: str = name) -> None:
                    data = record[table]["columns"][column]
                    record[table]["columns"][column] = data + b"\x00" if name == "longer" else data[:-1]

                fault = f"The column {column} of {table} is {what} than it has to be."
                shown = f"{table}-{column.replace('_', '-')}-{name}"
                yield bad(shown, fault, sibling, changed(draft, change), ["SCF-MAN-008"])
    more = changed(basic(), lambda record: record["shards"]["columns"].update(offset=bytes(32)))
    yield bad("shards-offset-row-more", "The column offset of shards has one row more.", PLAIN, more, ["SCF-MAN-008"])
