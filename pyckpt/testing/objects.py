"""What the tests of stores write, and how they ask."""

from __future__ import annotations

import mmap
import random
from collections.abc import Callable
from typing import Final

from pyckpt.storage.base import ObjectWriter, Store

__all__ = ["LIMIT", "aligned", "outcome", "pattern", "refuses", "write_object", "write_whole"]

LIMIT: Final = 1 << 30
"""More than any object of the tests has."""


def pattern(size: int) -> bytes:
    """Give bytes in which no range looks like another, the same at every call."""
    return random.Random(size).randbytes(size)  # noqa: S311  a pattern, not a secret


def refuses(error: type[BaseException], call: Callable[[], object]) -> None:
    """Check that a call raises this error."""
    try:
        call()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}, but the call succeeded")


def outcome(call: Callable[[], object]) -> BaseException | None:
    """Give what a call raises: in a thread, to be told by the test."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001
        return error
    return None


def write_object(store: Store, key: str, data: bytes, *, step: int = 1 << 16) -> None:
    """Write an object in steps of so many bytes, through aligned memory and padded where the writer asks for it."""
    write_whole(store.create_writer(key, len(data)), data, step=step)


def write_whole(writer: ObjectWriter, data: bytes, *, step: int = 1 << 16) -> None:
    """Write all of an object and close it; abort it where that fails."""
    try:
        _write_steps(writer, data, step)
        writer.close(len(data))
    except BaseException:
        writer.abort()
        raise


def _write_steps(writer: ObjectWriter, data: bytes, step: int) -> None:
    unit = writer.alignment
    step = -(-step // unit) * unit
    for offset in range(0, len(data), step):
        piece = data[offset : offset + step]
        size = -(-len(piece) // unit) * unit
        view = aligned(size, unit)
        view[: len(piece)] = piece
        half = size // 2 // unit * unit
        writer.write(offset, [view[:half], view[half:]])


def aligned(size: int, unit: int) -> memoryview:
    """Give memory whose address is a multiple of ``unit``, which divides the size of a page."""
    if unit == 1:
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, max(size, unit)))[:size]
