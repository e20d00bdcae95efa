"""The thread in which requests to object stores are under way.

Callers wait for it and stay interruptible: the engine's own blocking calls do not notice Ctrl-C until they end.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from pyckpt.errors import UsageError

__all__ = ["give_up", "io_loop", "submit", "wait"]

_T = TypeVar("_T")
_GIVEN_UP_SECONDS: Final = 0.3
_ENDED_SECONDS: Final = 0.1
_lock = threading.Lock()
_quiet: list[float] = [0.0]
"""When the engine's threads will have let go of the last request, by this computer's steady clock."""
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
                atexit.register(_settle)
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
    future = asyncio.run_coroutine_threadsafe(begin(), loop)
    future.add_done_callback(lambda _: _let_go(_ENDED_SECONDS))
    return future


def wait(begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Carry a request out; whoever is interrupted meanwhile takes it back."""
    future = submit(begin)
    try:
        return future.result()
    except BaseException:
        give_up(future)
        raise


def give_up(future: Future[Any]) -> None:
    """Take a request back if it is still under way."""
    if future.cancel():
        _let_go(_GIVEN_UP_SECONDS)


def _let_go(seconds: float) -> None:
    _quiet[0] = max(_quiet[0], time.monotonic() + seconds)


def _settle() -> None:
    """Take back what is under way and let it end: the engine's threads must not call an interpreter that has gone.

    They still do for a moment after a request has its result; the process would be aborted.
    """
    if _running is None or _running[0] != os.getpid():
        return
    loop = _running[1]
    for task in asyncio.all_tasks(loop):
        loop.call_soon_threadsafe(task.cancel)
        _let_go(_GIVEN_UP_SECONDS)
    time.sleep(max(0.0, _quiet[0] - time.monotonic()))
