"""Reads an object that is yet to be made as if it were there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from pyckpt.engine.copy_plan import Stitch
from pyckpt.storage.base import ObjectReader
from pyckpt.storage.vectors import byte_views, total_bytes

__all__ = ["StitchedReader"]


@dataclass(frozen=True, slots=True)
class StitchedReader:
    """A new object, as if it were there already."""

    stitch: Stitch
    old: ObjectReader
    size: int

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range of the new object. ObjectShort."""
        rest = byte_views(views)
        left = total_bytes(rest)
        while left:
            take = self._fill(offset, rest[0])
            rest = [rest[0][take:], *rest[1:]] if take < len(rest[0]) else rest[1:]
            offset += take
            left -= take

    def _fill(self, offset: int, view: memoryview) -> int:
        """Fills the beginning of a view with bytes that lie together; gives how many."""
        header = self.stitch.header
        if offset < len(header):
            take = min(len(view), len(header) - offset)
            view[:take] = header[offset : offset + take]
            return take
        for start, old, size in self.stitch.pieces:
            if start <= offset < start + size:
                take = min(len(view), start + size - offset)
                self.old.read_into(old + offset - start, [view[:take]])
                return take
        raise EOFError(f"nothing at offset {offset} of {self.size} bytes")

    def close(self) -> None:
        """Closes the old object."""
        self.old.close()

    def __enter__(self) -> StitchedReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
