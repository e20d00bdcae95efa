"""A store in a directory that can be written: each object is whole and durable before its key is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .errors import Rejected
from .store import DirectoryStore


class WritableDirectory(DirectoryStore):
    """A directory; an exclusive hard link is its create-if-absent."""

    certain = True

    def create(self, key: str, data: bytes) -> None:
        """A new object; a key that is taken is a failure (SCF-LAYOUT-007)."""
        if not self.create_if_absent(key, data):
            raise Rejected("store.io", "the key is taken", subject=key)

    def create_if_absent(self, key: str, data: bytes) -> bool:
        """Whether a new object was created; a file where the key needs a directory takes the key as well."""
        with _failures(key):
            try:
                folder, path = self._place(key, make=True)
            except (FileExistsError, NotADirectoryError):
                return False
            with _temporary(folder, data) as made:
                try:
                    os.link(made, path)
                except FileExistsError:
                    return False
            _sync(folder)
            return True

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object."""
        with _failures(key):
            folder, path = self._place(key, make=True)
            with _temporary(folder, data) as made:
                os.replace(made, path)
            _sync(folder)

    def delete(self, key: str) -> None:
        """Remove an object; a link is removed, not what it leads to."""
        with _failures(key):
            folder, path = self._place(key, make=False)
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return
            _sync(folder)

    def clock(self) -> float:
        """The time that the file system gives a file that is made now."""
        with _failures(""):
            _make(self._root)
            path = os.path.join(self._root, f".probe-{secrets.token_hex(8)}")
            try:
                with open(path, "xb") as file:
                    return os.fstat(file.fileno()).st_mtime
            finally:
                os.unlink(path)

    def _place(self, key: str, *, make: bool) -> tuple[str, str]:
        """Directory and path of a key, whose last segment is not resolved; the directories are made on demand."""
        folder, _, name = key.rpartition("/")
        self._inside(key)
        top = self._inside(folder) if folder else self._root
        if make:
            _make(top)
        return top, os.path.join(top, name)


@contextmanager
def _failures(key: str) -> Iterator[None]:
    """Turn failures of the operating system into `store.io`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise Rejected("store.io", f"{type(error).__name__}: {error}", subject=key) from error


@contextmanager
def _temporary(folder: str, data: bytes) -> Iterator[str]:
    """A file with these bytes, durable, which does not outlive the block under its own name."""
    path = os.path.join(folder, f".tmp-{secrets.token_hex(8)}")
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _make(folder: str) -> None:
    """Make a directory and those above it, each durable."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make(above)
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    _sync(above)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
