"""Sources and sinks that are plain host memory."""

from __future__ import annotations

from pyckpt.engine.buffers import copy_bytes

__all__ = ["MemorySink", "MemorySource"]


class MemorySource:
    """Bytes that lie in contiguous host memory."""

    __slots__ = ("_view", "nbytes")

    def __init__(self, data: memoryview | bytes | bytearray) -> None:
        self._view = memoryview(data).cast("B")
        self.nbytes = len(self._view)

    def view(self) -> memoryview | None:
        """The memory itself."""
        return self._view

    def read_into(self, start: int, out: memoryview) -> None:
        """Copies bytes from ``start`` on."""
        copy_bytes(out, self._view[start : start + len(out)])

    def close(self) -> None:
        """Nothing is kept."""


class MemorySink:
    """Fresh host memory of ``nbytes`` bytes, taken when it is first asked for: a reader has found the bytes by then."""

    __slots__ = ("_data", "nbytes")

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._data: bytearray | None = None

    @property
    def data(self) -> bytearray:
        """The memory."""
        if self._data is None:
            self._data = bytearray(self.nbytes)
        return self._data

    def open(self) -> memoryview:
        """The memory itself."""
        return memoryview(self.data)

    def close(self) -> None:
        """The bytes are where they belong."""
