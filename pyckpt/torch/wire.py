"""Bytes between ranks: batched point-to-point messages of a process group, on whatever device the group works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from pyckpt.errors import RankError

__all__ = ["Wire", "wire_device"]


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


@dataclass(slots=True)
class Wire:
    """Sends and receives byte tensors; counts what it really hands to the group."""

    group: dist.ProcessGroup | None
    sent: int = 0
    """Bytes, since the wire was made."""
    received: int = 0

    def peer(self, rank: int) -> int:
        """Global rank of a rank of the group."""
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    def post(
        self, sends: Sequence[tuple[int, int, torch.Tensor]], receives: Sequence[tuple[int, int, torch.Tensor]]
    ) -> list[Any]:
        """Begins to send and receive contiguous byte tensors, (rank of the group, tag, bytes) each.

        Gives what ``finish`` wants. Raises RankError when the group says that a peer is gone.
        """
        operations = [
            dist.P2POp(function, data, self.peer(rank), self.group, tag)
            for function, listed in ((dist.isend, sends), (dist.irecv, receives))
            for rank, tag, data in listed
        ]
        self.sent += sum(data.nbytes for _, _, data in sends)
        self.received += sum(data.nbytes for _, _, data in receives)
        if not operations:
            return []
        try:
            return list(dist.batch_isend_irecv(operations))
        except RuntimeError as error:
            raise _lost(error) from error

    def finish(self, works: Sequence[Any]) -> None:
        """Waits, on the host or (with an accelerator) on its current stream, until all of ``works`` are done."""
        try:
            for work in works:
                work.wait()
        except RuntimeError as error:
            raise _lost(error) from error


def _lost(error: RuntimeError) -> RankError:
    return RankError(
        "rank.failed",
        f"tensors could not be exchanged with another rank: {error}",
        hint="a rank died, or left the exchange; targets may hold a mixture of old and new values",
    )
