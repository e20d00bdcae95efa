"""What the engine asks of a store: a flat namespace of keys, each with bytes that are written once.

A key is one or more segments joined by ``/``. Stores know no directories, no rename and no append.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeAlias

from pyckpt.errors import InvalidKey, LimitExceeded, StoreError
from pyckpt.storage.vectors import total_bytes

__all__ = [
    "AlreadyThere",
    "Bytes",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectReader",
    "ObjectShort",
    "ObjectWriter",
    "Store",
    "check_key",
    "check_prefix",
    "is_reserved",
    "range_bytes",
    "read_whole",
]

Bytes: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes that a store may read during the call and must not keep."""


class ObjectMissing(FileNotFoundError):
    """The store has no object under this key; callers turn it into the error that fits what they looked for."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"no object {key!r} in the store")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key,)


class AlreadyThere(FileExistsError):
    """A create-if-absent found the key taken; what is stored there was not touched."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the store already has an object {key!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key,)


class ObjectShort(EOFError):
    """The object ends before the range that was asked for does."""

    def __init__(self, key: str, offset: int, wanted: int, found: int) -> None:
        self.key = key
        self.offset = offset
        self.wanted = wanted
        self.found = found
        super().__init__(f"object {key!r}: expected {wanted} bytes at offset {offset}, found {found}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key, self.offset, self.wanted, self.found)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing shows it."""

    key: str
    """Relative to the store."""
    size: int
    """Bytes."""
    modified: float
    """When it was written, in seconds since 1970 on the store's own clock."""


class ObjectWriter(Protocol):
    """A new object being written; it is there, whole and durable, when ``close`` has returned."""

    @property
    def alignment(self) -> int:
        """Bytes of which every offset, address and length handed to ``write`` must be a multiple; 1 = anything goes.

        The last write of the object is padded by the caller, and ``close`` cuts the padding off.
        """

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write the views one after the other from ``offset``.

        Thread-safe where the store has ``parallel_writes``; elsewhere calls must come in ascending order without holes.
        """

    def close(self, size: int) -> None:
        """Give the object its true size and make it durable."""

    def abort(self) -> None:
        """Drop the object as far as the store can; never raises for what is gone already."""


class ObjectReader(Protocol):
    """An open object; thread-safe."""

    @property
    def size(self) -> int:
        """Bytes in the object."""

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range; ObjectShort if the object ends before."""

    def close(self) -> None:
        """Release what is held open."""

    def __enter__(self) -> ObjectReader: ...  # noqa: PYI034  typing.Self needs Python 3.11

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Store(Protocol):
    """A flat namespace key -> bytes.

    Every call raises InvalidKey for a key outside ``check_key`` and StoreError (``store.io``) where the store fails.
    """

    @property
    def url(self) -> str:
        """What ``open_store`` would open this store by."""

    @property
    def parallel_writes(self) -> bool:
        """Whether one object may be written by several threads, in any order."""

    @property
    def conditional_put(self) -> str:
        """``native`` if create-if-absent is atomic; ``emulated`` if two writers at the same moment may both succeed."""

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing; LimitExceeded, before memory is taken, if it is larger than limit."""

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectMissing, ObjectShort."""

    def open_reader(self, key: str) -> ObjectReader:
        """Open an object for many reads. ObjectMissing."""

    def create_writer(self, key: str, size: int | None) -> ObjectWriter:
        """Begin a new object under a name that was never used; ``size``, if known, is only a hint.

        AlreadyThere where the store can tell; others replace silently.
        """

    def replace_writer(self, key: str, size: int | None) -> ObjectWriter:
        """Begin an object that takes the key when it is closed, in one step, whatever lies there until then.

        For bytes that were chosen by somebody else, such as a copy's: what a process that died has left is overwritten,
        and nobody ever sees a part of the new object.
        """

    def put_new(self, key: str, data: Bytes) -> None:
        """Create a small object if the key is free, durable on return. AlreadyThere."""

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace a small object as one step, durable on return."""

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if there is none."""

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, sorted, by one delimited listing."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Give all the objects below a prefix (empty, or ending with ``/``), sorted by key."""

    def delete(self, key: str) -> None:
        """Remove an object, durably; one that is absent is no error."""

    def now(self) -> float:
        """Give the store's own clock, which ``ObjectInfo.modified`` is told by, in seconds since 1970."""


def range_bytes(key: str, size: int, offset: int, views: Sequence[memoryview]) -> int:
    """Give the bytes that the views take from ``offset`` on. ObjectShort if an object of ``size`` ends before."""
    wanted = total_bytes(views)
    if offset + wanted > size:
        raise ObjectShort(key, offset, wanted, max(0, size - offset))
    return wanted


def read_whole(reader: ObjectReader, key: str, limit: int) -> bytes:
    """Give all bytes of an open object.

    LimitExceeded, before memory is taken, if there are more than ``limit``; StoreError if the store gives fewer than it
    said.
    """
    if reader.size > limit:
        raise LimitExceeded("limit.exceeded", f"expected at most {limit} bytes, found {reader.size}", key=key)
    data = bytearray(reader.size)
    try:
        reader.read_into(0, [memoryview(data)])
    except ObjectShort as error:
        raise StoreError("store.io", f"the store gave less than it said: {error}", key=key) from error
    return bytes(data)


_RESERVED = re.compile(r"\.(?:tmp|probe)-[0-9a-f]{16}\Z")
_FORBIDDEN = re.compile(r"[/\\\x00\ud800-\udfff]")


def is_reserved(name: str) -> bool:
    """Tell whether a last segment is one that stores keep for their own temporary files and probes."""
    return _RESERVED.match(name) is not None


def check_key(key: str) -> tuple[str, ...]:
    """Give the segments of a key. InvalidKey for what could leave the store or means different things to stores.

    The grammar of checkpoints' keys is narrower; this is what a store itself depends on.
    """
    segments = tuple(key.split("/"))
    for segment in segments:
        if segment in ("", ".", "..") or _FORBIDDEN.search(segment):
            raise InvalidKey(
                "key.invalid",
                f"expected non-empty segments other than '.' and '..' without backslash or NUL, found {segment!r}",
                key=ascii(key),
            )
    if is_reserved(segments[-1]):
        raise InvalidKey("key.invalid", "names of this form are the store's own temporary objects", key=key)
    return segments


def check_prefix(prefix: str) -> tuple[str, ...]:
    """Give the segments of a prefix, none for the whole store. InvalidKey unless it is empty or ends with ``/``."""
    if not prefix:
        return ()
    if not prefix.endswith("/"):
        raise InvalidKey("key.invalid", "expected a prefix that is empty or ends with '/'", key=ascii(prefix))
    return check_key(prefix[:-1])
