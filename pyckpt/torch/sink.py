"""Where the bytes of a region go: straight into a tensor's memory, or piece by piece to wherever its elements are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pyckpt.format.geometry import Copy
from pyckpt.torch.dtypes import PACKED
from pyckpt.torch.side_stream import Streams
from pyckpt.torch.source import host_bytes, host_view, is_direct, lies_plain
from pyckpt.torch.strided import put, writing

__all__ = ["DeviceSink", "TensorSink"]


class TensorSink:
    """Fills ``tensor`` with elements that are stored as ``stored``.

    Its own memory if the tensor is contiguous on the host and has the stored dtype; else elements are taken as they
    arrive, cast, and put where they are.
    """

    __slots__ = ("_is_direct", "nbytes", "stored", "tensor")

    def __init__(self, tensor: torch.Tensor, stored: torch.dtype) -> None:
        self.tensor = tensor
        self.stored = stored
        self.nbytes = tensor.numel() * stored.itemsize
        self._is_direct = False

    def open(self) -> memoryview | None:
        """The tensor's memory, or None."""
        self._is_direct = self.tensor.dtype == self.stored and is_direct(self.tensor)
        return host_view(self.tensor, writable=True) if self._is_direct else None

    def take(self, staged: memoryview, copies: Sequence[Copy]) -> Callable[[], None] | None:
        """Puts staged elements in their places, on whatever device, before it returns."""
        put_all(self.tensor, host_bytes(staged), self.stored, copies)
        return None

    def onto(self, tensor: torch.Tensor) -> TensorSink:
        """A sink of the same kind for another tensor."""
        return TensorSink(tensor, self.stored)

    def close(self) -> None:
        """Tells autograd that the values changed."""
        if self._is_direct and self.nbytes and not self.tensor.is_inference():
            # Memory that was written past torch has an old version counter, and a stale graph would go unnoticed.
            torch.autograd.graph.increment_version(self.tensor)


class DeviceSink:
    """Fills a tensor on an accelerator: bytes cross over as they are stored, and are cast and put in place there.

    A piece that is one run of both memories is copied straight into the tensor; any other lies once more on the
    device, as large as the piece.
    """

    __slots__ = ("_streams", "nbytes", "stored", "tensor")

    def __init__(self, tensor: torch.Tensor, stored: torch.dtype, streams: Streams) -> None:
        self.tensor = tensor
        self.stored = stored
        self.nbytes = tensor.numel() * stored.itemsize
        self._streams = streams

    def open(self) -> memoryview | None:
        """No host memory."""
        return None

    def take(self, staged: memoryview, copies: Sequence[Copy]) -> Callable[[], None] | None:
        """Queues the copies; what it gives waits for them."""
        return self._streams.run(lambda: self._copy(host_bytes(staged), copies))

    def onto(self, tensor: torch.Tensor) -> DeviceSink:
        """A sink of the same kind for another tensor."""
        return DeviceSink(tensor, self.stored, self._streams)

    def close(self) -> None:
        """Everything has been waited for."""

    def _copy(self, staged: torch.Tensor, copies: Sequence[Copy]) -> None:
        tensor = self.tensor
        is_alike = tensor.dtype == self.stored and lies_plain(tensor)
        if is_alike and all(copy.is_contiguous for copy in copies):
            width = 1 if self.stored is PACKED else self.stored.itemsize
            with writing(tensor):
                memory = tensor.detach().reshape(-1).view(torch.uint8)
                for copy in copies:
                    size, src, dst = copy.elements * width, copy.src_start * width, copy.dst_start * width
                    memory[dst : dst + size].copy_(staged[src : src + size], non_blocking=True)
            return
        landed = torch.empty(staged.numel(), dtype=torch.uint8, device=tensor.device)
        landed.copy_(staged, non_blocking=True)
        put_all(tensor, landed, self.stored, copies)


def put_all(tensor: torch.Tensor, staged: torch.Tensor, stored: torch.dtype, copies: Sequence[Copy]) -> None:
    """Puts elements that lie in ``staged`` (bytes of ``stored``) into a tensor, cast if its dtype is another one."""
    if PACKED is not None and stored is PACKED:
        # Two numbers a byte can't be cast, and copies of them count bytes.
        tensor, values = tensor.detach().view(torch.uint8), staged
    else:
        values = staged.view(stored)
    for copy in copies:
        piece = values.as_strided(copy.shape, copy.src_strides, copy.src_start)
        put(tensor, copy.dst_start, copy.shape, copy.dst_strides, piece)
