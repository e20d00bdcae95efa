"""Copies from accelerators that go on beside what these compute: queued on a stream of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pyckpt.torch.side_stream import side_streams
from pyckpt.torch.source import byte_tensor, host_bytes

__all__ = ["DeviceCopies", "can_queue"]


def can_queue(device: torch.device) -> bool:
    """True for the host, and for devices with streams."""
    return device.type == "cpu" or side_streams(device) is not None


class DeviceCopies:
    """Tensors of devices and the (pinned) host memory that each goes to; see ``pyckpt.engine.late_copy.Queued``."""

    def __init__(self, copies: Sequence[tuple[torch.Tensor, memoryview]]) -> None:
        self._copies = copies
        devices = dict.fromkeys(tensor.device for tensor, _ in copies)
        self._before = {device: torch.accelerator.current_stream(device).record_event() for device in devices}
        self._after: dict[torch.device, torch.Event] = {}

    def queue(self) -> None:
        """Asks each device for its copies, after what it had been asked for before the call."""
        for device, before in self._before.items():
            stream = torch.Stream(device=device)
            stream.wait_event(before)
            try:
                with stream:
                    for tensor, out in self._copies:
                        if tensor.device == device:
                            host_bytes(out).copy_(byte_tensor(tensor), non_blocking=True)
            except BaseException:
                # Nothing may be on its way to memory that is about to be given back.
                stream.synchronize()
                raise
            self._after[device] = stream.record_event()

    def follow(self) -> None:
        """What is asked of the devices from now on waits for the copies there; the calling thread does not."""
        for device, after in self._after.items():
            torch.accelerator.current_stream(device).wait_event(after)

    def finish(self) -> None:
        """Waits until the copies are made."""
        for after in self._after.values():
            after.synchronize()
        self._copies = ()
