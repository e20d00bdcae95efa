"""The area ``sharded``: saves of several writers."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import sharded_layouts, sharded_refused

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    yield from sharded_layouts.cases()
    yield from sharded_refused.cases()
