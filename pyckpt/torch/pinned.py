"""Host memory that a device copies from without the processor's help."""

from __future__ import annotations

from typing import Final

import torch

from pyckpt.engine.buffers import BufferPool, fresh_pages

__all__ = ["locked_pages", "pinned"]


def locked_pages(size: int) -> memoryview:
    """Host memory that a device copies from and to fast, where there is a device."""
    try:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy().data
    except RuntimeError:
        # No page can be locked (a limit of the system, or a device that knows of none): copies are slower, that is all.
        return fresh_pages(size)


pinned: Final = BufferPool(allocate=locked_pages)
"""Buffers of this process for copies to and from accelerators."""
