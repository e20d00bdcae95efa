"""Bytes between ranks: batched point-to-point messages of a process group, on whatever device the group works with."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import torch
import torch.distributed as dist

from pyckpt.engine.coordinator import Coordinator
from pyckpt.errors import RankError, UsageError

__all__ = ["Letter", "Posted", "Wire", "can_carry", "open_wire"]

LOOK_SECONDS = 0.25
"""How often the watch is called while nothing arrives."""

TAGS = 1 << 16
"""Of one exchange; messages of one tag keep their order."""

Letter: TypeAlias = tuple[int, int, torch.Tensor]
"""Rank of the group, tag, and contiguous bytes."""


@dataclass(frozen=True, slots=True)
class Posted:
    """Messages under way."""

    works: tuple[Any, ...]
    peers: tuple[int, ...]
    """Ranks of the group at their other ends, in the order of the works unless the group has made fewer works."""
    on_host: bool


def can_carry(group: dist.ProcessGroup | None, *, accelerated: bool) -> bool:
    """Whether the group can send tensors that are on accelerators, or on hosts alone."""
    backends = _backends(group)
    return "cpu" in backends or (accelerated and _device_of(backends) is not None)


def open_wire(group: dist.ProcessGroup | None, size: int, *, accelerated: bool) -> torch.device:
    """Where wire buffers lie: on the accelerator if tensors are there and the group can send from it, else the host.

    All ``size`` ranks call it with the same ``accelerated``. Raises UsageError where the group can send from neither.
    """
    if size == 1:
        return torch.device("cpu")
    backends = _backends(group)
    device = _device_of(backends) if accelerated else None
    if device is not None:
        # The group's communicator is made by its first operation, in which all ranks have to take part.
        dist.all_reduce(torch.zeros(1, device=device), group=group)
        return device
    if "cpu" not in backends:
        raise UsageError(
            "usage.invalid",
            f"the process group serves {', '.join(sorted(backends)) or 'no device'}, the tensors are on the host",
            hint='init_process_group("cpu:gloo,cuda:nccl") serves both',
        )
    return torch.device("cpu")


def _device_of(backends: dict[str, str]) -> torch.device | None:
    """The accelerator, if the group sends from its memory; gloo lists every device, and sends from the host alone."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None or backends.get(device.type, "gloo") == "gloo":
        return None
    return torch.device(device.type, torch.accelerator.current_device_index())


def _backends(group: dist.ProcessGroup | None) -> dict[str, str]:
    """Device type -> backend of a process group."""
    config = dist.get_backend_config(group)
    return dict(pair.split(":", 1) for pair in str(config).split(",") if ":" in pair)


class Wire:
    """Sends and receives byte tensors; counts what it really hands to the group."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self._group = group
        self._coordinator: Coordinator | None = None
        self._first_tag = 0
        self.sent = 0
        """Bytes, since the wire was made."""
        self.received = 0

    @contextmanager
    def watched(self, coordinator: Coordinator) -> Iterator[None]:
        """Looks for signs of life of those who are waited for, and tells the others if this rank gives up."""
        self._coordinator = coordinator
        # What was left behind by an exchange that failed must not meet a message of this one.
        self._first_tag = coordinator.token * TAGS
        try:
            yield
        except BaseException as error:
            coordinator.abandon(str(error))
            raise
        finally:
            self._coordinator = None

    def post(self, sends: Sequence[Letter], receives: Sequence[Letter]) -> Posted:
        """Begins to send and receive. Raises RankError when the group says that a peer is gone."""
        operations = [
            dist.P2POp(function, data, self._peer(rank), self._group, self._first_tag + tag % TAGS)
            for function, listed in ((dist.isend, sends), (dist.irecv, receives))
            for rank, tag, data in listed
        ]
        self.sent += sum(data.nbytes for _, _, data in sends)
        self.received += sum(data.nbytes for _, _, data in receives)
        peers = tuple(rank for rank, _, _ in (*sends, *receives))
        on_host = all(data.device.type == "cpu" for _, _, data in (*sends, *receives))
        if not operations:
            return Posted((), peers, on_host)
        try:
            return Posted(tuple(dist.batch_isend_irecv(operations)), peers, on_host)
        except RuntimeError as error:
            raise _lost(error, peers) from error

    def finish(self, posted: Posted) -> None:
        """Waits, on the host or (with an accelerator) on its current stream, until all messages are there."""
        # On an accelerator this doesn't make the host wait, and the group has a watch of its own.
        if not posted.works or not posted.on_host or self._coordinator is None:
            _wait(posted)
            return
        # A wait that has begun can't be interrupted, and one with a limit breaks the connection: a thread waits.
        waiting: Future[None] = Future()
        threading.Thread(target=_wait_for, args=(posted, waiting), name="pyckpt-wire", daemon=True).start()
        peers = sorted(set(posted.peers))
        while True:
            try:
                waiting.result(LOOK_SECONDS)
                return
            except FutureTimeoutError:
                if waiting.done():
                    # It may have come between the end of that wait and this look.
                    waiting.result()
                    return
                self._coordinator.check(peers)

    def _peer(self, rank: int) -> int:
        """Global rank of a rank of the group."""
        return rank if self._group is None else dist.get_global_rank(self._group, rank)


def _wait(posted: Posted) -> None:
    lost: list[tuple[RuntimeError, Sequence[int]]] = []
    limit: tuple[timedelta, ...] = ()
    for number, work in enumerate(posted.works):
        try:
            work.wait(*limit)
        except RuntimeError as error:
            lost.append((error, _peers_of(posted, number)))
            if not posted.on_host:
                break
            # What else has failed by now says which of them is dead, and which has only left because of that.
            limit = (timedelta(milliseconds=1),)
    if lost:
        closed = [each for each in lost if not _TIME_IS_UP.search(str(each[0]))] or lost
        raise _lost(closed[0][0], [rank for _, ranks in closed for rank in ranks])


def _wait_for(posted: Posted, waiting: Future[None]) -> None:
    try:
        _wait(posted)
    except BaseException as error:  # noqa: BLE001 - it belongs to who asked
        waiting.set_exception(error)
    else:
        waiting.set_result(None)


def _peers_of(posted: Posted, number: int) -> Sequence[int]:
    """The peer of one work, or all of them if the group has made fewer works than there are messages."""
    return posted.peers[number : number + 1] if len(posted.works) == len(posted.peers) else posted.peers


_TIME_IS_UP = re.compile(r"time(d |-)?out", re.IGNORECASE)


def _lost(error: RuntimeError, peers: Sequence[int]) -> RankError:
    names = ", ".join(f"rank {rank}" for rank in sorted(set(peers)))
    return RankError(
        "rank.failed",
        f"tensors could not be exchanged: {error}",
        key=names,
        hint="it died, or left the exchange; targets may hold a mixture of old and new values",
    )
