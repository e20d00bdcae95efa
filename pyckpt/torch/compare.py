"""What differs between a checkpoint and its target, all of it at once and with the nearest names."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from pyckpt.errors import Finding

__all__ = ["MISMATCH", "dtype_differs", "missing", "nearest", "shape_differs", "unexpected"]

MISMATCH = "state.mismatch"
_CANDIDATES = 5000


def nearest(name: str, names: Collection[str]) -> str:
    """``"; nearest: a, b"`` or an empty string."""
    # difflib compares letter by letter: fifty thousand names would take longer than the load.
    pool = list(names)
    if len(pool) > _CANDIDATES:
        pool = [other for other in pool if other.rpartition(".")[2] == name.rpartition(".")[2]]
    close = difflib.get_close_matches(name, pool[:_CANDIDATES], n=2, cutoff=0.7)
    return f"; nearest: {', '.join(close)}" if close else ""


def missing(key: str, name: str, names: Collection[str]) -> Finding:
    """The target has it, the checkpoint doesn't."""
    return Finding(MISMATCH, key, f"missing: the checkpoint has no {name!r}{nearest(name, names)}")


def unexpected(key: str, name: str, names: Collection[str]) -> Finding:
    """The checkpoint has it, the target doesn't."""
    return Finding(MISMATCH, key, f"unexpected: the target has no {name!r}{nearest(name, names)}")


def shape_differs(key: str, stored: tuple[int, ...], wanted: tuple[int, ...]) -> Finding:
    """Two global shapes."""
    return Finding(MISMATCH, key, f"shape: the checkpoint has {list(stored)}, the target {list(wanted)}")


def dtype_differs(key: str, stored: str, wanted: str, rule: str) -> Finding:
    """Two dtypes that the rule does not let through."""
    hint = 'dtype="widen" or "cast" converts' if rule == "error" else 'dtype="cast" converts with loss'
    return Finding(MISMATCH, key, f"dtype: the checkpoint has {stored}, the target {wanted}; {hint}")
