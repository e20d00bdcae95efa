"""Listing a store, and its newest checkpoint (section 13.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import names
from .errors import Rejected
from .opening import open_root
from .root import Root
from .store import Store


@dataclass(frozen=True)
class Found:
    """A checkpoint of a listing: its root, or why that is refused (SCF-LIST-001)."""

    name: str
    root: Root | None
    refusal: Rejected | None


def list_checkpoints(store: Store) -> list[Found]:
    """Every checkpoint of the store; what has no root is none (SCF-STORE-013: any other failure is reported)."""
    found = []
    for name in store.names(""):
        if not names.is_checkpoint(name):
            continue
        try:
            found.append(Found(name, open_root(store, name), None))
        except Rejected as refusal:
            if refusal.code != "checkpoint.missing":
                found.append(Found(name, None, refusal))
    return found


def newest(found: Iterable[Found]) -> Root | None:
    """The newest by sequence, then digest (SCF-ROOT-011); times and names take no part (SCF-LIST-003)."""
    roots = [one.root for one in found if one.root is not None]
    return max(roots, key=lambda root: (root.sequence, root.digest), default=None)
