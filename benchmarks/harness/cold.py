"""A cold page cache, proved: the pages of the files are dropped, and the kernel is asked which are still there."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["drop", "files_below", "filesystem", "fsync_tree", "in_memory", "resident_part"]

_WINDOW = 1 << 30
"""Bytes that are mapped at one time to ask for their pages."""


def files_below(path: str) -> Iterator[str]:
    """The file itself, or all files of the directory."""
    if os.path.isfile(path):
        yield path
    for root, _, names in os.walk(path):
        for name in names:
            yield os.path.join(root, name)


def fsync_tree(path: str) -> None:
    """What a writer that doesn't sync has to add before its files are durable."""
    for each in [*files_below(path), path if os.path.isdir(path) else os.path.dirname(path)]:
        descriptor = os.open(each, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def drop(path: str) -> float:
    """Drops the page cache of the files below ``path``; the part of their pages that stayed, 0 to 1."""
    stayed = 1.0
    for _ in range(3):
        for each in files_below(path):
            descriptor = os.open(each, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        stayed = resident_part(path)
        if stayed < 0.001:
            break
        # Pages in the per-processor lists of the kernel are not dropped until those are emptied.
        os.sync()
        time.sleep(0.05)
    return stayed


def resident_part(path: str) -> float:
    """Part of the files' pages that is in the page cache, by mincore(2)."""
    page, total, present = mmap.PAGESIZE, 0, 0
    libc = ctypes.CDLL(None, use_errno=True)
    for each in files_below(path):
        size = os.path.getsize(each)
        descriptor = os.open(each, os.O_RDONLY)
        for at in range(0, size, _WINDOW):
            length = min(_WINDOW, size - at)
            vector = np.zeros(-(-length // page), np.uint8)
            # Private and writable: ctypes wants the address of something that it could write to.
            writable = mmap.PROT_READ | mmap.PROT_WRITE
            view = mmap.mmap(descriptor, length, flags=mmap.MAP_PRIVATE, prot=writable, offset=at)
            anchor = ctypes.c_char.from_buffer(view)
            status = libc.mincore(
                ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(length), ctypes.c_void_p(vector.ctypes.data)
            )
            error = ctypes.get_errno()
            del anchor
            view.close()
            if status != 0:
                raise OSError(error, f"mincore: {os.strerror(error)}", each)
            total += len(vector)
            present += int((vector & 1).sum())
        os.close(descriptor)
    return present / total if total else 0.0


def in_memory(path: str) -> bool:
    """True on a file system without a disk, where nothing can be cold."""
    return filesystem(path) in ("tmpfs", "ramfs")


def filesystem(path: str) -> str:
    """Kind of the file system that the path lies on; empty where the system doesn't say."""
    best, kind = "", ""
    target = os.path.realpath(path)
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, name, *_ = line.split()
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind
