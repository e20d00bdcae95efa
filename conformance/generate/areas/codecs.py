"""Chapter 11: codec chains, zstd frames and planes."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import codecs_bombs, codecs_chains, codecs_planes, codecs_zstd, codecs_zstd_refused

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (codecs_zstd, codecs_zstd_refused, codecs_planes, codecs_bombs, codecs_chains):
        yield from module.cases()
