"""Saves that go on beside the caller: their handles, how many there may be, and who hears of their errors."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - its hook for the interpreter's end has to be set before ours
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress

from pyckpt.engine.report import SaveReport
from pyckpt.errors import UsageError

__all__ = ["Flights", "SaveHandle", "flights", "step_back"]

_log = logging.getLogger("pyckpt")
NICE_STEPS = 10
"""That is a tenth of the share of a thread that trains. Beside a save of 2 GB on two busy cores, training took about a
second less than with equal shares, and the save itself about as long (three rounds on a noisy machine)."""
_FAILED = "a save in the background failed, there is no such checkpoint: %s"


class SaveHandle:
    """A save that was begun. Everything in it may be asked from any thread of the process that made it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.staged: Future[None] = Future()
        """Done as soon as all of the state may change again: when ``save_async`` returns, or soon after if parts of it
        are copied late."""
        self.committed: Future[SaveReport] = Future()
        """Done once the checkpoint exists on this store, with the report; or with the error, and then it does not."""
        # Nobody can cancel what other ranks take part in.
        self.staged.set_running_or_notify_cancel()
        self.committed.set_running_or_notify_cancel()
        self._process = os.getpid()
        self._begun = time.perf_counter()
        self._lock = threading.Lock()
        self._left = False
        self._seen = False
        self.blocked = 0.0
        """Seconds that the call of ``save_async`` took."""
        self.skipped = False
        """True once it is known that nothing is saved, because there were enough saves in flight."""
        self.progress = 0, 0
        """Bytes written and bytes to write, of this rank; 0 of 0 until that is planned."""

    def __repr__(self) -> str:
        if self.skipped:
            state = "skipped"
        elif self.done():
            state = "committed" if self.committed.exception() is None else "failed"
        else:
            state = "staged" if self.staged.done() else "being copied"
        return f"<SaveHandle {self.url!r}: {state}>"

    def seconds(self) -> float:
        """Seconds since the call began."""
        return time.perf_counter() - self._begun

    def done(self) -> bool:
        """Whether the save has ended, well or not."""
        return self.committed.done()

    def wait(self, timeout: float | None = None) -> SaveReport:
        """The report, once the checkpoint exists. Raises the save's error, or TimeoutError after so many seconds.

        An error that was raised here is not raised by the next save.
        """
        if os.getpid() != self._process:
            raise UsageError("usage.invalid", "this save runs in another process", hint="wait where it was begun")
        wait([self.committed], timeout)
        if not self.committed.done():
            raise TimeoutError(f"the save to {self.url} is still going on after {timeout:g} s")
        self._seen = True
        return self.committed.result()

    def result(self, timeout: float | None = None) -> SaveReport:
        """The same as ``wait``."""
        return self.wait(timeout)

    def skip(self) -> None:
        """Nothing is saved, and that is nobody's failure."""
        self.skipped = True

    def note(self, done: int, total: int) -> None:
        """So many bytes are written."""
        self.progress = done, total

    def call_ends(self) -> None:
        """The call returns while the state is still being copied."""
        self.blocked = self.seconds()

    def release(self) -> None:
        """Lets the caller go: the state is not read any more. UsageError if it went before, by an interrupt."""
        with self._lock:
            if self._left:
                raise UsageError(
                    "usage.invalid", f"the call was interrupted before all of the state was copied: {self.url}"
                )
            if not self.staged.done():
                self.blocked = self.blocked or self.seconds()
                self.staged.set_result(None)

    def stay(self) -> None:
        """Waits until the state is not read any more. Raises the save's error if it has failed by then."""
        try:
            wait([self.staged])
        except BaseException:
            with self._lock:
                self._left = not self.staged.done()
            raise
        if self.staged.exception() is not None:
            self._seen = True
            self.staged.result()

    def end(self, report: SaveReport | None, error: BaseException | None) -> None:
        """Sets the outcome."""
        with self._lock:
            if not self.staged.done():
                self.staged.set_exception(error or RuntimeError("ended"))
        if error is not None:
            self.committed.set_exception(error)
        elif report is not None:
            self.committed.set_result(report)

    def take_error(self) -> BaseException | None:
        """The error, if the save failed and nobody was told yet; whoever asks is told."""
        error = self.committed.exception()
        if error is None or self._seen or self.skipped:
            return None
        self._seen = True
        return error

    def seen(self) -> None:
        """Whoever needs to know of a failure knows of it."""
        self._seen = True


class Flights:
    """The saves of this process that have not ended, or whose end nobody has looked at."""

    def __init__(self) -> None:
        self._handles: deque[SaveHandle] = deque()

    def begin(self, handle: SaveHandle, work: Callable[[], SaveReport]) -> None:
        """Runs ``work`` in a thread of its own, or here if there can be none, and gives the handle its outcome."""

        def run() -> None:
            try:
                report = work()
            except BaseException as error:  # noqa: BLE001 - it is raised where somebody can act on it
                handle.end(None, error)
            else:
                handle.end(report, None)

        def run_beside() -> None:
            step_back()
            run()

        self._handles.append(handle)
        try:
            # A daemon, because an interrupt while the interpreter waits for it at its end must be able to end it.
            threading.Thread(target=run_beside, name="pyckpt-save", daemon=True).start()
        except RuntimeError:
            # No more threads can be had. Who waits for this save, here or on another rank, must not wait for ever.
            run()

    def make_room(self, limit: int | None) -> BaseException | None:
        """Waits until fewer than ``limit`` saves are going on; gives the first error that nobody was told of.

        Without a limit it looks for errors only.
        """
        first: BaseException | None = None
        while self._handles:
            oldest = self._handles[0]
            if not oldest.done():
                if limit is None or len(self._handles) < limit:
                    break
                wait([oldest.committed])
            with suppress(ValueError):
                # Another thread that waited for the same one was faster.
                self._handles.remove(oldest)
            error = oldest.take_error()
            if first is None:
                first = error
            elif error is not None:
                _log.error(_FAILED, error)
        return first

    def going_on(self) -> int:
        """How many saves go on that have a state to write."""
        return sum(not handle.done() and not handle.skipped for handle in tuple(self._handles))

    def until_staged(self) -> None:
        """Waits until no save reads the state that it was given any more."""
        wait([handle.staged for handle in tuple(self._handles)])

    def latest(self) -> SaveHandle | None:
        """The save that was begun last, if nobody has looked at its end yet."""
        return self._handles[-1] if self._handles else None

    def finish(self) -> None:
        """Waits for all saves, at the end of the interpreter, and says if one has failed."""
        error = self.make_room(1)
        if error is not None:
            _log.error(_FAILED, error)

    def forget(self) -> None:
        """For a process that was forked: the saves go on in its parent."""
        self._handles = deque()


def step_back() -> None:
    """Lets training go first where cores are scarce: this thread, and the threads that it starts, run less eagerly."""
    # Elsewhere than on Linux a thread has no such number of its own.
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICE_STEPS))


flights = Flights()
"""The saves of this process."""

# Before the pools of ``concurrent.futures`` are closed, which ``atexit`` is too late for, and those were the writers.
threading._register_atexit(flights.finish)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=flights.forget)
