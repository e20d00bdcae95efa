"""A process group's store whose every call ends.

A store's client waits on its socket without a limit of its own: if the machine that hosts the store freezes, or the
network swallows the answer, the call never returns, and no deadline around it is ever looked at.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

__all__ = ["PatientStore"]

_Call = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class PatientStore:
    """Calls of a ``torch.distributed`` store, made by a thread that may be left behind.

    Every call raises TimeoutError ``limit`` seconds after it was made, and at once if an earlier one did; RuntimeError
    if the store says that it is gone.
    """

    def __init__(self, store: Any, limit: float) -> None:
        self._store = store
        self._limit = limit
        self._stuck = False
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        # A daemon, because one that waits for ever must not keep the interpreter from ending.
        threading.Thread(target=_serve, args=(self._calls,), name="pyckpt-store", daemon=True).start()

    def check(self, keys: Sequence[str]) -> bool:
        """All keys are there."""
        return bool(self._call(self._store.check, list(keys)))

    def get(self, key: str) -> bytes:
        """The value of a key that is there."""
        return bytes(self._call(self._store.get, key))

    def set(self, key: str, value: bytes | str) -> None:
        """Sets a key."""
        self._call(self._store.set, key, value)

    def delete_key(self, key: str) -> None:
        """Removes a key; absent is fine."""
        self._call(self._store.delete_key, key)

    def close(self) -> None:
        """Ends the thread, once it has done what was asked of it."""
        self._calls.put(None)

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._stuck:
            raise TimeoutError("the store did not answer before")
        future: Future[Any] = Future()
        self._calls.put((future, function, args))
        try:
            return future.result(self._limit)
        except (TimeoutError, FutureTimeoutError):
            if future.done():
                raise
            self._stuck = True
            raise TimeoutError(f"no answer within {self._limit:g} s") from None


def _serve(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        future, function, args = call
        try:
            future.set_result(function(*args))
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            future.set_exception(error)
