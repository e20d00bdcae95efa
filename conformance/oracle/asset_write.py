"""Assets of a save: the plain key where it is free or holds the same bytes, otherwise one with the attempt (5.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .errors import Rejected
from .reach import tombstones
from .writable import WritableStore, claim
from .writer import Attempt

Descriptor = Mapping[str, str | int]


def described(key: str, data: bytes) -> Descriptor:
    """A descriptor of an own object (section 6.5)."""
    return {"key": key, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_asset(store: WritableStore, attempt: Attempt, item: str, name: str, data: bytes, *, weak: bool) -> Descriptor:
    """Store an asset, and give its descriptor; nothing is ever replaced (SCF-LAYOUT-009)."""
    key = f"{item}/{name}"
    outcome = claim(store, f"{attempt.checkpoint}/{key}", data, weak=weak)
    if outcome == "same" and tombstones(store, attempt.checkpoint):  # SCF-COMMIT-011
        outcome = "taken"
    if outcome == "taken":
        key = f"{item}/{attempt.id}.d/{name}"
        if claim(store, f"{attempt.checkpoint}/{key}", data, weak=weak) == "taken":
            raise Rejected("store.io", "the key of this attempt is taken", subject=key)
    return described(key, data)
