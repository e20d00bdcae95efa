"""Where the bytes of a region go: straight into a tensor's memory, or through a staging buffer."""

from __future__ import annotations

import torch

from pyckpt.torch.source import host_view, is_direct

__all__ = ["TensorSink"]


class TensorSink:
    """Fills ``tensor`` with elements that are stored as ``stored``.

    Direct if the tensor is contiguous on the host and has the stored dtype; else ``close`` copies from a staging
    buffer to wherever the tensor is, casting on the way.
    """

    __slots__ = ("_staging", "nbytes", "stored", "tensor")

    def __init__(self, tensor: torch.Tensor, stored: torch.dtype) -> None:
        self.tensor = tensor
        self.stored = stored
        self.nbytes = tensor.numel() * stored.itemsize
        self._staging: torch.Tensor | None = None

    def open(self) -> memoryview:
        """Writable host memory of ``nbytes`` bytes."""
        if self.tensor.dtype == self.stored and is_direct(self.tensor):
            return host_view(self.tensor, writable=True)
        self._staging = torch.empty(self.nbytes, dtype=torch.uint8)
        return host_view(self._staging, writable=True)

    def close(self) -> None:
        """Moves a staging buffer to the tensor, and tells autograd that the values changed."""
        staging, self._staging = self._staging, None
        if not self.nbytes:
            return
        if staging is not None:
            with torch.no_grad():
                self.tensor.detach().copy_(staging.view(self.stored).reshape(self.tensor.shape))
        elif not self.tensor.is_inference():
            # Memory that was written past torch has an old version counter, and a stale graph would go unnoticed.
            torch.autograd.graph.increment_version(self.tensor)
