"""Garbage collection (section 13.5), in the order that makes it safe (SCF-GC-007)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from . import names
from .errors import Rejected
from .limits import MAX_ROOT_BYTES
from .opening import open_root
from .reach import named_by_root, object_keys, reached, tombstone_of
from .root import Root, read_root
from .store import Listed, NoSuchKey, TooLarge
from .writable import WritableStore

DEFAULT_GRACE = 24 * 3600
"""Seconds (SCF-GC-008)."""

_MARKER = re.compile(r"\.attempt-([0-9a-f]{16})")
_DISPLACED = re.compile(r"([0-9a-f]{16})\.d")


@dataclass(frozen=True)
class Tombstone:
    """A tombstone, and the keys that it reaches as far as its manifests are there."""

    key: str
    root: Root
    reaches: frozenset[str]


def collect(store: WritableStore, grace: float | None, *, dry_run: bool) -> list[str]:
    """The keys that were removed, in order; in a dry run those that would be (SCF-GC-010)."""
    return _Collection(store, DEFAULT_GRACE if grace is None else grace, dry_run).run()


class _Collection:
    def __init__(self, store: WritableStore, grace: float, dry_run: bool) -> None:
        self.store = store
        self.dry_run = dry_run
        self.now = store.clock()  # step 1; SCF-GC-006
        self.grace = grace
        self.removed: list[str] = []

    def run(self) -> list[str]:
        roots = self.roots()
        kept = {key for root in roots.values() for key in reached(self.store, root)}
        tombs = [one for one in self.store.list(f"{names.TOMBSTONES}/") if tombstone_of(one.key)]
        kept |= {key for one in tombs if not self.old(one) for key in self.tombstone(one).reaches}
        buried = [found for one in tombs if self.old(one) and (found := self.old_tombstone(one))]
        listed = {one.key: one for one in self.store.list("")}  # step 4
        chosen = [one for one in listed.values() if self.old(one) and one.key not in kept]
        self.remove(chosen)
        self.remove_assets(chosen, buried)
        gone = set(self.removed)
        for tomb in buried:  # step 7
            left = {key for key in tomb.reaches if key in listed and key not in gone and key not in kept}
            if not left and not _stands(roots, tomb.root):
                self.take(tomb.key)
        return self.removed

    def old(self, one: Listed) -> bool:
        return self.now - one.mtime >= self.grace

    def roots(self) -> dict[str, Root]:
        """Step 2; what can't be read ends the run, and nothing has been removed (SCF-GC-005)."""
        found = {}
        for name in self.store.names(""):
            if names.is_checkpoint(name):
                try:
                    found[name] = open_root(self.store, name, writing=True)
                except Rejected as refusal:
                    if refusal.code != "checkpoint.missing":
                        raise
        return found

    def tombstone(self, one: Listed) -> Tombstone:
        """A tombstone; an absent manifest reaches nothing (step 3)."""
        name = tombstone_of(one.key) or ""
        try:
            root = read_root(self.store.get(one.key, MAX_ROOT_BYTES), name, writing=True)
        except (NoSuchKey, TooLarge) as error:
            raise Rejected("root.syntax", f"the tombstone can't be read: {error}", subject=one.key) from error
        reaches: set[str] = set()
        for item in root.items.values():
            reaches.update(named_by_root(root, item))
            try:
                reaches.update(object_keys(self.store, root, item))
            except Rejected as refusal:
                if refusal.code not in {"manifest.missing", "external.missing"}:
                    raise
        return Tombstone(one.key, root, frozenset(reaches))

    def old_tombstone(self, one: Listed) -> Tombstone | None:
        """A tombstone that protects nothing any more; one that can't be read is left alone."""
        try:
            return self.tombstone(one)
        except Rejected:
            return None

    def remove(self, chosen: Iterable[Listed]) -> None:
        """Step 6: by attempt the marker, data objects, displaced assets, manifests (SCF-GC-004)."""
        ranked = sorted((rank, one.key) for one in chosen if (rank := candidate(one.key)))
        for _, key in ranked:
            self.take(key)

    def remove_assets(self, chosen: Iterable[Listed], buried: Iterable[Tombstone]) -> None:
        """Plain assets that an old tombstone of their checkpoint name reaches (SCF-GC-011)."""
        mine = {
            asset.at(tomb.root.checkpoint)
            for tomb in buried
            for item in tomb.root.items.values()
            for asset in item.assets.values()
            if asset.key is not None
        }
        for one in chosen:
            if one.key in mine and one.key not in self.removed:
                again = [other for other in self.store.list(one.key) if other.key == one.key]
                if [other.mtime for other in again] == [one.mtime]:
                    self.take(one.key)

    def take(self, key: str) -> None:
        """Remove a key; what fails is found again by the next run."""
        if not self.dry_run:
            try:
                self.store.delete(key)
            except Rejected:
                return
        self.removed.append(key)


def candidate(key: str) -> tuple[str, str, int] | None:
    """Checkpoint, attempt and rank in the order of removal of a key that names its attempt; None of all others."""
    checkpoint, _, rest = key.partition("/")
    if not names.is_checkpoint(checkpoint):
        return None
    marker = _MARKER.fullmatch(rest)
    if marker:
        return checkpoint, marker.group(1), 0
    data = names.data_object_key(rest)
    if data:
        return checkpoint, data.attempt, 1
    manifest = names.manifest_key(rest)
    if manifest:
        return checkpoint, manifest.attempt, 3
    item, _, below = rest.partition("/")
    folder, _, asset = below.partition("/")
    displaced = _DISPLACED.fullmatch(folder)
    if displaced and names.is_item(item) and names.is_asset(asset):
        return checkpoint, displaced.group(1), 2
    return None


def _stands(roots: dict[str, Root], root: Root) -> bool:
    """Whether the checkpoint of a tombstone is still there: its deletion was interrupted (SCF-GC-009)."""
    return root.checkpoint in roots and roots[root.checkpoint].digest == root.digest
