"""Signals that came and files that appeared: what people and schedulers ask of a run from outside."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from pyckpt.errors import UsageError
from pyckpt.manager.when import Needs

__all__ = ["Requests"]

_log = logging.getLogger("pyckpt")


class Requests:
    """Listens for the needed signals from now on; signals and files stay until they are answered.

    Raises UsageError where Python can't listen: outside of the main thread, or for a signal that can't be caught.
    """

    def __init__(self, needs: Needs) -> None:
        self._files = needs.files
        self._came: set[int] = set()
        self._stuck: set[str] = set()
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        for number in sorted(needs.signals):
            try:
                self._before[number] = signal.signal(number, self._note)
            except (ValueError, OSError) as error:
                self._give_back()
                raise UsageError(
                    "usage.invalid",
                    f"can't listen for it: {error}",
                    key=f"signal {number}",
                    hint="make the manager in the main thread",
                ) from error
        _listening.append(self)

    def signals(self) -> frozenset[int]:
        """Signals that this process got and nobody has answered."""
        return frozenset(self._came)

    def files(self) -> frozenset[str]:
        """Files that are there and not answered."""
        there = {path for path in self._files if os.path.lexists(path)}
        self._stuck &= there
        return frozenset(there - self._stuck)

    def answer(self, signals: Iterable[int], files: Iterable[str]) -> None:
        """Forgets the signals and removes the files. One that can't be removed counts again once it was gone."""
        self._came.difference_update(signals)
        for path in files:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._stuck.add(path)
                _log.warning("the save that %r asked for is done, but the file can't be removed: %s", path, error)

    def close(self) -> None:
        """Leaves the signals to whom they belonged before. Again does nothing."""
        if self in _listening:
            _listening.remove(self)
        self._give_back()

    def _give_back(self) -> None:
        for number, before in self._before.items():
            # Somebody who has taken the signal since keeps it; None: a handler that Python doesn't know.
            if before is not None and signal.getsignal(number) == self._note:
                signal.signal(number, before)
            for other in _listening:
                # Whoever began to listen later must not give it back to us.
                if other._before.get(number) == self._note:
                    other._before[number] = before
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._came.add(number)


_listening: list[Requests] = []
"""Those of this process."""


def _leave_to_parent() -> None:
    for each in tuple(_listening):
        each.close()


if hasattr(os, "register_at_fork"):
    # A process that was forked does not come to the steps of its parent, and would only be deaf to the signals.
    os.register_at_fork(after_in_child=_leave_to_parent)
