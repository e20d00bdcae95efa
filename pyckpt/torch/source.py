"""Bytes of a tensor for the engine: without a copy where the memory is contiguous and on the host."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any, Final

import torch

__all__ = ["TensorSource", "byte_tensor", "host_bytes", "host_view", "is_direct", "lies_plain"]

_READ: Final = 0x100
_WRITE: Final = 0x200
_from_memory: Callable[[int, int, int], memoryview] = ctypes.pythonapi.PyMemoryView_FromMemory
_from_memory.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)  # type: ignore[attr-defined]
_from_memory.restype = ctypes.py_object  # type: ignore[attr-defined]


def is_direct(tensor: torch.Tensor) -> bool:
    """True if the memory of the tensor, as it lies, is its elements in row-major order on the host."""
    return tensor.is_cpu and lies_plain(tensor)


def lies_plain(tensor: torch.Tensor) -> bool:
    """True if the memory of the tensor, wherever it is, holds its elements in row-major order."""
    # A lazily conjugated or negated tensor is contiguous, but its memory holds other values.
    return tensor.is_contiguous() and not (tensor.is_conj() or tensor.is_neg())


def host_view(tensor: torch.Tensor, *, writable: bool = False) -> memoryview:
    """The bytes of a direct tensor; whoever asks keeps the tensor alive as long as the view."""
    size = tensor.nbytes
    if not size:
        return memoryview(bytearray())
    return _from_memory(tensor.data_ptr(), size, _WRITE if writable else _READ)


def byte_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """One-dimensional ``uint8`` tensor of the elements in row-major order, on the same device; a view if it can be."""
    with torch.no_grad():
        plain = tensor.detach()
        if plain.is_conj() or plain.is_neg():
            plain = plain.resolve_conj().resolve_neg()
        return plain.contiguous().reshape(-1).view(torch.uint8)


def host_bytes(view: memoryview) -> torch.Tensor:
    """``uint8`` tensor over writable host memory; nothing is copied."""
    return torch.frombuffer(view, dtype=torch.uint8)


class TensorSource:
    """Reads one tensor, which it keeps alive."""

    __slots__ = ("_flat", "_lock", "nbytes", "tensor")

    def __init__(self, tensor: torch.Tensor, nbytes: int) -> None:
        self.tensor = tensor
        self.nbytes = nbytes
        self._flat: torch.Tensor | None = None
        self._lock: Any = None

    def view(self) -> memoryview | None:
        """The tensor's own memory, or None if a copy would be needed."""
        return host_view(self.tensor) if is_direct(self.tensor) else None

    def read_into(self, start: int, out: memoryview) -> None:
        """Copies bytes from ``start`` on; strided and device tensors through a contiguous copy kept until ``close``."""
        if not out.nbytes:
            return
        flat = self._flat
        if flat is None:
            with _GUARD:
                if self._lock is None:
                    self._lock = threading.Lock()
            with self._lock:
                flat = self._flat
                if flat is None:
                    flat = self._flat = byte_tensor(self.tensor)
        host_bytes(out).copy_(flat[start : start + out.nbytes])

    def close(self) -> None:
        """Frees the contiguous copy."""
        self._flat = None


# One lock for making locks: twenty thousand sources that are never read through need none of their own.
_GUARD: Final = threading.Lock()
