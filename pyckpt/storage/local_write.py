"""Writers of large local objects: buffered, buffered with early write-back, or direct.

``buffered`` leaves all to the page cache until the closing fsync; ``writeback`` starts the device on each range as soon
as it is written, so that the fsync finds little left; ``direct`` bypasses the page cache.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from pyckpt.errors import UsageError
from pyckpt.limits import DATA_ALIGNMENT
from pyckpt.storage.kernel import start_writeback
from pyckpt.storage.local_paths import open_file, store_error, sync_directory
from pyckpt.storage.vectors import MAX_VIEWS, byte_views, rest_of, total_bytes

__all__ = ["DIRECT_FROM", "MODES", "LocalWriter", "Mode", "auto_mode"]

Mode: TypeAlias = Literal["buffered", "writeback", "direct"]
MODES: Final[tuple[Mode, ...]] = ("buffered", "writeback", "direct")
DIRECT_FROM: Final = 16 << 20
"""Bytes from which ``auto`` writes an object directly: below, one more copy costs more than the page cache."""
_PAGE: Final = 4096
_DIRECT: Final = getattr(os, "O_DIRECT", 0)
_UNSUPPORTED: Final = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ESPIPE, errno.ENOTTY, errno.EBADF}
)


def auto_mode(size: int | None, *, in_memory: bool) -> Mode:
    """What ``io="auto"`` means for an object of ``size`` bytes: measured in decision 0007."""
    return "direct" if size is not None and size >= DIRECT_FROM and not in_memory else "writeback"


class LocalWriter:
    """One new file; thread-safe. FileExistsError at construction if its name is taken.

    ``final`` is the name that it gets when it is closed, in the place of what lies there; None: it has it already.
    """

    def __init__(self, path: str, *, key: str, mode: Mode, size: int | None, final: str | None = None) -> None:
        self._path = path
        self._final = final
        self._key = key
        self._end = 0
        self._lock = threading.Lock()
        self.mode: Mode = mode
        """The mode in use; falls back from direct to writeback to buffered where the file system refuses."""
        # O_DIRECT is switched on afterwards: an open(O_CREAT | O_DIRECT) that is refused may leave a file behind.
        self._descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.alignment = 1
        try:
            if mode == "direct":
                self._begin_direct(size)
        except BaseException:
            self.abort()
            raise

    def _begin_direct(self, size: int | None) -> None:
        try:
            self._set_direct(on=True)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self.mode = "writeback"
            return
        self.alignment = DATA_ALIGNMENT
        if size:
            try:
                os.posix_fallocate(self._descriptor, 0, size)
            except OSError as error:
                # Room that is not there is worth knowing before hours of writing; all else only costs speed.
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise

    def _set_direct(self, *, on: bool) -> None:
        if not _DIRECT:
            raise OSError(errno.EINVAL, "direct IO is not known on this platform")
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write the views one after the other from ``offset``. StoreError."""
        rest = byte_views(views)
        size = total_bytes(rest)
        if self._descriptor < 0:
            raise UsageError("usage.invalid", "this writer is closed", key=self._key)
        try:
            self._write_all(offset, rest)
            if self.mode == "writeback":
                self._start_writeback(offset, size)
        except OSError as error:
            raise store_error(error, self._key, f"writing {size} bytes at offset {offset}") from error
        with self._lock:
            self._end = max(self._end, offset + size)

    def _write_all(self, offset: int, rest: list[memoryview]) -> None:
        while rest:
            direct = self.mode == "direct"
            try:
                done = os.pwritev(self._descriptor, rest[:MAX_VIEWS], offset)
            except OSError as error:
                if not direct or error.errno != errno.EINVAL:
                    raise
                self._leave_direct()
                continue
            if done == 0:
                raise OSError(errno.EIO, "the file system took no bytes")
            offset += done
            rest = rest_of(rest, done)

    def _leave_direct(self) -> None:
        """Go on with buffered writes for good: some file systems refuse direct IO at the first write only."""
        with self._lock:
            if self.mode == "direct":
                self._set_direct(on=False)
                self.mode = "writeback"

    def _start_writeback(self, offset: int, size: int) -> None:
        # Pages that this range only touches at its ends are left: they would be written now and again later.
        begin = -(-offset // _PAGE) * _PAGE
        end = (offset + size) // _PAGE * _PAGE
        if begin >= end:
            return
        try:
            start_writeback(self._descriptor, begin, end - begin)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self.mode = "buffered"

    def close(self, size: int) -> None:
        """Cut the file to its true size and make it and its name durable. StoreError, and the file is gone then."""
        if self._descriptor < 0:
            raise UsageError("usage.invalid", "this writer is closed", key=self._key)
        try:
            self._finish(size)
        except OSError as error:
            self.abort()
            raise store_error(error, self._key, "making the object durable") from error
        self._release()

    def _finish(self, size: int) -> None:
        if size > self._end:
            raise OSError(errno.EIO, f"expected {size} bytes, but only {self._end} were written")
        if os.fstat(self._descriptor).st_size != size:
            os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)
        if self._final is not None:
            os.replace(self._path, self._final)
        sync_directory(os.path.dirname(self._path))

    def abort(self) -> None:
        """Close and remove the file, unless ``close`` has succeeded. No write may be under way in another thread."""
        if self._descriptor >= 0:
            self._release()
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        # Nothing is left to be reported here: the fsync has told of every write.
        with contextlib.suppress(OSError):
            os.close(descriptor)
