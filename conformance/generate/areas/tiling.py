"""Shards that tile their tensor exactly, and shards that nearly do (section 10.3)."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import tiling_many, tiling_pairs

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (tiling_pairs, tiling_many):
        yield from module.cases()
