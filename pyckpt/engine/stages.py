"""Writing of sources that become readable stage by stage: while one stage is written, the next one is brought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

__all__ = ["Stages", "in_stages"]

_Result = TypeVar("_Result")


class Stages(Protocol):
    """Brings the bytes of sources, all ranks together, in an order that all of them know."""

    @property
    def count(self) -> int:
        """Number of stages; the same on all ranks."""

    def fill(self, stage: int) -> None:
        """Makes the sources of a stage readable, until the stage after the next one is filled.

        Called for every stage in ascending order, by all ranks. Raises RankError if another rank is lost.
        """


def in_stages(stages: Stages, write: Callable[[int], _Result]) -> list[_Result]:
    """``write(stage)`` for every stage once it is filled, beside the filling of the next; the results in order.

    A rank whose write failed still takes part in filling to the end, so that nobody waits for it in vain; then it
    raises.
    """
    results: list[Future[_Result]] = []
    failed = False
    with ThreadPoolExecutor(1, thread_name_prefix="pyckpt-stage") as pool:
        for stage in range(stages.count):
            # The memory of this stage is that of the one before the last, which has to be written by now.
            for done in results[: stage - 1]:
                failed |= done.exception() is not None
            stages.fill(stage)
            if not failed:
                results.append(pool.submit(write, stage))
    return _all(results)


def _all(results: Sequence[Future[_Result]]) -> list[_Result]:
    return [each.result() for each in results]
