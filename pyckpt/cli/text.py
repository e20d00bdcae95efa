"""Values as short text for people; names and values come from strangers, and no control character gets through."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pyckpt.format.show import show
from pyckpt.format.tree import DTypeName, Timestamp

__all__ = [
    "TIMES",
    "age_text",
    "clean",
    "clip",
    "count",
    "duration_text",
    "size_text",
    "time_text",
    "type_name",
    "value_text",
]

TIMES: Final = "\N{MULTIPLICATION SIGN}"
_LONG: Final = 4096
"""Characters of a text that are looked at; nobody reads more of one value."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SPANS: Final = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_CREATED: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d)(?:\.\d+)?Z")
_TYPES: Final = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"), (bytes, "bytes"), (complex, "complex"))


def clean(text: str) -> str:
    """The text with what can't be printed (controls, escapes, bidirectional marks, surrogates) as Python escapes it."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])


def clip(text: str, width: int) -> str:
    """The text cut to ``width`` characters, at least one, with ``…`` where something is left out."""
    return text if len(text) <= max(1, width) else text[: max(1, width) - 1] + "…"


def size_text(size: int) -> str:
    """Bytes as people write them: ``512 B``, ``4.0 KiB``, ``13.5 GiB``."""
    if size < 1024:
        return f"{size} B"
    value, unit = float(size), 0
    while value >= 1023.95 and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"


def count(number: int, noun: str) -> str:
    """``1 tensor``, ``1,024 tensors``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """``1 day``, ``90 minutes``: in the largest unit of which it is a whole number."""
    for unit, name in _SPANS:
        if seconds and seconds % unit == 0:
            return count(int(seconds // unit), name)
    return f"{seconds:g} seconds"


def age_text(created: str, now: dt.datetime) -> str:
    """How long ago a root was created, in one unit: ``45 s``, ``12 min``, ``5 h``, ``3 d``; empty for no known time."""
    try:
        seconds = (now - dt.datetime.fromisoformat(created.replace("Z", "+00:00"))).total_seconds()
    except (ValueError, TypeError):
        return ""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        # Twice the unit: 90 minutes are more of an answer than one hour.
        if seconds >= 2 * unit or (unit == 1 and seconds >= 1):
            return f"{int(seconds // unit)} {name}"
    return "now"


def time_text(created: str, *, seconds: bool = False) -> str:
    """A root's time of creation, shorter: ``2026-01-31 09:30 UTC``."""
    match = _CREATED.fullmatch(created)
    if match is None:
        return clean(created)
    return f"{match[1]} {match[2]}{match[3] if seconds else ''} UTC"


def type_name(value: object) -> str:
    """What a leaf of a tree is, in a word."""
    if value is None:
        return "none"
    if isinstance(value, DTypeName):
        return "dtype"
    if isinstance(value, dt.datetime | Timestamp):
        return "time"
    if isinstance(value, AbstractSet):
        return "set"
    if isinstance(value, tuple):
        return "tuple"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "list"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), type(value).__name__)


def value_text(value: object, width: int = 60) -> str:
    """A scalar, or a list or set of scalars, on one line of about ``width`` characters."""
    if isinstance(value, bytes):
        return size_text(len(value))
    if isinstance(value, str):
        quoted = f'"{clean(value[:_LONG])}"' if len(value) <= _LONG else f'"{clean(value[:width])}…"'
        return clip(quoted, width)
    if isinstance(value, DTypeName):
        return clean(value.name)
    if isinstance(value, Timestamp):
        return f"{value.seconds} s after 1970"
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, float | complex):
        return repr(value)
    if isinstance(value, AbstractSet):
        return _series(value, "{}", width)
    if isinstance(value, list | tuple):
        return _series(value, "()" if isinstance(value, tuple) else "[]", width)
    return show(value)


def _series(values: Collection[Any], brackets: str, width: int) -> str:
    """All the values if there is room, else how many there are and the first of them."""
    shown: list[str] = []
    room = width - 2
    for value in sorted(values) if isinstance(values, AbstractSet) else values:
        shown.append(value_text(value, max(8, width // 2)))
        room -= len(shown[-1]) + 2
        if room < 0:
            return f"{len(values):,} values: {', '.join(shown)}, …"
    return f"{brackets[0]}{', '.join(shown)}{brackets[1]}"
