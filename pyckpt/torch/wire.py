"""Bytes between ranks: batched point-to-point messages of a process group, on whatever device the group works with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pyckpt.errors import RankError

__all__ = ["Posted", "Wire", "wire_device"]


def wire_device(group: dist.ProcessGroup | None, *, accelerated: bool) -> torch.device:
    """Where wire buffers lie: on the accelerator if tensors are there and the group can send from it, else the host.

    ``accelerated`` must be the same on all ranks.
    """
    if accelerated and torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        if device is not None and device.type in _backends(group):
            return torch.device(device.type, torch.accelerator.current_device_index())
    return torch.device("cpu")


def _backends(group: dist.ProcessGroup | None) -> dict[str, str]:
    """Device type -> backend of a process group."""
    config = dist.get_backend_config(group)
    return dict(pair.split(":", 1) for pair in str(config).split(",") if ":" in pair)


@dataclass(frozen=True, slots=True)
class Posted:
    """Messages under way."""

    works: Sequence[Any]
    peers: tuple[int, ...]
    """Ranks of the group at their other ends, in the order of the works unless the group has made fewer works."""
    on_host: bool


@dataclass(slots=True)
class Wire:
    """Sends and receives byte tensors; counts what it really hands to the group."""

    group: dist.ProcessGroup | None
    silence: float = 60.0
    """Seconds that a message between hosts may take. A peer that left the exchange is still connected, and would be
    waited for as long as the group's own limit says."""
    sent: int = 0
    """Bytes, since the wire was made."""
    received: int = 0

    def peer(self, rank: int) -> int:
        """Global rank of a rank of the group."""
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    def post(
        self, sends: Sequence[tuple[int, int, torch.Tensor]], receives: Sequence[tuple[int, int, torch.Tensor]]
    ) -> Posted:
        """Begins to send and receive contiguous byte tensors, (rank of the group, tag, bytes) each.

        Gives what ``finish`` wants. Raises RankError when the group says that a peer is gone.
        """
        operations = [
            dist.P2POp(function, data, self.peer(rank), self.group, tag)
            for function, listed in ((dist.isend, sends), (dist.irecv, receives))
            for rank, tag, data in listed
        ]
        peers = tuple(rank for rank, _, _ in (*sends, *receives))
        self.sent += sum(data.nbytes for _, _, data in sends)
        self.received += sum(data.nbytes for _, _, data in receives)
        if not operations:
            return Posted((), (), on_host=True)
        on_host = all(data.device.type == "cpu" for _, _, data in (*sends, *receives))
        try:
            return Posted(dist.batch_isend_irecv(operations), peers, on_host)
        except RuntimeError as error:
            raise _lost(error, peers) from error

    def finish(self, posted: Posted) -> None:
        """Waits, on the host or (with an accelerator) on its current stream, until all messages are there."""
        # On an accelerator a limit would make the host wait, and the group has a watch of its own.
        limit = (timedelta(seconds=self.silence),) if posted.on_host else ()
        lost: list[tuple[RuntimeError, tuple[int, ...]]] = []
        works, peers = posted.works, posted.peers
        for number, work in enumerate(works):
            try:
                work.wait(*limit)
            except RuntimeError as error:
                lost.append((error, peers[number : number + 1] if len(works) == len(peers) else peers))
                if not posted.on_host:
                    break
                # What else has failed by now says which of them is dead, and which has only left because of that.
                limit = (timedelta(milliseconds=1),)
        if lost:
            closed = [each for each in lost if not _TIME_IS_UP.search(str(each[0]))]
            raise _lost((closed or lost)[0][0], [rank for _, ranks in closed or lost for rank in ranks])


_TIME_IS_UP = re.compile(r"time(d |-)?out", re.IGNORECASE)


def _lost(error: RuntimeError, peers: Sequence[int]) -> RankError:
    names = ", ".join(f"rank {rank}" for rank in sorted(set(peers)))
    return RankError(
        "rank.failed",
        f"tensors could not be exchanged: {error}",
        key=names,
        hint="it died, or left the exchange; targets may hold a mixture of old and new values",
    )
