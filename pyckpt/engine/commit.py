"""From the tables of all writers to a committed root. Runs on the coordinator alone.

Everything that the root will point to is durable and checked before the root is created; until then nothing refers to
it, and a failure leaves only keys that garbage collection removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

from pyckpt.engine.carry import Carried
from pyckpt.engine.external import lost_externals, referenced_size
from pyckpt.engine.freshness import Freshness, freshness
from pyckpt.engine.listing import Listed, list_checkpoints
from pyckpt.engine.merge import merge_item
from pyckpt.engine.name_taken import check_own_root
from pyckpt.engine.table import WriterTable
from pyckpt.errors import (
    Corrupt,
    InvalidKey,
    LimitExceeded,
    PyckptError,
    SaveAborted,
    StateDiverged,
    StoreError,
)
from pyckpt.format.digest import sha256_hex
from pyckpt.format.keys import (
    ROOT_NAME,
    TOMBSTONES,
    asset_key,
    attempt_marker_key,
    displaced_asset_key,
    join,
    manifest_key,
    parse_tombstone_key,
    root_key,
)
from pyckpt.format.manifest import Manifest, compress_manifest, encode_manifest
from pyckpt.format.manifest_check import check_manifest
from pyckpt.format.root import Descriptor, External, ItemEntry, Root, decode_root, encode_root
from pyckpt.format.version import SPEC_VERSION
from pyckpt.limits import MAX_JSON_INT
from pyckpt.storage.base import AlreadyThere, Store

__all__ = ["Assets", "Commit", "Committed", "Lost", "timestamp"]

Assets = Mapping[str, Mapping[str, bytes]]
"""Item name -> asset name -> content."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A root that now exists, and what the report says of it. Sizes in bytes as stored."""

    root: Root
    written: int
    referenced: int
    """In objects of other checkpoints."""
    referenced_shards: int
    fresh: Freshness


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no root: these checkpoints, in which shards are referenced, were deleted in the meantime."""

    checkpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """One item, ready to be stored."""

    kind: str
    manifest: Manifest
    tree: bytes | None
    """MessagePack of the tree, where the manifest's own tree is left empty."""


