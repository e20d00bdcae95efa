"""What the modules of the area ``manifest`` share: changes of a manifest, and manifests that are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...oracle.encode import Draft, Record, column
from ..case import Case
from ..forms import refused

__all__ = ["SCHEMA", "Change", "bad", "changed", "col", "drop", "put", "raw_col", "without"]

Change = Callable[[Record], object]
Step = str | int
SCHEMA = "manifest.schema"


def _inner(record: Any, path: Sequence[Step]) -> Any:
    for name in path:
        record = record[name]
    return record


def put(*path: Step, value: Any) -> Change:
    """Sets a value of the manifest, given by its path."""

    def change(record: Record) -> None:
        _inner(record, path[:-1])[path[-1]] = value

    return change


def without(*path: Step) -> Change:
    """Removes a key of the manifest."""

    def change(record: Record) -> None:
        del _inner(record, path[:-1])[path[-1]]

    return change


def col(name: str, kind: str, values: Sequence[int]) -> Change:
    """Sets a column of the shard table: ``kind`` u16, u32 or u64."""
    return put("shards", "columns", name, value=column(kind, values))


def raw_col(name: str, data: bytes) -> Change:
    """Sets a column of the shard table to these bytes."""
    return put("shards", "columns", name, value=data)


def drop(*names: str) -> list[Change]:
    """Removes columns of the shard table."""
    return [without("shards", "columns", name) for name in names]


def changed(draft: Draft, *changes: Change) -> Draft:
    """The draft with changes of the manifest of ``model``."""

    def change(record: Record) -> None:
        for each in changes:
            each(record)

    return draft.with_item("model", record=change)


def bad(
    name: str,
    fault: str,
    sibling: str,
    draft: Draft,
    requirements: Sequence[str],
    codes: str | Sequence[str] = SCHEMA,
    **members: Any,
) -> Case:
    """A manifest that is refused when its item is opened."""
    title = f"Manifest: {fault[0].lower()}{fault[1:-1]}"
    return refused(f"manifest-{name}", title, fault, codes, requirements, sibling, draft, **members)
