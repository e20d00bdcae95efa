"""Chapter 7: the stored form of a manifest, its profile, its tables."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import man_blocks, man_frame, man_names, man_shard_columns, man_shards, man_syntax, man_tensors, man_top

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (man_frame, man_syntax, man_top, man_names, man_tensors, man_shards, man_shard_columns, man_blocks):
        yield from module.cases()
