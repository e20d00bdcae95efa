"""Create-if-absent on a file system: whole and durable under its name, or not there at all.

The steps, each for file systems that refuse the one before:

1. a temporary file in the same directory, fsynced, then ``link()`` to the final name;
2. ``renameat2(RENAME_NOREPLACE)`` of that temporary file;
3. the final name opened with ``O_CREAT | O_EXCL`` and written in place. A crash in between leaves a partial file
   there; what is published this way carries its own digest, so that readers refuse the fragment.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import Final

from pyckpt.storage.base import Bytes
from pyckpt.storage.kernel import rename_noreplace
from pyckpt.storage.local_paths import open_file, sync_directory, temporary_path

__all__ = ["create_new", "replace"]

_NO_LINK: Final = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)
_NO_RENAME: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class _Temporary:
    path: str
    device: int
    inode: int


def create_new(path: str, data: Bytes) -> None:
    """Create a file with these bytes, durable on return. FileExistsError if the name is taken; OSError."""
    temporary = _write_temporary(path, data)
    try:
        _publish(temporary, path, data)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary.path)
    # A directory that is gone by now was removed together with the object, by someone who deleted it.
    with contextlib.suppress(FileNotFoundError):
        sync_directory(os.path.dirname(path))


def replace(path: str, data: Bytes) -> None:
    """Create or replace a file as one step, durable on return. OSError."""
    temporary = _write_temporary(path, data)
    try:
        os.replace(temporary.path, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary.path)
        raise
    with contextlib.suppress(FileNotFoundError):
        sync_directory(os.path.dirname(path))


def _write_temporary(path: str, data: Bytes) -> _Temporary:
    return _write_exclusive(temporary_path(path), data)


def _write_exclusive(path: str, data: Bytes) -> _Temporary:
    descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return _Temporary(path, status.st_dev, status.st_ino)


def _publish(temporary: _Temporary, path: str, data: Bytes) -> None:
    try:
        os.link(temporary.path, path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            _settle(error, temporary, path, data)
            return
    else:
        return
    try:
        rename_noreplace(temporary.path, path)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            _settle(error, temporary, path, data)
            return
    else:
        return
    _write_exclusive(path, data)


def _settle(error: OSError, temporary: _Temporary, path: str, data: Bytes) -> None:
    """Return if the call took effect though it reported an error; else raise that error, or FileExistsError.

    A retransmitted request on NFS reports EEXIST for the link that its own first copy made: the name then leads to our
    inode. After any other error the content may speak for us as well, as inode numbers of some file systems change.
    """
    try:
        status = os.lstat(path)
    except OSError:
        raise error from None
    if (status.st_dev, status.st_ino) == (temporary.device, temporary.inode):
        return
    if isinstance(error, FileExistsError):
        raise error
    if _holds(path, status.st_size, data):
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error


def _holds(path: str, size: int, data: Bytes) -> bool:
    expected = memoryview(data).cast("B")
    if size != len(expected):
        return False
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        return file.read(len(expected) + 1) == expected
