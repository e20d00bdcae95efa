"""Cuts a file into pieces that are read, cast and written one at a time; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyckpt.format.dtypes import dtype_of
from pyckpt.format.manifest import Manifest
from pyckpt.interop.hf.plan import PlannedFile, Weight

__all__ = ["Piece", "Slice", "cut_file", "piece_bytes"]

PIECE_BYTES = 16 << 20
"""Stored bytes of most pieces."""
MAX_PIECE_BYTES = 128 << 20
PIECE_SLICES = 512
"""Tensors in one piece, at most."""
BLOCKS_PER_SHARD = 4
"""A block is read whole for its digest: so many of them from each shard, and few bytes are read for nothing."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements ``[start, stop)`` of a tensor, in row-major order."""

    weight: Weight
    start: int
    stop: int

    @property
    def stored_bytes(self) -> int:
        """Bytes in the checkpoint."""
        return (self.stop - self.start) * dtype_of(self.weight.stored).bits // 8

    @property
    def nbytes(self) -> int:
        """Bytes in the export."""
        return (self.stop - self.start) * dtype_of(self.weight.dtype).bits // 8

    @property
    def is_cast(self) -> bool:
        """Whether the bytes change on the way."""
        return self.weight.stored != self.weight.dtype


@dataclass(frozen=True, slots=True)
class Piece:
    """Slices that lie one after the other in the file."""

    offset: int
    """First byte, counted from where the data begins."""
    slices: tuple[Slice, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in the export."""
        return sum(each.nbytes for each in self.slices)

    @property
    def stored_bytes(self) -> int:
        """Bytes in the checkpoint."""
        return sum(each.stored_bytes for each in self.slices)

    @property
    def memory(self) -> int:
        """Bytes of the buffers that the piece needs."""
        return self.nbytes + sum(each.stored_bytes for each in self.slices if each.is_cast)


def cut_file(file: PlannedFile, sizes: Sequence[int]) -> Iterator[Piece]:
    """Pieces of the file in order; ``sizes`` are the stored bytes that a piece of each tensor may have."""
    slices: list[Slice] = []
    filled, begin, at = 0, 0, 0
    for weight, size in zip(file.weights, sizes, strict=True):
        bits = dtype_of(weight.stored).bits
        # Eight elements end at the end of a byte, whatever their type.
        step = max(8, size * 8 // bits // 8 * 8)
        for start in range(0, weight.elements, step):
            each = Slice(weight, start, min(start + step, weight.elements))
            if slices and (filled + each.stored_bytes > PIECE_BYTES or len(slices) >= PIECE_SLICES):
                yield Piece(begin, tuple(slices))
                slices, filled, begin = [], 0, at
            slices.append(each)
            filled += each.stored_bytes
            at += each.nbytes
    if slices:
        yield Piece(begin, tuple(slices))


def piece_bytes(manifest: Manifest, weight: Weight) -> int:
    """Stored bytes of a piece of this tensor: more where many shards lie side by side in its rows.

    Types whose elements don't end where blocks do are read whole: the engine reads their shards whole, each time.
    """
    if dtype_of(weight.stored).bits == 6:
        return max(1, weight.stored_bytes)
    own = manifest.shards.slice_of(weight.tensor)
    if len(own) <= 1 or len(weight.shape) <= 1:
        return PIECE_BYTES
    box = manifest.shards.region(own.start).box
    side_by_side = 1
    for length, size in zip(weight.shape[1:], box.size[1:], strict=True):
        side_by_side *= -(-length // max(1, size))
    block = manifest.objects[int(manifest.shards.object[own.start])].block
    return min(max(PIECE_BYTES, side_by_side * BLOCKS_PER_SHARD * block), MAX_PIECE_BYTES)
