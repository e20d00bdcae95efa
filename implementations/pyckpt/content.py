"""Content of written tensors by formula (PROTOCOL.md, section 4), and its cuts into regions."""

from __future__ import annotations

import numpy as np

from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import Box, Region

MASK = (1 << 64) - 1
MOST_DIMENSIONS = 64
"""Of an array; what has more is refused before its content counts."""


def elements(fill, dtype, shape):
    """All elements as bit patterns: an array of Python integers in the tensor's shape."""
    count = 1
    for size in shape:
        count *= size
    width = 1 if dtype == "BOOL" else dtype_of(dtype).bits
    values = np.empty(count, dtype=object)
    for position in range(count):
        values[position] = _element(fill, position) & ((1 << width) - 1)
    return values.reshape(shape) if len(shape) <= MOST_DIMENSIONS else values


def _element(fill, position):
    if fill["kind"] == "constant":
        return int(fill["bits"], 16)
    if fill["kind"] == "count":
        return int(fill["start"]) + position
    seed = int(fill["seed"])
    return _mix(seed, position) | _mix(seed + 1, position) << 64


def _mix(seed, position):
    x = ((position + 1) * 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95) & MASK
    x = ((x ^ x >> 32) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 29) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 32


def region_of(message):
    """A region of a message."""
    box = Box(tuple(map(int, message["offset"])), tuple(map(int, message["size"])))
    run = message.get("run")
    return Region.of_box(box) if run is None else Region(box, int(run[0]), int(run[1]))


def bytes_of(values, dtype, region):
    """The region's elements, in run order, packed."""
    cut = tuple(slice(offset, offset + size) for offset, size in zip(region.box.offset, region.box.size, strict=True))
    width = dtype_of(dtype).bits
    box = values if len(cut) > MOST_DIMENSIONS else np.asarray(values[cut], dtype=object)
    chosen = box.reshape(-1)[region.start : region.stop].tolist()
    if width % 8 == 0:
        return b"".join(value.to_bytes(width // 8, "little") for value in chosen)
    stream = sum(value << place * width for place, value in enumerate(chosen))
    return stream.to_bytes((len(chosen) * width + 7) // 8, "little")
