"""Where two byte strings differ, as rows of hexadecimal; what was put in or left out shifts the rest and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["hex_difference"]

_ROW: Final = 16
_FARTHEST: Final = 80
"""Bytes that are looked at for the place where both go on alike: more than a digest in hexadecimal."""
_ALIKE: Final = 8
_MOST_ROWS: Final = 48

Hunk = tuple[int, int, int, int]
"""[a, b) of the old bytes became [c, d) of the new ones."""


def hex_difference(old: bytes, new: bytes) -> Iterator[str]:
    """Lines ``- offset  bytes  text`` of the old bytes and ``+ …`` of the new; at most a screenful."""
    shown = 0
    for hunk in _joined(_hunks(old, new)):
        for line in _shown(old, new, hunk):
            if shown == _MOST_ROWS:
                yield "  … and more"
                return
            shown += 1
            yield line


def _hunks(old: bytes, new: bytes) -> Iterator[Hunk]:
    a = c = 0
    while True:
        while a < len(old) and c < len(new) and old[a] == new[c]:
            a, c = a + 1, c + 1
        if a == len(old) and c == len(new):
            return
        b, d = _alike(old, new, a, c) or _rest(old, new, a, c)
        yield a, b, c, d
        a, c = b, d


def _alike(old: bytes, new: bytes, a: int, c: int) -> tuple[int, int] | None:
    """The nearest places from which both go on alike; bytes replaced by as many are preferred."""
    for total in range(1, 2 * _FARTHEST + 1):
        for removed in sorted(range(total + 1), key=lambda each: abs(2 * each - total)):
            b, d = a + removed, c + total - removed
            if b > len(old) or d > len(new):
                continue
            ends = b == len(old) and d == len(new)
            if ends or (old[b : b + _ALIKE] == new[d : d + _ALIKE] and b + _ALIKE <= len(old)):
                return b, d
    return None


def _rest(old: bytes, new: bytes, a: int, c: int) -> tuple[int, int]:
    """The places from which both have the same end."""
    b, d = len(old), len(new)
    while b > a and d > c and old[b - 1] == new[d - 1]:
        b, d = b - 1, d - 1
    return b, d


def _joined(hunks: Iterator[Hunk]) -> Iterator[Hunk]:
    """Hunks that would show the same row are one."""
    last: Hunk | None = None
    for hunk in hunks:
        if last is not None and hunk[0] // _ROW <= last[1] // _ROW:
            last = (last[0], hunk[1], last[2], hunk[3])
            continue
        if last is not None:
            yield last
        last = hunk
    if last is not None:
        yield last


def _shown(old: bytes, new: bytes, hunk: Hunk) -> Iterator[str]:
    a, b, c, d = hunk
    yield from (f"- {line}" for line in _rows(old, a, b))
    yield from (f"+ {line}" for line in _rows(new, c, d))


def _rows(data: bytes, begin: int, end: int) -> Iterator[str]:
    """The rows that hold [begin, end); of nothing the row at which it would be."""
    for at in range(begin // _ROW * _ROW, max(end, begin + 1), _ROW):
        row = data[at : at + _ROW]
        if row:
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
            yield f"{at:08x}  {row.hex(' '):<47}  {text}"
