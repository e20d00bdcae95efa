"""What it costs to believe a size that somebody else states."""

from __future__ import annotations

from typing import Final

__all__ = ["claimed"]

_MOST: Final = 1 << 29
"""No machine is brought down for a mutant."""


def claimed(size: int) -> int:
    """Take as much memory as is claimed, for a moment."""
    return len(b"\1" * min(size, _MOST))
