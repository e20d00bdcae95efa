"""A store in this process's memory, for tests and for handing checkpoints from one part of a program to another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from pyckpt.errors import LimitExceeded, StoreError, UsageError
from pyckpt.storage.base import AlreadyThere, Bytes, ObjectInfo, ObjectMissing, ObjectShort, check_key, check_prefix
from pyckpt.storage.vectors import byte_views, copy_into, total_bytes

__all__ = ["MemoryReader", "MemoryStore", "MemoryWriter"]


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified: float


@dataclass(frozen=True, slots=True)
class _Space:
    objects: dict[str, _Object] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_spaces: Final[dict[str, _Space]] = {}
_spaces_lock: Final = threading.Lock()


class MemoryStore:
    """What ``memory://name`` leads to: the same objects for everybody in the process who opens that name.

    Further segments of the name are a prefix within the same space, as directories are on a disk.
    """

    parallel_writes = True
    conditional_put = "native"

    def __init__(self, name: str) -> None:
        segments = check_key(name)
        with _spaces_lock:
            self._space = _spaces.setdefault(segments[0], _Space())
        self._base = "".join(f"{segment}/" for segment in segments[1:])
        self.url = f"memory://{name}"

    def __repr__(self) -> str:
        return f"MemoryStore({self.url!r})"

    def _full(self, key: str) -> str:
        check_key(key)
        return self._base + key

    def _object(self, key: str) -> _Object:
        try:
            return self._space.objects[self._full(key)]
        except KeyError:
            raise ObjectMissing(key) from None

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing, LimitExceeded."""
        data = self._object(key).data
        if len(data) > limit:
            raise LimitExceeded("limit.exceeded", f"expected at most {limit} bytes, found {len(data)}", key=key)
        return data

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectMissing, ObjectShort."""
        self.open_reader(key).read_into(offset, views)

    def open_reader(self, key: str) -> MemoryReader:
        """Open an object for many reads. ObjectMissing."""
        return MemoryReader(key, self._object(key).data)

    def create_writer(self, key: str, size: int | None) -> MemoryWriter:  # noqa: ARG002  a hint, of no use here
        """Begin a new object; it is there when the writer is closed. AlreadyThere, now or at the close."""
        if self._full(key) in self._space.objects:
            raise AlreadyThere(key)
        return MemoryWriter(self, key)

    def replace_writer(self, key: str, size: int | None) -> MemoryWriter:  # noqa: ARG002  a hint, of no use here
        """Begin an object that takes the key when it is closed."""
        return MemoryWriter(self, key, replaces=True)

    def put_new(self, key: str, data: Bytes) -> None:
        """Create an object if the key is free. AlreadyThere."""
        full = self._full(key)
        made = _Object(bytes(data), time.time())
        with self._space.lock:
            if self._space.objects.setdefault(full, made) is not made:
                raise AlreadyThere(key)

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace an object."""
        full = self._full(key)
        with self._space.lock:
            self._space.objects[full] = _Object(bytes(data), time.time())

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if there is none."""
        found = self._space.objects.get(self._full(key))
        return None if found is None else ObjectInfo(key, len(found.data), found.modified)

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, sorted."""
        return sorted({info.key[len(prefix) :].partition("/")[0] for info in self.list(prefix)})

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Give all the objects below a prefix, sorted by key, as they are at this moment."""
        check_prefix(prefix)
        full, cut = self._base + prefix, len(self._base)
        with self._space.lock:
            found = [(key, value) for key, value in self._space.objects.items() if key.startswith(full)]
        return (
            ObjectInfo(key[cut:], len(value.data), value.modified)
            for key, value in sorted(found, key=lambda pair: pair[0])
        )

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent is no error."""
        full = self._full(key)
        with self._space.lock:
            self._space.objects.pop(full, None)

    def now(self) -> float:
        """Give this computer's clock."""
        return time.time()

    def clear(self) -> None:
        """Remove every object of this store, and free the memory."""
        with self._space.lock:
            for key in [key for key in self._space.objects if key.startswith(self._base)]:
                del self._space.objects[key]


class MemoryWriter:
    """A new object that grows in memory; thread-safe."""

    alignment = 1

    def __init__(self, store: MemoryStore, key: str, *, replaces: bool = False) -> None:
        self._key = key
        self._publish = store.put if replaces else store.put_new
        self._data = bytearray()
        self._open = True
        self._lock = threading.Lock()

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write the views one after the other from ``offset``."""
        with self._lock:
            if not self._open:
                raise UsageError("usage.invalid", "this writer is closed", key=self._key)
            self._data += bytes(max(0, offset - len(self._data)))
            for view in byte_views(views):
                self._data[offset : offset + len(view)] = view
                offset += len(view)

    def close(self, size: int) -> None:
        """Publish the object with its true size. AlreadyThere; StoreError if fewer bytes were written."""
        with self._lock:
            if not self._open:
                raise UsageError("usage.invalid", "this writer is closed", key=self._key)
            self._open = False
            data, self._data = self._data, bytearray()
        if len(data) < size:
            raise StoreError("store.io", f"expected {size} bytes, but only {len(data)} were written", key=self._key)
        self._publish(self._key, memoryview(data)[:size])

    def abort(self) -> None:
        """Drop what was written."""
        with self._lock:
            self._open = False
            self._data = bytearray()


class MemoryReader:
    """An object of memory, as it was when it was opened; thread-safe."""

    def __init__(self, key: str, data: bytes) -> None:
        self._key = key
        self._data = data
        self.size = len(data)

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectShort."""
        wanted = total_bytes(views)
        found = max(0, min(wanted, self.size - offset))
        if found < wanted:
            raise ObjectShort(self._key, offset, wanted, found)
        copy_into(views, memoryview(self._data)[offset : offset + wanted])

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> MemoryReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
