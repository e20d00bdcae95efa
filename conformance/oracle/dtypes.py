"""The dtype registry, as the oracle needs it (registries/dtypes.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DTYPES", "Dtype"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """One row of the registry."""

    name: str
    bits: int
    """Bits of one element."""
    container: str
    """Dtype of the entry in a safetensors header."""
    lanes: int
    """Container elements per element."""
    item: int
    """Bytes of one container element, by which entries are ordered."""


_ROWS: Final = (
    *((name, 8, name, 1, 1) for name in ("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0")),
    *((name, 8, name, 1, 1) for name in ("F8_E4M3FNUZ", "F8_E5M2FNUZ")),
    *((name, 16, name, 1, 2) for name in ("U16", "I16", "F16", "BF16")),
    *((name, 32, name, 1, 4) for name in ("U32", "I32", "F32")),
    *((name, 64, name, 1, 8) for name in ("U64", "I64", "F64", "C64")),
    ("F4", 4, "F4", 1, 1),
    ("F6_E2M3", 6, "F6_E2M3", 1, 1),
    ("F6_E3M2", 6, "F6_E3M2", 1, 1),
    ("C32", 32, "F16", 2, 2),
    ("C128", 128, "F64", 2, 8),
)

DTYPES: Final[dict[str, Dtype]] = {row[0]: Dtype(*row) for row in _ROWS}
