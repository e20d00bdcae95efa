"""How the writers of one save, or the readers of one load, speak to each other.

Everybody sends something to the coordinator (rank 0), and the coordinator answers everybody; that is all.
No tensor travels here. Implementations for process groups live with their framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Coordinator", "Single"]


class Coordinator(Protocol):
    """One conversation. Every call has a deadline; RankError names the ranks that died or never answered."""

    @property
    def rank(self) -> int:
        """This process, from 0."""

    @property
    def size(self) -> int:
        """Number of processes."""

    @property
    def token(self) -> int:
        """From 0 to 32767: the same on all ranks, and hardly ever that of another conversation of theirs."""

    def gather(self, what: str, payload: bytes) -> list[bytes] | None:
        """Sends ``payload`` to rank 0, which gets the payloads of all ranks in order; the others get None.

        Raises RankError ``rank.timeout`` or ``rank.failed`` on rank 0.
        """

    def announce(self, what: str, payload: bytes | None) -> bytes:
        """Gives what rank 0 passes to every rank. Raises RankError when rank 0 doesn't answer."""

    def check(self, ranks: Sequence[int]) -> None:
        """Raises RankError ``rank.failed`` if one of these ranks is silent or has given up; may be called often."""

    def abandon(self, why: str) -> None:
        """Tells whoever waits for this rank outside of a round, and asks ``check``, that it will not come."""

    def close(self) -> None:
        """Ends the conversation: stops signs of life and clears what was left in the medium."""


class Single:
    """The coordinator of a process that works alone."""

    rank = 0
    size = 1
    token = 0

    def gather(self, what: str, payload: bytes) -> list[bytes] | None:
        """Gives the only payload there is."""
        del what
        return [payload]

    def announce(self, what: str, payload: bytes | None) -> bytes:
        """Gives the payload back."""
        del what
        return payload or b""

    def check(self, ranks: Sequence[int]) -> None:
        """There is nobody else."""

    def abandon(self, why: str) -> None:
        """There is nobody else."""

    def close(self) -> None:
        """Nothing to end."""
