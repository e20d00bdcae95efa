"""A directory that appears under its name when it is complete, and not at all if anything fails before."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable

from pyckpt.errors import StoreError, UsageError

__all__ = ["NewDirectory", "free_target"]


def free_target(out: str | os.PathLike[str]) -> str:
    """The absolute path, links followed, of a directory that is absent or empty. Raises UsageError for any other."""
    if "://" in os.fspath(out):
        raise UsageError("usage.invalid", "expected a directory of this machine, found a URL", key=os.fspath(out))
    path = os.path.realpath(os.fspath(out))
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return path
    except OSError as error:
        raise UsageError("usage.invalid", f"expected a directory: {error}", key=path) from error
    if names:
        raise UsageError(
            "usage.invalid",
            f"expected an absent or empty directory, found {len(names)} entries",
            key=path,
            hint="choose another name, or remove it first: an export never mixes with other files",
        )
    return path


class NewDirectory:
    """The directory while it is written, under a name of its own beside the final one."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._parents: list[str] = []
        parent = os.path.dirname(target)
        above = parent
        while not os.path.isdir(above):
            self._parents.append(above)
            above = os.path.dirname(above)
        self.path = os.path.join(parent, f".{os.path.basename(target)}.{secrets.token_hex(8)}.part")
        try:
            os.makedirs(parent, exist_ok=True)
            os.mkdir(self.path)
        except OSError as error:
            self.discard()
            raise StoreError("store.io", f"the directory can't be made: {error}", key=self.path) from error

    def write(self, name: str, data: bytes | Iterable[bytes | memoryview]) -> None:
        """Writes a new file, durably. Raises StoreError."""
        path = os.path.join(self.path, *name.split("/"))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.writelines((data,) if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError("store.io", f"the file can't be written: {error}", key=path) from error

    def publish(self) -> None:
        """Gives the directory its name, durably. Raises UsageError if something has come to lie there, StoreError."""
        try:
            for folder, _, _ in os.walk(self.path):
                _sync(folder)
            # Replaces an empty directory, and refuses one that is not.
            os.rename(self.path, self.target)
            _sync(os.path.dirname(self.target))
        except OSError as error:
            if os.path.isdir(self.target):
                free_target(self.target)
            raise StoreError("store.io", f"the directory can't be renamed: {error}", key=self.target) from error

    def discard(self) -> None:
        """Removes everything that was written, and the directories above that were made for it."""
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in self._parents:
            with contextlib.suppress(OSError):
                os.rmdir(parent)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
