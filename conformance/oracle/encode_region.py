"""The bytes of a region of a tensor, element by element (chapters 10 and 15): slow, and plainly right."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

__all__ = ["Region", "region_bytes", "whole"]


@dataclass(frozen=True, slots=True)
class Region:
    """A box, and a run ``[start, stop)`` within it; ``run`` None is the whole box."""

    offset: tuple[int, ...]
    size: tuple[int, ...]
    run: tuple[int, int] | None = None

    @property
    def volume(self) -> int:
        """Elements of the box."""
        return prod(self.size)

    @property
    def start(self) -> int:
        """First position of the run."""
        return 0 if self.run is None else self.run[0]

    @property
    def stop(self) -> int:
        """End of the run."""
        return self.volume if self.run is None else self.run[1]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.stop - self.start


def whole(shape: tuple[int, ...]) -> Region:
    """All of a tensor."""
    return Region((0,) * len(shape), shape)


def region_bytes(data: bytes, bits: int, shape: tuple[int, ...], region: Region) -> bytes:
    """The region's bytes out of those of the whole tensor; the function ``read`` of section 15.1."""
    if region.elements == prod(shape):
        return data
    stream = int.from_bytes(data, "little") if bits % 8 else 0
    width = bits // 8
    result = bytearray()
    packed = 0
    for place, position in enumerate(range(region.start, region.stop)):
        at = _flat(region, position, shape)
        if bits % 8:
            packed |= (stream >> at * bits & (1 << bits) - 1) << place * bits
        else:
            result += data[at * width : (at + 1) * width]
    return packed.to_bytes(region.elements * bits // 8, "little") if bits % 8 else bytes(result)


def _flat(region: Region, position: int, shape: tuple[int, ...]) -> int:
    """The row-major position in the tensor of an element of the box."""
    index = []
    for size in reversed(region.size):
        position, coordinate = divmod(position, size)
        index.append(coordinate)
    flat = 0
    for coordinate, offset, size in zip(reversed(index), region.offset, shape, strict=True):
        flat = flat * size + offset + coordinate
    return flat
