"""One object of an fsspec filesystem: being written, being read, and the errors of either."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from pyckpt.errors import PyckptError, StoreError, UsageError
from pyckpt.storage.base import AlreadyThere, ObjectInfo, ObjectMissing, ObjectShort, range_bytes
from pyckpt.storage.vectors import byte_views, copy_into

__all__ = ["FsspecReader", "FsspecWriter", "object_info", "translated"]


_NOT_FOUND: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FsspecWriter:
    """A new object, uploaded in parts as it grows; the parts of a killed writer stay until the bucket drops them."""

    alignment = 1

    def __init__(self, fs: AbstractFileSystem, path: str, key: str, file: Any) -> None:
        self._fs = fs
        self._path = path
        self._key = key
        self._file = file
        self._position = 0

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Append the views. UsageError unless ``offset`` is where the last write ended."""
        if self._file is None:
            raise UsageError("usage.invalid", "this writer is closed", key=self._key)
        if offset != self._position:
            raise UsageError(
                "usage.invalid",
                f"this store is written in order: expected offset {self._position}, found {offset}",
                key=self._key,
            )
        with translated(self._key, f"writing at offset {offset}", writing=True):
            for view in byte_views(views):
                self._file.write(view)
                self._position += len(view)

    def close(self, size: int) -> None:
        """Complete the upload. StoreError, and then there is no object."""
        if self._file is None:
            raise UsageError("usage.invalid", "this writer is closed", key=self._key)
        try:
            with translated(self._key, "completing the upload", writing=True):
                self._complete(size)
        except BaseException:
            self.abort()
            raise
        self._file = None
        self._fs.invalidate_cache()

    def _complete(self, size: int) -> None:
        if size != self._position:
            raise EOFError(f"expected {size} bytes, but {self._position} were written")
        self._file.close()

    def abort(self) -> None:
        """Drop the upload as far as the filesystem can."""
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(Exception):
            file.discard()
        with contextlib.suppress(Exception):
            if isinstance(file, AbstractBufferedFile):
                # Otherwise its finalizer would complete the upload.
                file.closed = True
            else:
                file.close()
                self._fs.rm_file(self._path)


class FsspecReader:
    """An object of known size; thread-safe, as each read is a request of its own."""

    def __init__(self, fs: AbstractFileSystem, path: str, key: str, size: int) -> None:
        self._fs = fs
        self._path = path
        self._key = key
        self.size = size

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectShort, ObjectMissing, StoreError."""
        wanted = range_bytes(self._key, self.size, offset, views)
        if not wanted:
            return
        with translated(self._key, f"reading {wanted} bytes at offset {offset}"):
            data = self._fs.cat_file(self._path, start=offset, end=offset + wanted)
        if len(data) != wanted:
            raise ObjectShort(self._key, offset, wanted, len(data))
        copy_into(views, data)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> FsspecReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def translated(key: str, doing: str, *, writing: bool = False) -> Iterator[None]:
    """Turn whatever a filesystem raises into the errors of this package: backends have their own exception classes.

    ObjectMissing for what is not found, unless it was to be written; StoreError for all else.
    """
    try:
        yield
    except (PyckptError, ObjectMissing, AlreadyThere, ObjectShort):
        raise
    except Exception as error:
        if isinstance(error, _NOT_FOUND) and not writing:
            raise ObjectMissing(key) from None
        raise StoreError("store.io", f"{doing} failed: {type(error).__name__}: {error}", key=key) from error


def object_info(key: str, found: Mapping[str, Any]) -> ObjectInfo:
    """Give what a filesystem's own description of an object says."""
    return ObjectInfo(key, int(found.get("size") or 0), _modified(found))


def _modified(found: Mapping[str, Any]) -> float:
    """Give the time of writing from the names that backends use; now, where there is none: unknown means not old."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = found.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return time.time()
