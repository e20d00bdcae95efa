"""Section 7.4 and the registry of dtypes: every one bit by bit, elements of less than a byte, and unknown ones."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import dtypes_bits, dtypes_packed, dtypes_unknown

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (dtypes_bits, dtypes_packed, dtypes_unknown):
        yield from module.cases()
