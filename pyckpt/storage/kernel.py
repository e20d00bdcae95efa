"""Three Linux calls that Python's os module lacks; elsewhere they report ENOSYS, or know nothing."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from typing import Final

__all__ = ["is_in_memory", "rename_noreplace", "start_writeback"]

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_SYNC_FILE_RANGE_WRITE: Final = 2
_IN_MEMORY: Final = frozenset({0x01021994, 0x858458F6})
"""Types that statfs gives for tmpfs and ramfs."""
_STATFS_BYTES: Final = 512
"""More than any platform's struct statfs; its first member is the type, a long."""


@functools.cache
def _libc_function(name: str, *arguments: type) -> Callable[..., int] | None:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = arguments
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


def _call(function: Callable[..., int] | None, *values: object) -> None:
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(*values) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def rename_noreplace(source: str, target: str) -> None:
    """Rename as one step unless the target exists (FileExistsError); EINVAL or ENOSYS where that can't be had."""
    function = _libc_function(
        "renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
    )
    _call(function, _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)


def start_writeback(descriptor: int, offset: int, size: int) -> None:
    """Ask the kernel to begin writing dirty pages of a range to the device, without waiting for it to end."""
    function = _libc_function("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    _call(function, descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


def is_in_memory(path: str) -> bool:
    """Tell whether a path lies on a file system that lives in memory; False where that can't be known."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    try:
        _call(_libc_function("statfs", ctypes.c_char_p, ctypes.c_void_p), os.fsencode(path), ctypes.addressof(buffer))
    except OSError:
        return False
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF in _IN_MEMORY
