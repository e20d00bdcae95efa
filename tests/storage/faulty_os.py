"""Counts the calls by which the local store changes the disk, and fails or kills the process at the k-th."""

from __future__ import annotations

import errno
import os
import signal
import threading
from types import ModuleType, TracebackType
from typing import Any, Literal

from pyckpt.storage import local, local_create, local_paths, local_write

MODULES: tuple[ModuleType, ...] = (local, local_create, local_paths, local_write)
COUNTED = frozenset(
    ("write", "pwrite", "pwritev", "fsync", "link", "mkdir", "rename", "replace", "unlink", "rmdir", "ftruncate", "posix_fallocate")
)


class FaultyOs:
    """While entered, stands between pyckpt.storage.local* and the operating system.

    Counted, from 1 and over all threads: the calls of COUNTED, ``open`` with O_CREAT, and ``rename_noreplace``. At number
    ``fail_at`` it kills the process, or raises OSError with ``code``, ``before`` or ``after`` the call is made.
    ``calls`` lists (name, path) of each; descriptors are shown as the path that they were opened by.
    """

    def __init__(
        self,
        *,
        fail_at: int | None = None,
        action: Literal["kill", "raise"] = "kill",
        when: Literal["before", "after"] = "before",
        code: int = errno.EIO,
    ) -> None:
        self.fail_at = fail_at
        self.action = action
        self.when = when
        self.code = code
        self.calls: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._saved: list[tuple[ModuleType, str, Any]] = []

    @property
    def count(self) -> int:
        """Counted calls so far."""
        return len(self.calls)

    def __enter__(self) -> FaultyOs:  # noqa: PYI034  typing.Self needs Python 3.11
        for module in MODULES:
            self._replace(module, "os", _Os(self))
        real = local_create.rename_noreplace
        self._replace(local_create, "rename_noreplace", lambda *args: self.call("rename_noreplace", real, args, {}))
        return self

    def _replace(self, module: ModuleType, name: str, value: Any) -> None:
        self._saved.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while self._saved:
            module, name, value = self._saved.pop()
            setattr(module, name, value)

    def call(self, name: str, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target = args[1] if name in ("link", "rename", "replace", "rename_noreplace") else args[0]
        if isinstance(target, int):
            target = os.readlink(f"/proc/self/fd/{target}")
        with self._lock:
            self.calls.append((name, str(target)))
            hit = len(self.calls) == self.fail_at
        if hit and self.when == "before":
            self._fail(name)
        try:
            return real(*args, **kwargs)
        finally:
            if hit:
                self._fail(name)

    def _fail(self, name: str) -> None:
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.code, f"made to fail {self.when} call {self.fail_at}: {name}")


class _Os:
    """The os module with its changing calls counted."""

    def __init__(self, faults: FaultyOs) -> None:
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name == "open":
            return self._open
        if name not in COUNTED:
            return real
        return lambda *args, **kwargs: self._faults.call(name, real, args, kwargs)

    def _open(self, path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if not flags & os.O_CREAT:
            return os.open(path, flags, *args, **kwargs)
        return self._faults.call("open", os.open, (path, flags, *args), kwargs)
