"""The area ``lifecycle``: deletion, collection, copies."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import lifecycle_copy, lifecycle_delete, lifecycle_gc, lifecycle_gc_refused

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    for module in (lifecycle_delete, lifecycle_gc, lifecycle_gc_refused, lifecycle_copy):
        yield from module.cases()
