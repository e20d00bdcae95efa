"""Several writers of one save as threads of one process: for tests, and for trying a layout out without processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from typing import TypeVar

from pyckpt.engine.coordinator import Coordinator
from pyckpt.errors import RankError

__all__ = ["ThreadCoordinator", "thread_coordinators", "together"]

Result = TypeVar("Result")


class _Medium:
    def __init__(self, size: int, seconds: float) -> None:
        self.size = size
        self.seconds = seconds
        self.to_root: Queue[tuple[int, str, bytes]] = Queue()
        self.to_rank: list[Queue[tuple[str, bytes]]] = [Queue() for _ in range(size)]
        self.given_up: dict[int, str] = {}


class ThreadCoordinator:
    """One writer's side of a conversation through queues."""

    token = 0

    def __init__(self, medium: _Medium, rank: int) -> None:
        self._medium = medium
        self.rank = rank
        self.size = medium.size

    def gather(self, what: str, payload: bytes) -> list[bytes] | None:
        """Payloads of all ranks, on rank 0."""
        if self.rank:
            self._medium.to_root.put((self.rank, what, payload))
            return None
        payloads = {0: payload}
        while len(payloads) < self.size:
            try:
                rank, said, other = self._medium.to_root.get(timeout=self._medium.seconds)
            except Empty:
                missing = sorted(set(range(self.size)) - set(payloads))
                raise RankError("rank.timeout", f"no answer in round {what!r}", key=f"rank {missing[0]}") from None
            if said != what:
                raise RankError("rank.failed", f"is in round {said!r}, not {what!r}", key=f"rank {rank}")
            payloads[rank] = other
        return [payloads[rank] for rank in range(self.size)]

    def announce(self, what: str, payload: bytes | None) -> bytes:
        """What rank 0 says."""
        if self.rank == 0:
            for queue in self._medium.to_rank[1:]:
                queue.put((what, payload or b""))
            return payload or b""
        try:
            said, answer = self._medium.to_rank[self.rank].get(timeout=self._medium.seconds)
        except Empty:
            raise RankError("rank.timeout", f"rank 0 said nothing in round {what!r}", key="rank 0") from None
        if said != what:
            raise RankError("rank.failed", f"is in round {said!r}, not {what!r}", key="rank 0")
        return answer

    def check(self, ranks: Sequence[int]) -> None:
        """RankError if one of them has given up."""
        for rank in ranks:
            if rank in self._medium.given_up:
                raise RankError("rank.failed", self._medium.given_up[rank], key=f"rank {rank}")

    def abandon(self, why: str) -> None:
        """Tells those who ask."""
        self._medium.given_up[self.rank] = why

    def close(self) -> None:
        """Nothing is kept."""


def thread_coordinators(size: int, seconds: float = 20.0) -> list[ThreadCoordinator]:
    """One for each writer; a writer that is silent for so many seconds counts as dead."""
    medium = _Medium(size, seconds)
    return [ThreadCoordinator(medium, rank) for rank in range(size)]


def together(
    coordinators: Sequence[Coordinator], work: Callable[[Coordinator], Result]
) -> list[Result | BaseException]:
    """Calls ``work`` for every writer, each in a thread of its own; what each gave or raised, by rank."""
    outcomes: dict[int, Result | BaseException] = {}

    def run(coordinator: Coordinator) -> None:
        try:
            outcomes[coordinator.rank] = work(coordinator)
        except BaseException as error:  # noqa: BLE001 - whatever a writer raises is its outcome
            outcomes[coordinator.rank] = error

    threads = [threading.Thread(target=run, args=(each,)) for each in coordinators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[each.rank] for each in coordinators]
