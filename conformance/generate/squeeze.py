"""Frames for large contents that repeat bytes: small enough to be kept, without a compressor."""

from __future__ import annotations

import re
from typing import Final

from .odd_frames import Block, frame, raw, repeated

__all__ = ["repeats", "squeezed"]

MOST: Final = 128 * 1024
_RUNS: Final = re.compile(rb"(?s)(.)\1{63,}")


def repeats(byte: int, count: int) -> list[Block]:
    """So many times one byte."""
    return [repeated(byte, min(MOST, count - at)) for at in range(0, count, MOST)]


def _pieces(data: bytes) -> list[Block]:
    return [raw(data[at : at + MOST]) for at in range(0, len(data), MOST)]


def squeezed(data: bytes) -> bytes:
    """A frame of one segment, in which runs of a byte are blocks of their own."""
    blocks: list[Block] = []
    at = 0
    for run in _RUNS.finditer(data):
        blocks += _pieces(data[at : run.start()]) + repeats(data[run.start()], run.end() - run.start())
        at = run.end()
    blocks += _pieces(data[at:])
    return frame(blocks or [raw(b"")], len(data), width=4)
