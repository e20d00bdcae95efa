"""A copy that is made beside training: by threads, and waited for by whoever is about to change what it reads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from pyckpt.engine.buffers import staging
from pyckpt.engine.futures import run_all
from pyckpt.engine.leaves import Source
from pyckpt.errors import Finding, UsageError

__all__ = ["LateCopy", "LateState", "Queued", "Seen", "seen"]

SAMPLE_BYTES = 64

CopyPair = tuple[Source, memoryview]
"""Where bytes come from and where they go."""


class Queued(Protocol):
    """Copies that a device makes after all that it was asked for before the call, and beside what it is asked then."""

    def queue(self) -> None:
        """Asks the device for them; called once, from a thread that copies."""

    def follow(self) -> None:
        """Makes all that the calling thread asks of the device from now on come after them."""

    def finish(self) -> None:
        """Waits until they are made."""


class LateState(Protocol):
    """What of a state nobody changes before a moment that can be waited at."""

    @property
    def sources(self) -> Mapping[int, tuple[Source, ...]]:
        """``id(leaf)`` -> sources of its pieces, which keep the memory as it was at the call alive."""

    def changed(self) -> list[str]:
        """Names of those tensors that were changed since the call, as far as the framework can tell."""

    def by_device(self, copies: Sequence[CopyPair]) -> tuple[list[CopyPair], Queued | None]:
        """Takes out what devices copy by themselves."""

    def hold(self, copy: LateCopy) -> None:
        """From now on whoever changes these tensors calls ``copy.let_go()`` first."""

    def free(self, copy: LateCopy) -> None:
        """Nobody has to any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A piece as it was at the call."""

    name: str
    source: Source
    copy: memoryview
    proof: bytes
    """Digest of all bytes, or some of the bytes, or none where host memory has none of them."""


def seen(name: str, source: Source, copy: memoryview, *, full: bool) -> Seen:
    """Notes the bytes of a source: all of them by their digest, or a few as they are."""
    return Seen(name, source, copy, _digest(source) if full else _sample(source.view()))


class LateCopy:
    """Bytes that are being copied. Ends well only if nothing that it reads was seen to change."""

    def __init__(
        self,
        state: LateState,
        jobs: Iterable[Callable[[], None]],
        pieces: Sequence[Seen],
        *,
        queued: Queued | None,
        threads: int,
        full: bool,
    ) -> None:
        self.nbytes = sum(piece.source.nbytes for piece in pieces)
        self.blocked = 0.0
        """Seconds for which somebody waited in ``let_go``."""
        self._state: LateState | None = state
        self._jobs = deque(jobs)
        if queued is not None:
            self._jobs.appendleft(queued.queue)
        self._queued = queued
        self._pieces = pieces
        self._threads = threads
        self._full = full
        self._left = len(self._jobs)
        self._busy = 0
        self._error: BaseException | None = None
        self._moved = threading.Condition()
        self._judging = threading.Lock()
        self._judged = False

    def run(self) -> None:
        """Makes the copy. UsageError if any of it was changed meanwhile; then it is of no use."""
        try:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="pyckpt-stage") as pool:
                run_all(pool, [self._work] * self._threads)
            # Jobs may be in the hands of those who wait.
            self._wait()
            if self._queued is not None:
                self._queued.finish()
            self._judge()
        finally:
            self.close()
        if self._error is not None:
            raise self._error

    def let_go(self) -> None:
        """Returns once the caller may change what is copied. Errors are for whoever runs the copy."""
        begin = time.perf_counter()
        if self._left:
            # Threads of the caller's own priority: what copies in the background may run less eagerly.
            for _ in range(self._threads):
                threading.Thread(target=self._help, name="pyckpt-stage", daemon=True).start()
            self._wait()
        if self._queued is not None:
            if self._full:
                self._queued.finish()
            else:
                self._queued.follow()
        self._judge()
        self.blocked += time.perf_counter() - begin

    def close(self) -> None:
        """Lets the sources go, and everybody who would wait for them; nothing is written after. Again does nothing."""
        with self._moved:
            if self._left:
                self._give_up(RuntimeError("the copy was given up"))
            while self._busy:
                self._moved.wait()
        if self._queued is not None:
            self._queued.finish()
        state, self._state = self._state, None
        if state is not None:
            state.free(self)
        with self._judging:
            self._judged = True
            self._pieces = ()

    def _work(self) -> None:
        while True:
            with self._moved:
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._busy += 1
            try:
                job()
            except BaseException as error:
                with self._moved:
                    self._busy -= 1
                    self._give_up(error)
                raise
            with self._moved:
                self._busy -= 1
                self._left = max(0, self._left - 1)
                if not self._left:
                    self._moved.notify_all()

    def _help(self) -> None:
        try:
            self._work()
        except BaseException:  # noqa: BLE001 - it is kept for whoever runs the copy
            return

    def _give_up(self, error: BaseException) -> None:
        self._error = self._error or error
        self._jobs.clear()
        self._left = 0
        self._moved.notify_all()

    def _wait(self) -> None:
        with self._moved:
            while self._left:
                self._moved.wait()

    def _judge(self) -> None:
        """Says once whether the copy is what was there at the call."""
        with self._judging:
            state = self._state
            if self._judged or self._error is not None or state is None:
                return
            names = dict.fromkeys(state.changed())
            names.update(dict.fromkeys(piece.name for piece in self._pieces if self._differs(piece)))
            if names:
                self._error = _torn(list(names))
            self._judged = True

    def _differs(self, piece: Seen) -> bool:
        if self._full:
            return piece.proof != _digest_of(piece.copy) or piece.proof != _digest(piece.source)
        return piece.proof != b"" and piece.proof != _sample(piece.copy)


def _torn(names: Sequence[str]) -> UsageError:
    findings = [Finding("usage.invalid", name, "changed between the call and the end of the copy") for name in names]
    return UsageError(
        "usage.invalid",
        f"{len(names)} tensors were changed by something else than step() while they were copied",
        findings=findings,
        hint="wait for handle.staged before you change them, or use SaveOptions(staging='block')",
    )


def _sample(view: memoryview | None) -> bytes:
    if view is None:
        return b""
    middle = len(view) // 2
    return b"".join((view[:SAMPLE_BYTES], view[middle : middle + SAMPLE_BYTES], view[-SAMPLE_BYTES:]))


def _digest(source: Source) -> bytes:
    view = source.view()
    if view is not None:
        return _digest_of(view)
    try:
        with staging.buffer(source.nbytes) as buffer:
            out = buffer[: source.nbytes]
            source.read_into(0, out)
            return _digest_of(out)
    finally:
        source.close()


def _digest_of(view: memoryview) -> bytes:
    return blake3(view).digest()
