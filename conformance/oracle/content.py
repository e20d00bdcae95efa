"""Content of written tensors by formula (PROTOCOL.md, section 4)."""

from __future__ import annotations

from math import prod
from typing import Any, Final

__all__ = ["content", "packed"]

_MASK: Final = (1 << 64) - 1


def content(fill: dict[str, Any], dtype: str, bits: int, shape: tuple[int, ...]) -> bytes:
    """All bytes of a tensor of this dtype and shape."""
    return packed([_element(fill, dtype, bits, position) for position in range(prod(shape))], bits)


def packed(elements: list[int], bits: int) -> bytes:
    """Elements, given as bit patterns, without gaps, the lowest bits first."""
    if bits % 8 == 0:
        return b"".join(element.to_bytes(bits // 8, "little") for element in elements)
    stream = 0
    for place, element in enumerate(elements):
        stream |= element << place * bits
    return stream.to_bytes(len(elements) * bits // 8, "little")


def _element(fill: dict[str, Any], dtype: str, bits: int, position: int) -> int:
    kind = fill["kind"]
    if kind == "constant":
        value = int(fill["bits"], 16)
    elif kind == "count":
        value = int(fill["start"]) + position
    else:
        seed = int(fill["seed"])
        value = _mix(seed, position) | _mix(seed + 1, position) << 64
    return value & (1 if dtype == "BOOL" else (1 << bits) - 1)


def _mix(seed: int, position: int) -> int:
    x = ((position + 1) * 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95) & _MASK
    x = (x ^ x >> 32) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 29) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 32
