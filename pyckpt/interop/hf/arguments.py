"""What callers say of sizes and dtypes, parsed."""

from __future__ import annotations

import re
from typing import Final

from pyckpt.errors import UsageError

__all__ = ["FLOATING", "TORCH_NAMES", "parse_dtype", "parse_size"]

TORCH_NAMES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
"""Registry name -> torch's, of the dtypes that weights can be cast to."""

FLOATING: Final = frozenset({*TORCH_NAMES, "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
"""Dtypes that a cast applies to. Scales (F8_E8M0) and what is packed below a byte mean nothing by themselves."""

_SIZE: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(value: int | str) -> int:
    """Bytes of ``5_000_000_000``, ``"5GB"`` (powers of 1000) or ``"5GiB"`` (of 1024). Raises UsageError."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise UsageError("usage.invalid", f"expected a size such as 5GB or 500MiB, found {value!r:.100}")
        unit = (1024 if match[4] else 1000) ** _POWERS[match[3].upper()]
        part = match[2] or ""
        size = int(match[1]) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
    if size < 1:
        raise UsageError("usage.invalid", f"expected a size of at least one byte, found {value!r:.100}")
    return size


def parse_dtype(value: object) -> str | None:
    """Registry name of ``"bfloat16"``, ``"BF16"`` or ``torch.bfloat16``; None for None. Raises UsageError."""
    if value is None:
        return None
    # A dtype of torch prints as its name: torch need not be imported to know it.
    text = str(value).removeprefix("torch.")
    for name, torch_name in TORCH_NAMES.items():
        if text in (name, torch_name):
            return name
    raise UsageError(
        "usage.invalid", f"weights can be cast to {', '.join(TORCH_NAMES.values())}; found {text!r:.100}", key="dtype"
    )
