"""Copies to a device that go on beside whatever the caller computes there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import torch

__all__ = ["SideStreams", "Streams", "side_streams"]


class Streams(Protocol):
    """Where the work of a sink runs."""

    def follow(self) -> None:
        """Makes all later work come after what the calling thread has asked of the device by now."""

    def run(self, work: Callable[[], None]) -> Callable[[], None]:
        """Calls ``work``, and gives what waits until all that it asked of the device is done.

        If ``work`` fails, that is so before the error is raised.
        """


class SideStreams:
    """One more stream of a device for each thread that copies.

    A thread of its own each, because a stream that is entered remembers only one thread's way back.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._own = threading.local()
        self._before: torch.Event | None = None

    def follow(self) -> None:
        """Tensors may have been allocated, zeroed or read by kernels that are still queued."""
        self._before = torch.accelerator.current_stream(self._device).record_event()

    def run(self, work: Callable[[], None]) -> Callable[[], None]:
        """Runs ``work`` on this thread's stream."""
        stream = self._stream()
        try:
            with stream:
                work()
        except BaseException:
            stream.synchronize()
            raise
        return stream.record_event().synchronize

    def _stream(self) -> torch.Stream:
        stream: torch.Stream | None = getattr(self._own, "stream", None)
        if stream is None:
            stream = self._own.stream = torch.Stream(device=self._device)
            if self._before is not None:
                stream.wait_event(self._before)
        return stream


def side_streams(device: torch.device) -> SideStreams | None:
    """Streams of a device; None for one that has none, or gains nothing by them."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or accelerator.type != device.type:
        return None
    if device.type == "mps":
        # The device's memory is the host's, and it can't cast from 64-bit floats.
        return None
    try:
        torch.Stream(device=device)
    except RuntimeError:
        return None
    return SideStreams(device)
