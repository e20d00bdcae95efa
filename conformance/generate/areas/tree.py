"""Chapter 8: nodes and extension types, depth, references."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import tree_refused, tree_values

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (tree_values, tree_refused):
        yield from module.cases()
