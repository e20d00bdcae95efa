"""The thread in which requests to object stores are under way.

Callers wait for it and stay interruptible: the engine's own blocking calls do not notice Ctrl-C until they end.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from pyckpt.errors import UsageError

__all__ = ["io_loop", "submit", "wait"]

_T = TypeVar("_T")
_lock = threading.Lock()
_running: tuple[int, asyncio.AbstractEventLoop] | None = None
"""Process and loop. One for all stores: the engine has one pool of threads for the process too."""


def io_loop() -> asyncio.AbstractEventLoop:
    """Give the loop, started at the first call. UsageError in a process forked from one that has used it."""
    global _running  # noqa: PLW0603  threads can't be handed to a forked child, nor be had twice
    # Before the lock: a child may inherit it locked.
    found = _running
    if found is None:
        with _lock:
            if _running is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="pyckpt-objects", daemon=True).start()
                _running = (os.getpid(), loop)
            found = _running
    if found[0] != os.getpid():
        raise UsageError(
            "usage.invalid",
            f"process {os.getpid()} was forked from {found[0]}, which had used an object store: requests would hang",
            hint="start processes with spawn or forkserver, or use object stores in the children only",
        )
    return found[1]


def submit(begin: Callable[[], Coroutine[Any, Any, _T]]) -> Future[_T]:
    """Begin a request and go on."""
    loop = io_loop()
    return asyncio.run_coroutine_threadsafe(begin(), loop)


def wait(begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Carry a request out; whoever is interrupted meanwhile takes it back."""
    future = submit(begin)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
