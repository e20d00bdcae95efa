"""The area ``stores``: what stores promise, and what is to be done when they fail (chapter 4)."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import stores_reading, stores_writing

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    yield from stores_reading.cases()
    yield from stores_writing.cases()