@dataclass(slots=True)
class Commit:
    """One attempt's commit; remembers what it created, so that a failure can be cleaned up."""

    store: Store
    checkpoint: str
    writer: tuple[str, str]
    """Name and version of the program."""
    metadata: Mapping[str, object]
    parent: str | None
    attempt: str = ""
    after: int = 0
    """Sequence to exceed, whatever this store holds."""
    carried: Mapping[str, Carried] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    """Checkpoints in which shards may be referenced: name -> root digest."""
    warnings: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    """Keys of this attempt alone that were written so far."""

    def run(self, tables: Sequence[WriterTable], assets: Assets) -> Committed | Lost:
        """Checks the tables, writes manifests and assets, and creates the root.

        It may be called again with other tables after it gave ``Lost``. Raises StateDiverged, Corrupt
        ``tiling.inexact`` (the writers' regions leave a gap or overlap) or ``external.*`` (the origin of an item that
        is carried over was deleted), AlreadyExists if another attempt committed this name first, StoreError;
        SaveAborted if the root may or may not exist, and then nothing may be removed.
        """
        merged = self._merge(tables)
        manifests = {name: each.manifest for name, each in merged.items()}
        listed = self._listed()
        fresh = freshness(self.store, manifests, listed)
        stored = {
            item: {name: self._store_asset(item, name, data) for name, data in files.items()}
            for item, files in assets.items()
        }
        entries = {name: self._store_item(name, each, stored.get(name, {})) for name, each in merged.items()}
        entries.update((name, each.entry) for name, each in self.carried.items())
        external = self._external(manifests)
        data = encode_root(self._root(entries, external, listed))
        lost = self._lost(external)
        if lost:
            return Lost(lost)
        if self.store.info(join(self.checkpoint, attempt_marker_key(self.attempt))) is None:
            raise SaveAborted(
                "save.aborted",
                "the marker of this attempt is gone: garbage collection took the save for dead",
                key=self.checkpoint,
                hint="the save lasted longer than the grace period; save again",
            )
        self._create_root(data)
        root = decode_root(data, checkpoint=self.checkpoint)
        written = sum(table.written for table in tables)
        size, shards = referenced_size(manifests)
        size += sum(each.stored for each in self.carried.values())
        shards += sum(each.entry.shards for each in self.carried.values())
        return Committed(root, written, size, shards, fresh)

    def _root(self, entries: Mapping[str, ItemEntry], external: Mapping[str, str], listed: Sequence[Listed]) -> Root:
        sequence = 1 + max([self.after, *(each.root.sequence for each in listed if each.root is not None)])
        if sequence > MAX_JSON_INT:
            raise LimitExceeded(
                "limit.exceeded",
                f"the newest checkpoint has the highest sequence that there is, {MAX_JSON_INT}",
                key=self.checkpoint,
                hint="save to another store, or delete the checkpoint with that sequence",
            )
        return Root(
            spec=SPEC_VERSION,
            attempt=self.attempt,
            created=timestamp(),
            writer_name=self.writer[0],
            writer_version=self.writer[1],
            features_read=(),
            features_write=(),
            sequence=sequence,
            parent=self.parent,
            metadata=self.metadata,
            items=entries,
            external=tuple(External(name, external[name]) for name in sorted(external)),
        )

    def _create_root(self, data: bytes) -> None:
        try:
            self.store.put_new(root_key(self.checkpoint), data)
        except AlreadyThere as error:
            # A client that repeats a request whose answer was lost is told that its own root is in the way.
            check_own_root(self.store, self.checkpoint, data, error)
        except BaseException as error:
            raise SaveAborted(
                "save.aborted",
                f"the root could not be created, or it is not known whether it was: {error}",
                key=join(self.checkpoint, ROOT_NAME),
                hint="nothing was removed; see with pyckpt.list whether the checkpoint exists, then save again",
            ) from error

    def _external(self, manifests: Mapping[str, Manifest]) -> dict[str, str]:
        """All other checkpoints that are used: name -> root digest."""
        keys = {row.store_key for each in manifests.values() for row in each.objects if row.store_key is not None}
        external = {name: self.origins[name] for name in {key.split("/", 1)[0] for key in keys}}
        for each in self.carried.values():
            external.update(each.external)
        return external

    def _lost(self, external: Mapping[str, str]) -> tuple[str, ...]:
        """Of these, the ones that can't be referenced any more, if what lies in them can be written instead."""
        lost = lost_externals(self.store, self.checkpoint, external)
        needed = {name for each in self.carried.values() for name in each.external}
        for name, error in lost.items():
            if name in needed:
                raise error
        self.warnings += [f"what lies in {name!r} was written anew after all: {error}" for name, error in lost.items()]
        return tuple(sorted(lost))

    def clean_up(self) -> None:
        """Takes back what was created for a root that never came."""
        for key in self.created:
            with suppress(OSError, PyckptError):
                self.store.delete(key)

    def _merge(self, tables: Sequence[WriterTable]) -> dict[str, Merged]:
        names = dict.fromkeys(name for table in tables for name in table.items)
        merged: dict[str, Merged] = {}
        for name in names:
            own = {writer: table.items[name] for writer, table in enumerate(tables) if name in table.items}
            kinds = {table.kind for table in own.values()}
            if len(kinds) > 1:
                raise StateDiverged("state.diverged", f"ranks say it is {' and '.join(sorted(kinds))}", key=name)
            manifest, tree = merge_item(name, own, attempt=self.attempt)
            try:
                check_manifest(manifest)
            except Corrupt as error:
                raise Corrupt(
                    error.code,
                    error.message,
                    key=f"{name}/{error.key}" if error.key else name,
                    hint="the ranks together do not hold the whole tensor just once: check layout=",
                    findings=error.findings,
                ) from error
            merged[name] = Merged(kinds.pop(), manifest, tree)
        return merged

    def _listed(self) -> list[Listed]:
        """The readable roots of the store; damaged ones do not count, but what the store failed to give might have."""
        listed = list_checkpoints(self.store)
        for each in listed:
            if isinstance(each.error, StoreError):
                raise each.error
        return [each for each in listed if each.root is not None]

    def _store_item(self, name: str, merged: Merged, assets: Mapping[str, Descriptor]) -> ItemEntry:
        manifest = merged.manifest
        raw = encode_manifest(manifest, packed_tree=merged.tree)
        data = compress_manifest(raw)
        key = manifest_key(name, self.attempt)
        self._put(key, data)
        tensors, shards = manifest.tensors, manifest.shards
        nbytes = int((tensors.elements * tensors.element_bits() // 8).sum()) if len(tensors) else 0
        return ItemEntry(
            merged.kind,
            Descriptor(key, None, len(data), sha256_hex(data)),
            len(raw),
            len(tensors),
            len(shards),
            len(manifest.objects),
            nbytes,
            assets,
        )

    def _put(self, key: str, data: bytes) -> None:
        full = join(self.checkpoint, key)
        self.created.append(full)
        self.store.put(full, data)

    def _store_asset(self, item: str, name: str, data: bytes) -> Descriptor:
        """An asset's key is not unique to the attempt; what another attempt left there is used or stepped around."""
        key = asset_key(item, name)
        full = join(self.checkpoint, key)
        try:
            # Not among what a failure takes back: another attempt may have found it and built on it.
            self.store.put_new(full, data)
        except AlreadyThere:
            if self._was_deleted() or not self._holds(full, data):
                key = displaced_asset_key(item, self.attempt, name)
                self._put(key, data)
        return Descriptor(key, None, len(data), sha256_hex(data))

    def _holds(self, key: str, data: bytes) -> bool:
        info = self.store.info(key)
        return info is not None and info.size == len(data) and self.store.get(key, limit=len(data)) == data

    def _was_deleted(self) -> bool:
        """A tombstone of this name exists: what lies here may be removed at any moment."""
        for info in self.store.list(f"{TOMBSTONES}/"):
            with suppress(InvalidKey):
                if parse_tombstone_key(info.key)[0] == self.checkpoint:
                    return True
        return False


def timestamp() -> str:
    """Now, as the format writes times."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
