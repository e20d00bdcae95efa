"""Columns: tables as one little-endian array per field, checked before use and never turned into Python objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyckpt.errors import Corrupt
from pyckpt.format.show import show
from pyckpt.limits import MAX_INT

__all__ = [
    "Counts",
    "Int64s",
    "Numbers",
    "as_column",
    "read_column",
    "read_counts",
    "read_table",
    "starts_of",
    "text_at",
]

Numbers = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint16]

_WIRE: Final = {"u8": "|u1", "u16": "<u2", "u32": "<u4", "u64": "<i8"}
"""u64 columns never exceed 2^63-1, so that they are read as signed: sums and differences then need no conversion."""


def read_table(value: object, *, what: str, max_count: int) -> tuple[int, Mapping[str, bytes]]:
    """Row count and columns of ``{count, columns: {name: bin}}``. Raises Corrupt manifest.schema."""
    if type(value) is not dict:
        raise _corrupt(what, "is not a map")
    count, columns = value.get("count"), value.get("columns")
    if type(count) is not int or not 0 <= count <= max_count:
        raise _corrupt(what, f"count is {show(count)}, expected 0 .. {max_count}")
    if type(columns) is not dict:
        raise _corrupt(what, "columns is not a map")
    for name, data in columns.items():
        if type(name) is not str or type(data) is not bytes:
            raise _corrupt(what, f"column {show(name)} is not a named byte array")
    return count, columns


def read_column(columns: Mapping[str, bytes], name: str, kind: str, count: int, *, what: str) -> Numbers:
    """The column's ``count`` numbers (``u8``, ``u16``, ``u32``, or ``u64`` as int64), without a copy."""
    data = columns.get(name)
    dtype = np.dtype(_WIRE[kind])
    if data is None:
        raise _corrupt(what, f"the column {name!r} is missing")
    if len(data) != count * dtype.itemsize:
        raise _corrupt(what, f"the column {name!r} has {len(data)} bytes, expected {count} x {dtype.itemsize}")
    numbers: Numbers = np.frombuffer(data, dtype=dtype)
    if kind == "u64" and count and int(numbers.min()) < 0:
        raise _corrupt(what, f"the column {name!r} has a number above 2^63-1")
    return numbers


def read_counts(columns: Mapping[str, bytes], sizes: str, blob: str, count: int, *, what: str) -> tuple[Numbers, bytes]:
    """A u16 column of sizes and the bytes that it cuts up, as names are kept."""
    numbers = read_column(columns, sizes, "u16", count, what=what)
    data = columns.get(blob)
    total = int(numbers.sum(dtype=np.int64))
    if data is None or len(data) != total:
        found = "nothing" if data is None else f"{len(data)} bytes"
        raise _corrupt(what, f"the column {blob!r} has {found}, expected {total} bytes")
    return numbers, data


def as_column(numbers: npt.ArrayLike, kind: str) -> bytes:
    """The numbers as they are stored. Raises Corrupt if one does not fit, which a caller's own table never shows."""
    array = np.asarray(numbers)
    if array.size:
        low, high = int(array.min()), int(array.max())
        limit = MAX_INT if kind == "u64" else 2 ** int(kind[1:]) - 1
        if low < 0 or high > limit:
            raise _corrupt("column", f"a {kind} number is {low if low < 0 else high}, expected 0 .. {limit}")
    return array.astype(_WIRE[kind], copy=False).tobytes()


def starts_of(sizes: npt.ArrayLike) -> Int64s:
    """Where each of consecutive parts begins, and where the last one ends: one number more than there are sizes."""
    sizes = np.asarray(sizes)
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, dtype=np.int64, out=starts[1:])
    return starts


def text_at(blob: bytes, starts: Int64s, index: int, *, what: str) -> str:
    """One string out of many that lie one after the other. Raises Corrupt manifest.schema if it is not UTF-8."""
    part = blob[int(starts[index]) : int(starts[index + 1])]
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        raise _corrupt(what, f"name {index} is not valid UTF-8: {error.reason}") from None


def _corrupt(what: str, message: str) -> Corrupt:
    return Corrupt("manifest.schema", f"{what}: {message}")
