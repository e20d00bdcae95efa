"""What a root says, as typed values; the members and their meaning are those of the specification's root chapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["KINDS", "Descriptor", "External", "ItemEntry", "Root"]

KINDS: Final = ("model", "optimizer", "scheduler", "rng", "dataloader", "other")
"""Kinds of items that 1.0 knows."""

Extra = Mapping[str, object]
"""Members that this version doesn't know, as parsed: ignored, and kept when the value is encoded again."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The one way to reference bytes: where they lie, how many they are, and their digest as stored."""

    key: str | None
    """Relative to this checkpoint; exactly one of ``key`` and ``store_key`` is given."""
    store_key: str | None
    """Relative to the store: an object of another checkpoint."""
    size: int
    """Bytes."""
    sha256: str
    """64 lowercase hex digits."""
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """One item of a checkpoint."""

    kind: str
    """As stored; see ``known_kind``."""
    manifest: Descriptor
    raw_size: int
    """Bytes of the manifest after decompression."""
    tensors: int
    shards: int
    objects: int
    """Data objects that the manifest lists."""
    bytes: int
    """Decoded bytes of all tensors."""
    assets: Mapping[str, Descriptor] = field(default_factory=dict)
    """Asset name -> descriptor."""
    extra: Extra = field(default_factory=dict)
    counts_extra: Extra = field(default_factory=dict)

    @property
    def known_kind(self) -> str:
        """The kind to treat the item as: one of ``KINDS``, ``other`` for a kind of a later version."""
        return self.kind if self.kind in KINDS else "other"


@dataclass(frozen=True, slots=True)
class External:
    """Another checkpoint of the store whose objects this one uses."""

    checkpoint: str
    digest: str
    """Its root's digest, 64 lowercase hex digits."""
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Root:
    """A checkpoint's root."""

    spec: str
    attempt: str
    """16 lowercase hex digits."""
    created: str
    """RFC 3339 in UTC, ``YYYY-MM-DDTHH:MM:SS[.fraction]Z``."""
    writer_name: str
    writer_version: str
    features_read: tuple[str, ...]
    """What a reader must implement; ascending, each also in ``features_write``."""
    features_write: tuple[str, ...]
    """What must be implemented to write, delete or collect garbage; ascending."""
    sequence: int
    """From 1; the newest checkpoint of a store has the highest."""
    parent: str | None
    """Digest of the root that the run was restored from."""
    metadata: Mapping[str, object]
    """The user's values, as Python values."""
    items: Mapping[str, ItemEntry]
    """Item name -> entry."""
    external: tuple[External, ...] = ()
    """Ascending by checkpoint name."""
    digest: str = ""
    """The checkpoint's identity, 64 lowercase hex digits; filled by decoding, ignored by encoding."""
    extra: Extra = field(default_factory=dict)
    writer_extra: Extra = field(default_factory=dict)
    features_extra: Extra = field(default_factory=dict)

    @property
    def origin(self) -> str | None:
        """Digest of the root that this is a standalone copy of; None where the root says nothing of the kind."""
        origin = self.extra.get("origin")
        digest = origin.get("digest") if isinstance(origin, Mapping) else None
        return digest if isinstance(digest, str) else None
