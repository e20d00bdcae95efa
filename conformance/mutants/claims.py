"""What it costs to believe a size that somebody else states."""

from __future__ import annotations

from typing import Final

import zstandard

__all__ = ["claimed", "unfolded"]

_MOST: Final = 1 << 29
"""No machine is brought down for a mutant."""


def claimed(size: int) -> int:
    """Take as much memory as is claimed, for a moment."""
    return len(b"\1" * min(size, _MOST))


def unfolded(frame: bytes) -> int:
    """Decompress a frame, however much that is, and keep all of it for a moment."""
    parts = []
    size = 0
    with zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(frame) as reader:
        while size < _MOST:
            try:
                part = reader.read(1 << 20)
            except zstandard.ZstdError:
                break
            if not part:
                break
            parts.append(part)
            size += len(part)
    return size
