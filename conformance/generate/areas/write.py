"""The area ``write``: saves of one writer."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import write_assets, write_metadata, write_names, write_regions, write_store, write_tensors, write_trees

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    for module in (
        write_tensors, write_regions, write_names, write_trees, write_metadata, write_assets, write_store,
    ):  # fmt: skip
        yield from module.cases()
