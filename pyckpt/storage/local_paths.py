"""From keys to paths of one directory tree: nothing outside it is ever reached, and new directories last."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import Final

from pyckpt.errors import StoreError
from pyckpt.storage.base import check_key, check_prefix

__all__ = ["LocalPaths", "open_file", "store_error", "sync_directory", "temporary_path"]

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})


def store_error(error: OSError, key: str, doing: str) -> StoreError:
    """Give the error of pyckpt that an error of the operating system becomes."""
    hint = "free space on the store's disk or raise the quota" if error.errno in _NO_SPACE else ""
    if error.errno == errno.ELOOP:
        hint = "the store does not follow symbolic links to objects; put the file itself there"
    return StoreError("store.io", f"{doing} failed: {error.strerror or error}", key=key, hint=hint)


def open_file(path: str, flags: int, mode: int = 0o666) -> int:
    """Open a regular file, never through a symbolic link in the last place and never waiting on a pipe or a device."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    try:
        _check_regular(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "expected a regular file, found a pipe, socket or device")


def temporary_path(path: str) -> str:
    """Give a new name beside a file that no listing shows."""
    return os.path.join(os.path.dirname(path), f".tmp-{secrets.token_hex(8)}")


def sync_directory(path: str) -> None:
    """Make the names in a directory durable, where the file system knows how."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # a directory that one may pass through but not read; nothing more can be asked of it
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse fsync on directories; their servers write names through.
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


class LocalPaths:
    """Paths below one root; remembers which directories were seen to lie in it, and which were made durable."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self._inside: set[str] = set()
        self._durable: set[str] = set()

    def of_key(self, key: str) -> str:
        """Give the path of an object. InvalidKey; StoreError if its directory is a symbolic link out of the store."""
        segments = check_key(key)
        return os.path.join(self._directory(segments[:-1], key), segments[-1])

    def of_prefix(self, prefix: str) -> str:
        """Give the directory of a prefix, with the same errors."""
        return self._directory(check_prefix(prefix), prefix)

    def _directory(self, segments: tuple[str, ...], key: str) -> str:
        path = os.path.join(self.root, *segments)
        if not segments or path in self._inside:
            return path
        # The root itself may be a symbolic link; what counts is that nothing below it leads elsewhere.
        real_root = os.path.realpath(self.root)
        if not os.path.realpath(path).startswith(real_root.rstrip("/") + "/"):
            raise StoreError(
                "store.io",
                f"the directory {path!r} is a symbolic link out of the store {self.root!r}",
                key=key,
                hint="replace the link by a real directory, or open the other place as a store of its own",
            )
        if os.path.isdir(path):
            self._inside.add(path)
        return path

    def make_directory(self, path: str) -> None:
        """Create a directory of the store with its parents, durable; cheap when called again.

        Directories that another process has just made are synced too: it may have died before it did so.
        """
        if path in self._durable:
            return
        if path == self.root:
            self._make_root()
        else:
            parent = os.path.dirname(path)
            self.make_directory(parent)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
            sync_directory(parent)
        self._durable.add(path)

    def _make_root(self) -> None:
        missing: list[str] = []
        path = self.root
        while not os.path.isdir(path):
            missing.append(path)
            parent = os.path.dirname(path)
            if parent == path:
                break
            path = parent
        for directory in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
            sync_directory(os.path.dirname(directory))

    def forget(self, path: str) -> None:
        """Drop what is remembered of a directory and all below it: it was removed, by us or by another process."""
        below = path.rstrip("/") + "/"
        for remembered in (self._inside, self._durable):
            remembered.difference_update({p for p in tuple(remembered) if p == path or p.startswith(below)})

    def remove_empty_parents(self, path: str) -> None:
        """Remove the directories above a path that have become empty, up to the root, which stays."""
        directory = os.path.dirname(path)
        while directory.startswith(self.root.rstrip("/") + "/"):
            try:
                os.rmdir(directory)
            except OSError:
                return
            self.forget(directory)
            directory = os.path.dirname(directory)
