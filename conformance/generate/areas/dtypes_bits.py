"""Every dtype of the registry with its odd bit patterns, as they are stored and back (SCF-READ-001, SCF-READ-010)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from ...oracle.content import packed
from ...oracle.dtypes import DTYPES
from ...oracle.encode import Tensor
from ..case import Case
from ..drafts import one
from ..forms import accepted

__all__ = ["cases", "patterns"]

BITS = ["SCF-READ-001", "SCF-READ-010"]
_FLOATS = {"F16": (5, 10), "BF16": (8, 7), "F32": (8, 23), "F64": (11, 52)}
_MEANING = {
    "BOOL": "bytes other than 0 and 1",
    "F8_E4M3": "all 256 values, both NaN among them",
    "F8_E5M2": "all 256 values, infinities and NaN among them",
    "F8_E8M0": "all 256 values, the NaN among them",
    "F8_E4M3FNUZ": "all 256 values, the one NaN among them",
    "F8_E5M2FNUZ": "all 256 values, the one NaN among them",
    "U8": "all 256 values",
    "I8": "all 256 values",
    "F4": "all 16 values",
    "F6_E2M3": "all 64 values",
    "F6_E3M2": "all 64 values",
}


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for name, dtype in DTYPES.items():
        values = patterns(name)
        tensor = Tensor("w", name, (len(values),), packed(list(values), dtype.bits))
        what = _MEANING.get(name, "extremes, negative zero, NaN payloads" if _float(name) else "extremes")
        yield accepted(f"dtypes-{name.lower().replace('_', '-')}", f"{name}: {what}", BITS, one(tensor), read=True)


def _float(name: str) -> bool:
    return name in _FLOATS or name.startswith("C")


def patterns(name: str) -> Sequence[int]:
    """Bit patterns of elements: all there are of up to 8 bits, else those that a conversion would change."""
    bits = DTYPES[name].bits
    if bits <= 8:
        return range(1 << bits)
    if name in _FLOATS:
        return floats(*_FLOATS[name])
    if name.startswith("C"):
        part = {"C32": "F16", "C64": "F32", "C128": "F64"}[name]
        half = DTYPES[part].bits
        chosen = floats(*_FLOATS[part])[::3]
        return [real | imaginary << half for real, imaginary in product(chosen, chosen)][::5]
    top = 1 << bits - 1
    return [
        0,
        1,
        2,
        top - 1,
        top,
        top + 1,
        2 * top - 2,
        2 * top - 1,
        *(int(f"0x{'0123456789abcdef'[: bits // 4]}", 16),),
    ]


def floats(exponent: int, mantissa: int) -> list[int]:
    """Zeros, subnormals, the borders of the normal numbers, infinities, quiet and signalling NaN, of both signs."""
    infinity = ((1 << exponent) - 1) << mantissa
    quiet = 1 << mantissa - 1
    least = 1 << mantissa
    positive = [0, 1, least - 1, least, least + 1, infinity - 1, infinity]
    positive += [((1 << exponent - 1) - 1) << mantissa, ((1 << exponent - 1) - 1) << mantissa | 1]
    positive += [infinity | payload for payload in (1, quiet - 1, quiet, quiet | 1, quiet | quiet >> 1, 2 * quiet - 1)]
    sign = 1 << exponent + mantissa
    return [*positive, *(sign | each for each in positive)]
