"""Chapter 9 as a deep verification sees it: data objects, their headers, and the bytes that shards claim."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import objects_carried, objects_entries, objects_header, objects_valid

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (objects_valid, objects_header, objects_entries, objects_carried):
        yield from module.cases()
