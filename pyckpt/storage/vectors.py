"""Lists of byte views, as scattered reads and gathered writes take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["MAX_VIEWS", "byte_views", "copy_into", "rest_of", "total_bytes"]

MAX_VIEWS: Final = 1024
"""IOV_MAX on Linux: most views that one preadv or pwritev takes."""


def byte_views(views: Sequence[memoryview]) -> list[memoryview]:
    """Give the same memory as flat views of bytes, empty ones left out."""
    return [v if v.format == "B" and v.ndim == 1 else v.cast("B") for v in views if v.nbytes]


def total_bytes(views: Sequence[memoryview]) -> int:
    """Give the bytes of all the views together."""
    return sum(v.nbytes for v in views)


def rest_of(views: list[memoryview], done: int) -> list[memoryview]:
    """Give what is left of flat views once their first ``done`` bytes are through."""
    for position, view in enumerate(views):
        if done < len(view):
            return [view[done:], *views[position + 1 :]] if done else views[position:]
        done -= len(view)
    return []


def copy_into(views: Sequence[memoryview], data: bytes | bytearray | memoryview) -> None:
    """Fill the views one after the other from ``data``, which must hold as many bytes."""
    source = memoryview(data)
    position = 0
    for view in byte_views(views):
        view[:] = source[position : position + len(view)]
        position += len(view)
