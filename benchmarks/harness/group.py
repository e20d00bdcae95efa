"""The workers of one arm on the ranks that this driver serves, opened, commanded and measured together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness.arms import ArmSpec
from benchmarks.harness.channel import Channel, Failed, ask_all
from benchmarks.harness.fleet import Fleet
from benchmarks.harness.footprint import Footprint, Usage
from benchmarks.harness.segment import Segment
from benchmarks.harness.worker import PROTOCOL

__all__ = ["Ended", "Group", "Side"]


class Ended(Exception):
    """The arm is out, on all drivers; the message says why."""


@dataclass(frozen=True, slots=True)
class Side:
    """What the ranks hold: a segment for each rank of this driver, and the dimension that tensors are cut along."""

    dim: int
    segments: Mapping[int, Segment]


class Group:
    """One arm in one process group of ``ranks``."""

    def __init__(self, spec: ArmSpec, ranks: int, state: Side, target: Side, fleet: Fleet) -> None:
        self.spec, self.ranks, self._fleet = spec, ranks, fleet
        self._state, self._target = state, target
        self.channels: list[Channel] = []
        self.answer: dict[str, Any] = {}

    def open(self, device: str, rendezvous: Mapping[str, Any]) -> None:
        """Starts the workers and describes the work to them. Raises Ended on all drivers alike."""
        here = self._fleet.ranks_here(self.ranks)
        failed = None
        try:
            self.channels = [Channel(self.spec.command) for _ in here]
            described = [self._description(rank, device, rendezvous) for rank in here]
            answers = ask_all(self.channels, described)
            if answers:
                self.answer = {"kind": "peer", "durable": False, "warm": False, "settings": {}}
                self.answer.update(answers[0])
            for channel in self.channels:
                channel.footprint = Footprint(channel.pid)
        except (Failed, OSError) as error:
            failed = str(error)
        self._agree(failed)
        self.answer = next(each for each in self._fleet.share(self.answer) if each)

    def ask(self, **command: Any) -> None:
        """Has all workers do something that is not measured. Raises Ended."""
        failed = None
        try:
            ask_all(self.channels, [command] * len(self.channels))
        except Failed as error:
            failed = str(error)
        self._agree(failed)

    def measure(self, **command: Any) -> tuple[float, Usage]:
        """Has all workers do something; seconds of the slowest of all ranks, and what all used. Raises Ended."""
        before = [channel.footprint.begin() for channel in self.channels]
        failed, own = None, []
        try:
            answers = ask_all(self.channels, [command] * len(self.channels))
            for channel, begun, answer in zip(self.channels, before, answers, strict=True):
                own.append([float(answer["seconds"]), asdict(channel.footprint.now().since(begun))])
        except (Failed, KeyError, TypeError, ValueError) as error:
            failed = str(error) if isinstance(error, Failed) else f"an answer without seconds: {error!r}"
        self._agree(failed)
        every = [each for driver in self._fleet.share(own) for each in driver]
        used = [Usage(**usage) for _, usage in every]
        total = Usage(
            sum(each.cpu for each in used),
            sum(each.calls_read for each in used),
            sum(each.calls_written for each in used),
            sum(each.device_read for each in used),
            sum(each.device_written for each in used),
            max(each.peak for each in used),
        )
        return max(seconds for seconds, _ in every), total

    def close(self) -> None:
        """Ends the workers."""
        for channel in self.channels:
            channel.close()
        self.channels = []

    def _agree(self, failed: str | None) -> None:
        reasons = [each for each in self._fleet.share(failed) if each]
        if reasons:
            self.close()
            raise Ended(reasons[0])

    def _description(self, rank: int, device: str, rendezvous: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "arm": {"name": self.spec.name, "class": self.spec.target, "options": self.spec.options},
            "rank": rank,
            "ranks": self.ranks,
            "local_rank": self._fleet.local_rank(rank),
            "device": device,
            "rendezvous": dict(rendezvous),
            "state": _described(self._state, rank),
            "target": _described(self._target, rank),
        }


def _described(side: Side, rank: int) -> dict[str, Any]:
    segment = side.segments[rank]
    tensors: Sequence[dict[str, Any]] = [asdict(part) for part in segment.parts]
    return {"file": segment.path, "bytes": segment.size, "dim": side.dim, "tensors": tensors}
