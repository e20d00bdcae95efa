"""Whether a tier answers: one line in the log when it stops, one when it is back, and when to ask it again."""

from __future__ import annotations

import logging
import random
import time

__all__ = ["Health"]

_log = logging.getLogger("pyckpt")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0


class Health:
    """The outages of one tier."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._again = 0.0
        self.error = ""
        """What went wrong last; empty while all is well."""

    @property
    def down(self) -> bool:
        """Whether an outage goes on."""
        return self._since is not None

    def ready(self) -> bool:
        """Whether the tier may be asked now."""
        return self._since is None or time.monotonic() >= self._again

    def wait_seconds(self) -> float:
        """Seconds until the tier may be asked."""
        return 0.0 if self._since is None else max(0.0, self._again - time.monotonic())

    def failed(self, error: BaseException) -> None:
        """It did not do what it was asked; the next try is later each time, up to five minutes."""
        now = time.monotonic()
        self.error = str(error)
        if self._since is None:
            self._since = now
            self._pause = FIRST_PAUSE_SECONDS
            _log.warning("the tier %s does not answer, training goes on, it is tried again: %s", self._name, error)
        # Other jobs that lost the same server do not come back at the same moment.
        self._again = now + self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def worked(self) -> None:
        """It did all that it was asked."""
        if self._since is not None:
            _log.warning("the tier %s is back after %.0f s", self._name, time.monotonic() - self._since)
        self._since = None
        self.error = ""
