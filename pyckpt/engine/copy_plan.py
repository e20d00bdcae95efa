"""What a copy has to bring over: every object that a root reaches, with all that is known of its bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyckpt.engine.copy_cover import Cover, covers_of, join_covers
from pyckpt.engine.open import OpenItem, descriptor_key
from pyckpt.errors import Corrupt
from pyckpt.format.keys import join
from pyckpt.format.root import Descriptor, Root

__all__ = ["CHUNK_BYTES", "CopyPlan", "DataObject", "SmallObject", "chunks_of", "plan_copy"]

CHUNK_BYTES = 8 << 20
"""Bytes that are read, checked and written at once, by one thread."""


@dataclass(frozen=True, slots=True)
class SmallObject:
    """A manifest or an asset: read whole, its SHA-256 checked, created whole."""

    key: str
    """In the source."""
    target: str
    """Key in the target; so for a data object."""
    size: int
    sha256: str
    kind: str
    """``manifest`` or ``asset``."""
    is_external: bool
    """Whether it belongs to another checkpoint."""


@dataclass(frozen=True, slots=True)
class Stitch:
    """A new object made of ranges of an old one."""

    header: bytes
    """What it begins with."""
    old_size: int
    """Bytes of the old object."""
    pieces: tuple[tuple[int, int, int], ...]
    """(start in the new object, start in the old one, bytes) each."""


@dataclass(frozen=True, slots=True, eq=False)
class DataObject:
    """A data object as it will be, and the digests that manifests have for its bytes."""

    key: str
    target: str
    cover: Cover
    is_external: bool
    stitch: Stitch | None = None
    """None: the bytes of the source's object as they are."""

    @property
    def source_size(self) -> int:
        """Bytes of the source's object."""
        return self.size if self.stitch is None else self.stitch.old_size

    @property
    def size(self) -> int:
        """Bytes."""
        return self.cover.size


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """All objects of a checkpoint but its root, sorted by key in the source."""

    small: tuple[SmallObject, ...]
    data: tuple[DataObject, ...]

    @property
    def targets(self) -> dict[str, int]:
        """Key in the target -> bytes."""
        sizes = {each.target: each.size for each in self.small}
        return sizes | {each.target: each.size for each in self.data}

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return sum(self.targets.values())


def plan_copy(name: str, root: Root, items: Sequence[OpenItem], target: str) -> CopyPlan:
    """The plan for a verbatim copy of ``name`` under the name ``target``; other checkpoints' objects keep their keys.

    Raises Corrupt ``manifest.schema`` where manifests contradict each other.
    """

    def renamed(key: str) -> str:
        owner, _, rest = key.partition("/")
        return join(target, rest) if owner == name else key

    small: dict[str, SmallObject] = {}
    for kind, descriptor in _descriptors(root):
        key = descriptor_key(name, descriptor)
        made = SmallObject(key, renamed(key), descriptor.size, descriptor.sha256, kind, descriptor.key is None)
        if small.setdefault(key, made) != made:
            raise Corrupt("root.schema", "two descriptors say different things of one object", key=key)
    covers: dict[str, list[Cover]] = {}
    for item in items:
        for key, cover in zip(item.object_keys, covers_of(item.manifest), strict=True):
            covers.setdefault(key, []).append(cover)
    data = [
        DataObject(key, renamed(key), join_covers(key, found), key.partition("/")[0] != name)
        for key, found in covers.items()
    ]
    data.sort(key=lambda each: each.key)
    return CopyPlan(tuple(sorted(small.values(), key=lambda each: each.key)), tuple(data))


def _descriptors(root: Root) -> Iterator[tuple[str, Descriptor]]:
    for entry in root.items.values():
        yield "manifest", entry.manifest
        for descriptor in entry.assets.values():
            yield "asset", descriptor


def chunks_of(cover: Cover) -> list[tuple[int, int]]:
    """Cuts an object into (start, end) of CHUNK_BYTES at most, none of which cuts a block; larger blocks are alone."""
    edges = np.unique(np.concatenate((cover.start, cover.stop, [0, cover.size])))
    gaps = np.flatnonzero(np.diff(edges) > CHUNK_BYTES)
    # What no digest covers may be cut anywhere.
    open_ends = [
        np.arange(edges[at], edges[at + 1], CHUNK_BYTES)
        for at in gaps.tolist()
        if not bool(np.isin(edges[at], cover.start))
    ]
    if open_ends:
        edges = np.unique(np.concatenate((edges, *open_ends)))
    chunks = []
    at = 0
    while at < len(edges) - 1:
        start = int(edges[at])
        after = max(at + 1, int(np.searchsorted(edges, start + CHUNK_BYTES, side="right")) - 1)
        chunks.append((start, int(edges[after])))
        at = after
    return chunks
