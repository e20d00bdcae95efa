"""Chapter 10 and sections 15.1 and 15.2: regions as they are stored, and regions as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import geometry_layouts, geometry_refused, geometry_regions

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (geometry_layouts, geometry_regions, geometry_refused):
        yield from module.cases()
