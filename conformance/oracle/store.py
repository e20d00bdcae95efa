"""What the oracle needs of a store (chapter 4), and the store in a directory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from .errors import Rejected
from .names import is_temporary


class NoSuchKey(Exception):
    """The store has no object under the key; every other failure is `store.io` (SCF-STORE-002)."""


class TooLarge(Exception):
    """The object has more bytes than the limit of the call (SCF-STORE-018)."""

    def __init__(self, size: int) -> None:
        """Keep the object's size."""
        self.size = size
        super().__init__(f"{size} bytes")


@dataclass(frozen=True)
class Listed:
    """An object of a listing; `mtime` is in seconds of the store's clock."""

    key: str
    size: int
    mtime: float


class Store(Protocol):
    """The reading operations of a store; each failure but an absent key is `store.io` (SCF-STORE-013)."""

    def get(self, key: str, limit: int | None = None) -> bytes:
        """All bytes of the object; TooLarge if there are more than `limit`, without fetching them."""

    def get_range(self, key: str, begin: int, end: int) -> bytes:
        """The bytes [begin, end), all of them (SCF-STORE-001)."""

    def size(self, key: str) -> int:
        """Bytes of the object."""

    def names(self, prefix: str) -> list[str]:
        """The distinct first segments below the prefix, which is empty or ends in "/"."""

    def list(self, prefix: str) -> list[Listed]:
        """Every object whose key begins with the prefix."""


_ABSENT = {errno.ENOENT, errno.ENOTDIR}


class DirectoryStore:
    """A store in a directory: the key `a/b` is the file `b` in the directory `a`."""

    def __init__(self, path: str) -> None:
        """Keep the directory's real place; it may be absent, and is an empty store then."""
        self._root = os.path.realpath(path)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """All bytes of the object."""
        with self._opened(key) as (descriptor, size):
            if limit is not None and size > limit:
                raise TooLarge(size)
            return _read(descriptor, key, 0, size)

    def get_range(self, key: str, begin: int, end: int) -> bytes:
        """The bytes [begin, end)."""
        with self._opened(key) as (descriptor, size):
            if not 0 <= begin <= end <= size:
                raise Rejected("store.io", f"bytes [{begin}, {end}) of an object of {size} bytes", subject=key)
            return _read(descriptor, key, begin, end)

    def size(self, key: str) -> int:
        """Bytes of the object."""
        with self._opened(key) as (_, size):
            return size

    def names(self, prefix: str) -> list[str]:
        """The distinct first segments below the prefix."""
        with _failures(prefix):
            top = self._inside(prefix.rstrip("/")) if prefix else self._root
            try:
                return sorted(name for name in os.listdir(top) if not is_temporary(name))
            except OSError as error:
                if error.errno in _ABSENT:
                    return []
                raise

    def list(self, prefix: str) -> list[Listed]:
        """Every object whose key begins with the prefix; links are not followed, and are no objects here."""
        folder, _, _ = prefix.rpartition("/")
        with _failures(prefix):
            top = self._inside(folder) if folder else self._root
            found = _files(top, f"{folder}/" if folder else "")
            return sorted((one for one in found if one.key.startswith(prefix)), key=lambda one: one.key)

    def _inside(self, key: str) -> str:
        """The real path of a key; a key or link that leads out of the store is refused (SCF-STORE-010, SCF-SEC-010)."""
        if not all(part not in {"", ".", ".."} and "\0" not in part for part in key.split("/")):
            raise Rejected("store.io", "not a key of a store", subject=key)
        path = os.path.realpath(os.path.join(self._root, *key.split("/")))
        if os.path.commonpath([self._root, path]) != self._root:
            raise Rejected("store.io", "a link leads out of the store", subject=key)
        return path

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, int]]:
        with _failures(key):
            try:
                descriptor = os.open(self._inside(key), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in _ABSENT:
                    raise NoSuchKey(key) from error
                raise
            try:
                status = os.fstat(descriptor)
                if stat.S_ISDIR(status.st_mode):
                    raise NoSuchKey(key)
                if not stat.S_ISREG(status.st_mode):
                    raise Rejected("store.io", "not a regular file", subject=key)
                yield descriptor, status.st_size
            finally:
                os.close(descriptor)


@contextmanager
def _failures(key: str) -> Iterator[None]:
    """Turn failures of the operating system into `store.io`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise Rejected("store.io", f"{type(error).__name__}: {error}", subject=key) from error


def _read(descriptor: int, key: str, begin: int, end: int) -> bytes:
    """The bytes [begin, end) of an open file; a short read is a failure."""
    parts = []
    while begin < end:
        part = os.pread(descriptor, min(end - begin, 1 << 30), begin)
        if not part:
            raise Rejected("store.io", f"the object ends at byte {begin}", subject=key)
        parts.append(part)
        begin += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _files(top: str, prefix: str) -> Iterator[Listed]:
    """The regular files below a directory."""
    try:
        entries = list(os.scandir(top))
    except OSError as error:
        if error.errno in _ABSENT:
            return
        raise
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False) and not is_temporary(entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield Listed(prefix + entry.name, status.st_size, status.st_mtime)
