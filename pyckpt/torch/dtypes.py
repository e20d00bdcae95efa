"""torch dtypes and the names that the registry of the format has for them."""

from __future__ import annotations

from typing import Final

import torch

from pyckpt.errors import Unsupported, UnsupportedState

__all__ = ["FLOATING", "NAMES", "PACKED", "TYPES", "registry_name", "torch_dtype", "widens"]

_PAIRS: Final[tuple[tuple[str, str], ...]] = (
    ("BOOL", "bool"),
    ("U8", "uint8"),
    ("I8", "int8"),
    ("U16", "uint16"),
    ("I16", "int16"),
    ("F16", "float16"),
    ("BF16", "bfloat16"),
    ("U32", "uint32"),
    ("I32", "int32"),
    ("F32", "float32"),
    ("U64", "uint64"),
    ("I64", "int64"),
    ("F64", "float64"),
    ("C32", "complex32"),
    ("C64", "complex64"),
    ("C128", "complex128"),
    ("F8_E4M3", "float8_e4m3fn"),
    ("F8_E5M2", "float8_e5m2"),
    ("F8_E8M0", "float8_e8m0fnu"),
    ("F8_E4M3FNUZ", "float8_e4m3fnuz"),
    ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
    ("F4", "float4_e2m1fn_x2"),
)

# Older torch versions lack the newest dtypes; what is not there can't occur.
TYPES: Final[dict[str, torch.dtype]] = {name: getattr(torch, attr) for name, attr in _PAIRS if hasattr(torch, attr)}
"""Registry name -> torch dtype."""
NAMES: Final[dict[torch.dtype, str]] = {dtype: name for name, dtype in TYPES.items()}
"""torch dtype -> registry name."""
PACKED: Final[torch.dtype | None] = TYPES.get("F4")
"""The dtype whose elements are two numbers each: its last dimension counts half of the registry's."""

FLOATING: Final = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F16", "BF16", "F32", "F64")

_WIDER: Final[dict[str, frozenset[str]]] = {
    "BOOL": frozenset({"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"}),
    "U8": frozenset({"U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64"}),
    "I8": frozenset({"I16", "I32", "I64", "F16", "BF16", "F32", "F64"}),
    "U16": frozenset({"U32", "I32", "U64", "I64", "F32", "F64"}),
    "I16": frozenset({"I32", "I64", "F32", "F64"}),
    "U32": frozenset({"U64", "I64", "F64"}),
    "I32": frozenset({"I64", "F64"}),
    "F8_E4M3": frozenset({"F16", "BF16", "F32", "F64"}),
    "F8_E5M2": frozenset({"F16", "BF16", "F32", "F64"}),
    "F8_E4M3FNUZ": frozenset({"F16", "BF16", "F32", "F64"}),
    "F8_E5M2FNUZ": frozenset({"F16", "BF16", "F32", "F64"}),
    "F16": frozenset({"F32", "F64"}),
    "BF16": frozenset({"F32", "F64"}),
    "F32": frozenset({"F64"}),
    "C32": frozenset({"C64", "C128"}),
    "C64": frozenset({"C128"}),
}


def registry_name(dtype: torch.dtype, key: str) -> str:
    """Registry name of a torch dtype. ``UnsupportedState`` for quantised and sub-byte shell dtypes."""
    name = NAMES.get(dtype)
    if name is None:
        raise UnsupportedState(
            "state.unsupported",
            f"a tensor of {dtype} has no defined bytes",
            key=key,
            hint="dequantise it, or view it as torch.uint8 and keep its parameters beside it",
        )
    return name


def torch_dtype(name: str, key: str = "") -> torch.dtype:
    """The torch dtype of a registry name. ``Unsupported`` (dtype.unsupported) if this torch has none."""
    dtype = TYPES.get(name)
    if dtype is None:
        raise Unsupported(
            "dtype.unsupported",
            f"torch {torch.__version__} has no dtype for {name}",
            key=key,
            hint="read the item without this tensor, or its bytes through pyckpt.open",
        )
    return dtype


def widens(stored: str, wanted: str) -> bool:
    """True if every value of ``stored`` is exactly a value of ``wanted``."""
    return stored == wanted or wanted in _WIDER.get(stored, frozenset())
