"""A store around any store that fails, or kills the process, at the k-th change it is asked for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from pyckpt.errors import StoreError
from pyckpt.storage.base import Bytes, ObjectWriter, Store

T = TypeVar("T")


class FaultyStore:
    """Counts create_writer, write, close, put_new, put and delete, from 1, over all threads.

    At number ``fail_at`` it raises StoreError or kills the process, ``before`` or ``after`` the change is made: an error
    ``after`` is one whose answer was lost. With ``stays`` all that come later fail, too. ``count_only`` never fails.
    ``steps`` lists what was asked for. Reads, listings and aborts pass through uncounted.
    """

    def __init__(
        self,
        store: Store,
        *,
        fail_at: int | None = None,
        action: Literal["raise", "kill"] = "raise",
        when: Literal["before", "after"] = "before",
        count_only: bool = False,
        stays: bool = False,
    ) -> None:
        self.inner = store
        self.fail_at = None if count_only else fail_at
        self.action = action
        self.when = when
        self.stays = stays
        self.steps: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Changes asked for so far."""
        return len(self.steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def step(self, what: str, key: str, change: Callable[[], T]) -> T:
        with self._lock:
            self.steps.append((what, key))
            at, fail_at = len(self.steps), self.fail_at
            hit = fail_at is not None and (at == fail_at or (self.stays and at > fail_at))
        if hit and self.when == "before":
            self._fail(what, key)
        try:
            return change()
        finally:
            if hit:
                self._fail(what, key)

    def _fail(self, what: str, key: str) -> None:
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise StoreError("store.io", f"made to fail {self.when} change {self.fail_at}: {what}", key=key)

    def create_writer(self, key: str, size: int | None) -> ObjectWriter:
        return FaultyWriter(self, key, self.step("create_writer", key, lambda: self.inner.create_writer(key, size)))

    def replace_writer(self, key: str, size: int | None) -> ObjectWriter:
        return FaultyWriter(self, key, self.step("create_writer", key, lambda: self.inner.replace_writer(key, size)))

    def put_new(self, key: str, data: Bytes) -> None:
        self.step("put_new", key, lambda: self.inner.put_new(key, data))

    def put(self, key: str, data: Bytes) -> None:
        self.step("put", key, lambda: self.inner.put(key, data))

    def delete(self, key: str) -> None:
        self.step("delete", key, lambda: self.inner.delete(key))


class FaultyWriter:
    """The writer of a FaultyStore."""

    def __init__(self, store: FaultyStore, key: str, inner: ObjectWriter) -> None:
        self._store = store
        self._key = key
        self._inner = inner

    @property
    def alignment(self) -> int:
        return self._inner.alignment

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        self._store.step("write", self._key, lambda: self._inner.write(offset, views))

    def close(self, size: int) -> None:
        self._store.step("close", self._key, lambda: self._inner.close(size))

    def abort(self) -> None:
        self._inner.abort()
