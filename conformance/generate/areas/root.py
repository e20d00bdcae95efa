"""Chapter 6, with chapters 14 and 17 where they speak of the root."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import root_descriptors, root_features, root_first, root_json, root_members, root_metadata

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (root_first, root_json, root_members, root_descriptors, root_features, root_metadata):
        yield from module.cases()
