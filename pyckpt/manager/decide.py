"""One decision per step, the same on every rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import UsageError
from pyckpt.manager.requests import Requests
from pyckpt.manager.when import BeforePreemption, Moment, Needs, SavePolicy, any_of

__all__ = ["Decider", "Decision", "check_same_step"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What all ranks do now."""

    save: bool
    leave: bool = False
    """After the save, with the exit code of the preemption."""
    signals: frozenset[int] = frozenset()
    """What the save answers."""
    files: frozenset[str] = frozenset()


def check_same_step(steps: Sequence[int]) -> None:
    """Raises UsageError if the ranks are not at one step."""
    if len(set(steps)) > 1:
        raise UsageError(
            "usage.invalid",
            f"ranks are at different steps: {', '.join(f'rank {rank}: {step}' for rank, step in enumerate(steps))}",
            hint="all ranks call the manager together, with the same step",
        )


class Decider:
    """Asks the policies: each rank for itself where the step says it all, otherwise rank 0 for everybody."""

    def __init__(self, policies: Sequence[SavePolicy], preemption: BeforePreemption | None) -> None:
        self._policy = any_of(*policies)
        self._preemption = preemption
        needs: Needs = self._policy.needs
        self._needs = needs if preemption is None else needs | preemption.needs
        self._requests = Requests(self._needs)
        self._since = time.monotonic()

    def decide(
        self, step: int, previous: int | None, conversation: Callable[[], Coordinator], object_: Callable[[], None]
    ) -> Decision:
        """Decides for a step; speaks to the other ranks only if a policy needs more than the step.

        Whatever ``object_`` raises on rank 0 is then raised on all ranks, unless it is time to leave.
        """
        if not self._needs:
            return Decision(self._policy.should_save(Moment(step, previous)))

        def tell() -> bytes:
            packed: bytes = msgpack.packb([step, sorted(self._requests.signals())])
            return packed

        def choose(told: Sequence[bytes]) -> bytes:
            said = [msgpack.unpackb(each) for each in told]
            check_same_step([each[0] for each in said])
            came = frozenset(number for _, numbers in said for number in numbers)
            seconds = time.monotonic() - self._since
            moment = Moment(step, previous, seconds, came, self._requests.files())
            leave = self._preemption is not None and self._preemption.should_save(moment)
            if not leave:
                object_()
            save = leave or self._policy.should_save(moment)
            packed: bytes = msgpack.packb([save, leave, sorted(came), sorted(moment.files)])
            return packed

        save, leave, signals, files = msgpack.unpackb(round_trip(conversation(), f"step {step}", tell, choose))
        return Decision(save, leave, frozenset(signals), frozenset(files))

    def done(self, decision: Decision, rank: int) -> None:
        """The save that was decided on is over."""
        self.rest()
        self._requests.answer(decision.signals, decision.files if rank == 0 else ())

    def rest(self) -> None:
        """Time counts from now."""
        self._since = time.monotonic()

    def close(self) -> None:
        """Stops listening for signals."""
        self._requests.close()
