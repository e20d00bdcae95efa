"""Input that was made to harm: bombs, depth, claims, links, noise (chapter 18)."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import hostile_manifest, hostile_noise, hostile_root, hostile_store

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    for module in (hostile_root, hostile_manifest, hostile_store, hostile_noise):
        yield from module.cases()
