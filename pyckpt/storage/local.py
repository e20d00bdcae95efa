"""A store that is a directory of a local or network file system."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from types import TracebackType
from typing import Final, TypeVar

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.base import AlreadyThere, Bytes, ObjectInfo, ObjectMissing, ObjectShort, is_reserved, read_whole
from pyckpt.storage.kernel import is_in_memory
from pyckpt.storage.local_create import create_new, replace
from pyckpt.storage.local_paths import LocalPaths, open_file, store_error, sync_directory, temporary_path
from pyckpt.storage.local_write import MODES, LocalWriter, Mode, auto_mode
from pyckpt.storage.vectors import MAX_VIEWS, byte_views, rest_of, total_bytes

__all__ = ["LocalReader", "LocalStore"]

_T = TypeVar("_T")
_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR})
_RACES: Final = 16
"""How often a directory may vanish between its creation and its first file before that is an error."""


class LocalStore:
    """A directory as a store.

    ``io`` says how large objects are written: ``buffered``, ``writeback``, ``direct``, or ``auto``, which is direct for
    large objects on a device and writeback for all else.
    """

    parallel_writes = True
    conditional_put = "native"

    def __init__(self, root: str | os.PathLike[str], io: str = "auto") -> None:
        if io != "auto" and io not in MODES:
            raise UsageError("usage.invalid", f"io must be one of {', '.join(('auto', *MODES))}; found {io!r}")
        self._paths = LocalPaths(os.fspath(root))
        self._mode: Mode | None = next((mode for mode in MODES if mode == io), None)
        self._in_memory: bool | None = None
        self.root = self._paths.root
        self.url = self.root

    def __repr__(self) -> str:
        return f"LocalStore({self.root!r})"

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing, LimitExceeded."""
        with self.open_reader(key) as reader:
            return read_whole(reader, key, limit)

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectMissing, ObjectShort."""
        with self.open_reader(key) as reader:
            reader.read_into(offset, views)

    def open_reader(self, key: str) -> LocalReader:
        """Open an object for many reads. ObjectMissing."""
        path = self._paths.of_key(key)
        try:
            return LocalReader(open_file(path, os.O_RDONLY), key)
        except OSError as error:
            raise _missing_or(error, key, "opening the object") from error

    def create_writer(self, key: str, size: int | None) -> LocalWriter:
        """Begin a new object under its final name. AlreadyThere."""
        mode = self._mode or auto_mode(size, in_memory=self._lies_in_memory())
        return self._create(key, lambda path: LocalWriter(path, key=key, mode=mode, size=size))

    def replace_writer(self, key: str, size: int | None) -> LocalWriter:
        """Begin an object under a temporary name; its own is given to it at the close."""
        mode = self._mode or auto_mode(size, in_memory=self._lies_in_memory())

        def begin(path: str) -> LocalWriter:
            return LocalWriter(temporary_path(path), key=key, mode=mode, size=size, final=path)

        return self._create(key, begin)

    def _lies_in_memory(self) -> bool:
        if self._in_memory is None:
            path = self.root
            while not os.path.lexists(path) and path != os.path.dirname(path):
                path = os.path.dirname(path)
            self._in_memory = is_in_memory(path)
        return self._in_memory

    def put_new(self, key: str, data: Bytes) -> None:
        """Create a small object if the key is free, durable on return. AlreadyThere."""
        self._create(key, lambda path: create_new(path, data))

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace a small object as one step, durable on return."""
        self._create(key, lambda path: replace(path, data))

    def _create(self, key: str, create: Callable[[str], _T]) -> _T:
        for attempt in range(_RACES):
            path = self._paths.of_key(key)
            try:
                self._paths.make_directory(os.path.dirname(path))
                return create(path)
            except FileExistsError:
                raise AlreadyThere(key) from None
            except FileNotFoundError as error:
                # Whoever deletes the last object of a directory removes the directory, perhaps just now.
                self._paths.forget(self.root)
                if attempt == _RACES - 1:
                    raise store_error(error, key, "creating the object") from error
                time.sleep(attempt * 0.001)
            except StoreError:
                raise
            except OSError as error:
                raise store_error(error, key, "creating the object") from error
        raise StoreError("store.io", "creating the object failed", key=key)

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if there is none."""
        path = self._paths.of_key(key)
        try:
            status = os.lstat(path)
        except OSError as error:
            if error.errno in _MISSING:
                return None
            raise store_error(error, key, "looking up the object") from error
        return ObjectInfo(key, status.st_size, status.st_mtime) if stat.S_ISREG(status.st_mode) else None

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, sorted; empty directories count, symbolic links do not."""
        return sorted(
            entry.name for entry in _scan(self._paths.of_prefix(prefix), prefix) if not entry.is_symlink()
        )

    def delete(self, key: str) -> None:
        """Remove an object, durably, and the directories that this leaves empty."""
        path = self._paths.of_key(key)
        try:
            os.unlink(path)
            # Objects are deleted in an order that matters after a power failure: the root before what it needs.
            with contextlib.suppress(FileNotFoundError):
                sync_directory(os.path.dirname(path))
        except OSError as error:
            if error.errno in _MISSING:
                return
            raise store_error(error, key, "deleting the object") from error
        self._paths.remove_empty_parents(path)

    def now(self) -> float:
        """Give the file system's clock, told by a file made for that; this computer's if none can be made."""
        probe = os.path.join(self.root, f".probe-{secrets.token_hex(8)}")
        try:
            descriptor = open_file(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except OSError:
            return time.time()
        try:
            return os.fstat(descriptor).st_mtime
        except OSError:
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)
                os.unlink(probe)

    def settle(self, keys: Iterable[str]) -> None:
        """Make the names of objects durable: a process that died may have given them, and not got so far."""
        for directory in sorted({os.path.dirname(self._paths.of_key(key)) for key in keys}):
            with contextlib.suppress(FileNotFoundError):
                sync_directory(directory)

    def remove_leftovers(self, before: float) -> int:
        """Remove what crashed writers left that was last changed before this time of ``now()``.

        That is temporary files, whose number is given, and empty directories.
        """
        return self._sweep(self.root, before)

    def _sweep(self, directory: str, before: float) -> int:
        removed = 0
        for entry in _scan(directory, "", reserved=True):
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
                    removed += 1
        for entry in _scan(directory, ""):
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    old = entry.stat(follow_symlinks=False).st_mtime < before
                    removed += self._sweep(entry.path, before)
                    if old:
                        os.rmdir(entry.path)
                        self._paths.forget(entry.path)
        return removed

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Give all the objects below a prefix, sorted by key. Symbolic links are not objects and are not followed."""
        return _walk(self._paths.of_prefix(prefix), prefix)


class LocalReader:
    """An open file; thread-safe, as every read says where it begins."""

    def __init__(self, descriptor: int, key: str) -> None:
        self._descriptor = descriptor
        self._key = key
        self.size = os.fstat(descriptor).st_size

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectShort, StoreError."""
        rest = byte_views(views)
        wanted = total_bytes(rest)
        if self._descriptor < 0:
            raise UsageError("usage.invalid", "this reader is closed", key=self._key)
        found = 0
        while rest:
            try:
                done = os.preadv(self._descriptor, rest[:MAX_VIEWS], offset + found)
            except OSError as error:
                raise store_error(error, self._key, f"reading {wanted} bytes at offset {offset}") from error
            if done == 0:
                raise ObjectShort(self._key, offset, wanted, found)
            found += done
            rest = rest_of(rest, done)

    def close(self) -> None:
        """Close the file. No read may be under way in another thread."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> LocalReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _missing_or(error: OSError, key: str, doing: str) -> OSError:
    return ObjectMissing(key) if error.errno in _MISSING else store_error(error, key, doing)

def _walk(directory: str, prefix: str) -> Iterator[ObjectInfo]:
    # A directory sorts as its name and the slash that follows it in every key below.
    entries = sorted(
        (
            (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
            for entry in _scan(directory, prefix)
        ),
        key=itemgetter(0),
    )
    for name, entry in entries:
        if name.endswith("/"):
            yield from _walk(entry.path, prefix + name)
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise store_error(error, prefix + name, "listing the store") from error
        if stat.S_ISREG(status.st_mode):
            yield ObjectInfo(prefix + name, status.st_size, status.st_mtime)


def _scan(directory: str, prefix: str, *, reserved: bool = False) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if is_reserved(entry.name) == reserved]
    except OSError as error:
        if error.errno in _MISSING:
            return []
        raise store_error(error, prefix, "listing the store") from error
