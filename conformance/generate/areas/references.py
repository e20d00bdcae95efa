"""Section 13.6 as a reader sees it: objects and items of another checkpoint of the same store."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import references_items, references_objects

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (references_objects, references_items):
        yield from module.cases()
