"""Chapter 12: digests of blocks and headers, objects that are gone, and what a verification finds."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import integrity_blocks, integrity_objects, integrity_store, integrity_verify

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (integrity_blocks, integrity_objects, integrity_verify, integrity_store):
        yield from module.cases()
