"""The registry of element types: their size, and how a safetensors header names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pyckpt.errors import Unsupported, UsageError

__all__ = ["DTYPES", "DType", "byte_count", "dtype_of", "is_whole_bytes"]


@dataclass(frozen=True, slots=True)
class DType:
    """One element type of the registry."""

    name: str
    bits: int
    """Bits of one element; elements are packed without gaps."""
    container: str
    """The dtype under which a data object's header lists the elements."""
    lanes: int
    """Container elements per element; above 1 the header's shape gets a last dimension of this size."""
    item: int
    """Bytes of one container element, 1 for types below a byte: entries are ordered and aligned by it."""


def _dtype(name: str, bits: int, container: str = "", lanes: int = 1) -> tuple[str, DType]:
    return name, DType(name, bits, container or name, lanes, max(1, bits // (8 * lanes)))


DTYPES: Final[Mapping[str, DType]] = MappingProxyType(
    dict(
        [
            _dtype("BOOL", 8),
            _dtype("U8", 8),
            _dtype("I8", 8),
            _dtype("U16", 16),
            _dtype("I16", 16),
            _dtype("F16", 16),
            _dtype("BF16", 16),
            _dtype("U32", 32),
            _dtype("I32", 32),
            _dtype("F32", 32),
            _dtype("U64", 64),
            _dtype("I64", 64),
            _dtype("F64", 64),
            _dtype("F8_E4M3", 8),
            _dtype("F8_E5M2", 8),
            _dtype("F8_E8M0", 8),
            _dtype("F8_E4M3FNUZ", 8),
            _dtype("F8_E5M2FNUZ", 8),
            _dtype("F4", 4),
            _dtype("F6_E2M3", 6),
            _dtype("F6_E3M2", 6),
            _dtype("C64", 64),
            # safetensors has neither of the other complex types: real and imaginary part become a last dimension
            _dtype("C32", 32, "F16", 2),
            _dtype("C128", 128, "F64", 2),
        ]
    )
)
"""Name -> dtype, for every element type of format 1.0."""


def dtype_of(name: str) -> DType:
    """The registry's entry for ``name``; raises ``Unsupported`` (dtype.unsupported) for any other name."""
    dtype = DTYPES.get(name)
    if dtype is None:
        raise Unsupported(
            "dtype.unsupported",
            f"expected one of {', '.join(DTYPES)}, found {name!r:.200}",
            hint="a newer pyckpt may know it; only the tensors that use it can't be read",
        )
    return dtype


def is_whole_bytes(dtype: DType, elements: int) -> bool:
    """Whether so many elements end at the end of a byte; always true of types of a byte or more."""
    return elements * dtype.bits % 8 == 0


def byte_count(dtype: DType, elements: int) -> int:
    """Bytes of ``elements`` elements, exactly.

    Raises ``UsageError``: usage.invalid for a negative count, state.layout where the last byte would be shared.
    """
    if elements < 0:
        raise UsageError("usage.invalid", f"expected a count of elements of 0 or more, found {elements}")
    if not is_whole_bytes(dtype, elements):
        raise UsageError(
            "state.layout",
            f"{elements} elements of {dtype.name} ({dtype.bits} bits each) do not end at the end of a byte",
            hint="cut tensors of such types where a byte ends",
        )
    return elements * dtype.bits // 8
