"""What a benchmark counts beside seconds: bytes on the wire, twice over, and the peak of a process's memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

__all__ = ["CallCounter", "PeakMemory", "loopback_bytes"]


def loopback_bytes() -> int:
    """Bytes that the loopback interface has sent so far, whoever sent them: payloads, headers and heartbeats."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[8])
    return 0


class CallCounter:
    """Bytes that this rank hands to other ranks, counted where ``torch.distributed`` is called.

    Sees point-to-point batches, gather, scatter and broadcast by their names in ``torch.distributed``; not the
    functional collectives within DTensor.
    """

    def __init__(self) -> None:
        self.sent = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts while the block runs."""
        real = {name: getattr(dist, name) for name in _COUNTED}

        def wrapped(name: str) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                self.sent += _COUNTED[name](*args, **kwargs)
                return real[name](*args, **kwargs)

            return call

        for name in _COUNTED:
            setattr(dist, name, wrapped(name))
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(dist, name, function)


def _batch(operations: list[Any]) -> int:
    return sum(each.tensor.nbytes for each in operations if each.op is dist.isend)


def _gather(tensor: Any, gather_list: Any = None, dst: int = 0, group: Any = None) -> int:
    del gather_list, group
    return 0 if dist.get_rank() == dst else tensor.nbytes


def _scatter(tensor: Any, scatter_list: Any = None, src: int = 0, group: Any = None) -> int:
    if dist.get_rank() != src:
        return 0
    own = dist.get_group_rank(group, src) if group is not None else src
    return sum(part.nbytes for number, part in enumerate(scatter_list) if number != own)


def _broadcast(tensor: Any, src: int = 0, group: Any = None) -> int:
    return tensor.nbytes * (dist.get_world_size(group) - 1) if dist.get_rank() == src else 0


_COUNTED: dict[str, Callable[..., int]] = {
    "batch_isend_irecv": _batch,
    "gather": _gather,
    "scatter": _scatter,
    "broadcast": _broadcast,
}


class PeakMemory:
    """Growth of this process's resident memory, by the kernel's own high-water mark."""

    def __init__(self) -> None:
        gc.collect()
        _trim()
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")

    def growth(self) -> int:
        """Bytes by which the peak since the start is above what was resident then."""
        return max(0, _status("VmHWM") - self._before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def _trim() -> None:
    """Gives freed memory back to the system: what an allocator keeps would hide what the next arm needs."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
