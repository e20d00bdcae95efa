"""The header of a data object: a strict profile of safetensors, written so that any safetensors reader opens it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from pyckpt.errors import Corrupt, LimitExceeded, UsageError
from pyckpt.format.dtypes import DTYPES, dtype_of
from pyckpt.format.geometry import Ints, Region
from pyckpt.format.json_strict import parse_json
from pyckpt.limits import DATA_ALIGNMENT, MAX_DIMS, MAX_HEADER_BYTES, MAX_INT

__all__ = ["ENCODED", "LENGTH_BYTES", "Entry", "build_header", "entry_form", "header_size", "parse_header"]

LENGTH_BYTES: Final = 8
"""The object begins with the length of the header's JSON, u64."""
ENCODED: Final = "U8"
"""The dtype under which encoded shards are listed."""

_METADATA: Final = "__metadata__"
_MAX_DEPTH: Final = 4
_MEMBERS: Final = frozenset({"dtype", "shape", "data_offsets"})
_BITS: Final = {dtype.name: dtype.bits for dtype in DTYPES.values() if dtype.name == dtype.container}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the header."""

    name: str
    dtype: str
    shape: Ints
    begin: int
    """First byte, counted from where the data begins."""
    end: int


def entry_form(dtype: str, region: Region, *, encoded: bool, stored_size: int) -> tuple[str, Ints]:
    """Dtype and shape under which the header lists a shard: what a reader without the manifest can make of it."""
    if encoded:
        return ENCODED, (stored_size,)
    known = dtype_of(dtype)
    shape = region.box.size if region.is_whole_run else (region.elements,)
    return known.container, (*shape, known.lanes) if known.lanes > 1 else shape


def build_header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of the object, up to where the data begins: length, JSON, and spaces to a multiple of 4096.

    Raises UsageError for entries that do not lie one after the other from 0 under distinct names, LimitExceeded.
    """
    position = 0
    record: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    expected = len(record) + len(entries)
    for entry in entries:
        if entry.begin != position or entry.end < position or entry.name == _METADATA:
            found = f"[{entry.begin}, {entry.end})"
            raise UsageError("usage.invalid", f"expected an entry from {position}, found {found}", key=entry.name)
        position = entry.end
        record[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (entry.begin, position)}
    if len(record) != expected:
        raise UsageError("usage.invalid", "two entries have the same name")
    try:
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), check_circular=False).encode()
    except UnicodeEncodeError:
        raise UsageError("usage.invalid", "a name or value with a lone surrogate, which UTF-8 can't say") from None
    size = -(-(LENGTH_BYTES + len(text)) // DATA_ALIGNMENT) * DATA_ALIGNMENT - LENGTH_BYTES
    if size > MAX_HEADER_BYTES:
        raise LimitExceeded("limit.exceeded", f"a header of {size} bytes, at most {MAX_HEADER_BYTES}")
    return size.to_bytes(LENGTH_BYTES, "little") + text.ljust(size, b" ")


def header_size(first: bytes, object_size: int) -> int:
    """Bytes before the data, from the object's first 8; bounded before anything is read for it."""
    if len(first) < LENGTH_BYTES or object_size < LENGTH_BYTES:
        raise _corrupt(f"{min(len(first), object_size)} bytes, too short for a header")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    total = LENGTH_BYTES + length
    if length > MAX_HEADER_BYTES or total > object_size:
        raise _corrupt(f"a header of {length} bytes in an object of {object_size}, at most {MAX_HEADER_BYTES}")
    if total % DATA_ALIGNMENT:
        raise _corrupt(f"data begins at {total}, which is no multiple of {DATA_ALIGNMENT}")
    return total


def parse_header(data: bytes, object_size: int) -> tuple[dict[str, str], tuple[Entry, ...]]:
    """Metadata and entries from the bytes before the data. Raises Corrupt (object.header) for all else."""
    total = header_size(data, object_size)
    if len(data) != total:
        raise _corrupt(f"{len(data)} bytes of {total}")
    text = data[LENGTH_BYTES:].rstrip(b" ")
    if not text.startswith(b"{") or not text.endswith(b"}"):
        raise _corrupt("is not a JSON object padded with spaces")
    record = parse_json(text, max_bytes=MAX_HEADER_BYTES, max_depth=_MAX_DEPTH, code="object.header")
    if not isinstance(record, dict):
        raise _corrupt("is not a JSON object")
    metadata = record.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt("__metadata__ is not an object of strings")
    entries = []
    position = 0
    for name, value in record.items():
        entry = _entry(name, value, position)
        position = entry.end
        entries.append(entry)
    if position != object_size - total:
        raise _corrupt(f"entries end at {position}, the data at {object_size - total}")
    return metadata, tuple(entries)


def _entry(name: str, value: Any, position: int) -> Entry:
    if type(value) is not dict or value.keys() != _MEMBERS:
        raise _corrupt(f"entry {name!r:.200} is not exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if type(dtype) is not str or not _are_ints(shape) or len(shape) > MAX_DIMS or not _are_ints(offsets):
        raise _corrupt(f"entry {name!r:.200} has a dtype, shape or offsets of the wrong type")
    if len(offsets) != 2 or offsets[0] != position or offsets[1] < position:
        raise _corrupt(f"entry {name!r:.200} lies at {offsets!r:.200}, expected to begin at {position}")
    bits = _BITS.get(dtype)
    # a dtype that is newer than this library takes what room it says
    if bits is not None and prod(shape) * bits != 8 * (offsets[1] - position):
        raise _corrupt(f"entry {name!r:.200} has {offsets[1] - position} bytes, not what {dtype} {shape!r:.200} takes")
    return Entry(name, dtype, tuple(shape), position, offsets[1])


def _are_ints(value: Any) -> bool:
    if type(value) is not list:
        return False
    return not value or (set(map(type, value)) == {int} and min(value) >= 0 and max(value) <= MAX_INT)


def _corrupt(message: str) -> Corrupt:
    return Corrupt("object.header", f"the header: {message}")
