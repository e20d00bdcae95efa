"""The header of a safetensors file that anybody may have written: any order, any alignment; pure.

``pyckpt.format.safetensors`` has the strict profile of our own data objects. Here passes what the reference library
accepts, less what parsers disagree about or no manifest can say: entries of one name, entries as arrays, empty names.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from pyckpt.errors import Corrupt, Unsupported
from pyckpt.format.dtypes import DTYPES
from pyckpt.format.json_strict import parse_json
from pyckpt.format.safetensors import LENGTH_BYTES, Entry
from pyckpt.limits import MAX_DIMS, MAX_HEADER_BYTES, MAX_INT, MAX_NAME_BYTES

__all__ = ["header_bytes", "parse_header"]

_METADATA: Final = "__metadata__"
_MAX_DEPTH: Final = 64
_BITS: Final = {dtype.name: dtype.bits for dtype in DTYPES.values() if dtype.name == dtype.container}
"""Dtypes that a header can name."""


def header_bytes(first: bytes, file_size: int, key: str) -> int:
    """Bytes before the data, from a file's first 8. Raises Corrupt ``object.header`` before anything is read for it."""
    if len(first) < LENGTH_BYTES or file_size < LENGTH_BYTES:
        raise _corrupt(key, f"the file has {min(len(first), file_size)} bytes, too few for a header")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES or length > file_size - LENGTH_BYTES:
        raise _corrupt(key, f"{length} bytes of header in a file of {file_size}, at most {MAX_HEADER_BYTES}")
    return LENGTH_BYTES + length


def parse_header(data: bytes, file_size: int, key: str) -> tuple[Entry, ...]:
    """The entries, in the order in which they lie, of a header with its length; ``key`` names the file in messages.

    They cover the data exactly. Raises Corrupt ``object.header``, Unsupported ``dtype.unsupported``.
    """
    start = header_bytes(data[:LENGTH_BYTES], file_size, key)
    if len(data) != start:
        raise _corrupt(key, f"{len(data)} bytes of {start}")
    record = parse_json(
        data[LENGTH_BYTES:], max_bytes=MAX_HEADER_BYTES, max_depth=_MAX_DEPTH, code="object.header", key=key
    )
    if not isinstance(record, dict):
        raise _corrupt(key, "the header is not a JSON object")
    metadata = record.pop(_METADATA, None)
    if metadata is not None and not _is_text_map(metadata):
        raise _corrupt(key, "__metadata__ is not an object of strings")
    entries = sorted((_entry(name, value, key) for name, value in record.items()), key=lambda e: (e.begin, e.end))
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise _corrupt(key, f"entry {entry.name!r:.200} begins at {entry.begin}, expected {position}")
        position = entry.end
    if position != file_size - start:
        raise _corrupt(key, f"entries end at {position}, the data at {file_size - start}")
    return tuple(entries)


def _entry(name: str, value: Any, key: str) -> Entry:
    if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        raise _corrupt(key, f"an entry whose name has {len(name.encode())} bytes, expected 1 to {MAX_NAME_BYTES}")
    if type(value) is not dict or not value.keys() >= {"dtype", "shape", "data_offsets"}:
        raise _corrupt(key, f"entry {name!r:.200} has no dtype, shape or data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if type(dtype) is not str or not _are_ints(shape) or not _are_ints(offsets) or len(offsets) != 2:
        raise _corrupt(key, f"entry {name!r:.200} has a dtype, shape or data_offsets of the wrong type")
    if len(shape) > MAX_DIMS:
        raise _corrupt(key, f"entry {name!r:.200} has {len(shape)} dimensions, at most {MAX_DIMS}")
    begin, end = offsets
    if begin > end:
        raise _corrupt(key, f"entry {name!r:.200} ends at {end}, before it begins at {begin}")
    bits = _BITS.get(dtype)
    if bits is None:
        expected = ", ".join(_BITS)
        raise Unsupported("dtype.unsupported", f"{name!r:.200} is {dtype!r:.40}, expected one of {expected}", key=key)
    # Sizes of 0 are left out of the bound: without them the product is that of numbers that something has to hold.
    if prod(size or 1 for size in shape) * bits > MAX_INT or prod(shape) * bits != 8 * (end - begin):
        raise _corrupt(key, f"entry {name!r:.200} has {end - begin} bytes, not what {dtype} {shape!r:.200} takes")
    return Entry(name, dtype, tuple(shape), begin, end)


def _are_ints(value: Any) -> bool:
    if type(value) is not list:
        return False
    return not value or (set(map(type, value)) == {int} and min(value) >= 0 and max(value) <= MAX_INT)


def _is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _corrupt(key: str, message: str) -> Corrupt:
    return Corrupt("object.header", message, key=key)
