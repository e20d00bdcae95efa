"""From the tables of all writers to a committed root. Runs on the coordinator alone.

Everything that the root will point to is durable and checked before the root is created; until then nothing refers to
it, and a failure leaves only keys that garbage collection removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np

from pyckpt.engine.listing import Listed, list_checkpoints
from pyckpt.engine.merge import merge_item
from pyckpt.engine.open import load_item
from pyckpt.engine.table import WriterTable
from pyckpt.errors import (
    AlreadyExists,
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
from pyckpt.format.root import Descriptor, ItemEntry, Root, decode_root, encode_root
from pyckpt.format.version import SPEC_VERSION
from pyckpt.limits import MAX_JSON_INT
from pyckpt.storage.base import AlreadyThere, Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["Assets", "Commit", "Committed"]

Assets = Mapping[str, Mapping[str, bytes]]
"""Item name -> asset name -> content."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A root that now exists, and what the report says of it."""

    root: Root
    written: int
    unchanged_shards: int
    compared_shards: int


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
    attempt: str
    writer: tuple[str, str]
    """Name and version of the program."""
    metadata: Mapping[str, object]
    parent: str | None
    after: int = 0
    """Sequence to exceed, whatever this store holds."""
    created: list[str] = field(default_factory=list)
    """Keys of this attempt alone that were written so far."""

    def run(self, tables: Sequence[WriterTable], assets: Assets) -> Committed:
        """Checks the tables, writes manifests and assets, and creates the root.

        Raises StateDiverged, Corrupt ``tiling.inexact`` (the writers' regions leave a gap or overlap), AlreadyExists
        if another attempt committed this name first, StoreError; SaveAborted if the root may or may not exist, and then
        nothing may be removed.
        """
        manifests = self._merge(tables)
        listed = self._listed()
        unchanged, compared = self._freshness(manifests, listed)
        stored = {
            item: {name: self._store_asset(item, name, data) for name, data in files.items()}
            for item, files in assets.items()
        }
        entries = {name: self._store_item(name, each, stored.get(name, {})) for name, each in manifests.items()}
        sequence = 1 + max([self.after, *(each.root.sequence for each in listed if each.root is not None)])
        if sequence > MAX_JSON_INT:
            raise LimitExceeded(
                "limit.exceeded",
                f"the newest checkpoint has the highest sequence that there is, {MAX_JSON_INT}",
                key=self.checkpoint,
                hint="save to another store, or delete the checkpoint with that sequence",
            )
        root = Root(
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
            external=(),
        )
        data = encode_root(root)
        if self.store.info(join(self.checkpoint, attempt_marker_key(self.attempt))) is None:
            raise SaveAborted(
                "save.aborted",
                "the marker of this attempt is gone: garbage collection took the save for dead",
                key=self.checkpoint,
                hint="the save lasted longer than the grace period; save again",
            )
        try:
            self.store.put_new(root_key(self.checkpoint), data)
        except AlreadyThere as error:
            # A client that repeats a request whose answer was lost is told that its own root is in the way.
            if not self._holds(root_key(self.checkpoint), data):
                raise exists(self.store, self.checkpoint) from error
        except BaseException as error:
            raise SaveAborted(
                "save.aborted",
                f"the root could not be created, or it is not known whether it was: {error}",
                key=join(self.checkpoint, ROOT_NAME),
                hint="nothing was removed; see with pyckpt.list whether the checkpoint exists, then save again",
            ) from error
        return Committed(
            decode_root(data, checkpoint=self.checkpoint), sum(table.written for table in tables), unchanged, compared
        )

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

    def _freshness(self, manifests: Mapping[str, Merged], listed: Sequence[Listed]) -> tuple[int, int]:
        """How many shards are the same as in the checkpoint that this run saved or restored last, and of how many.

        Only shards of an unchanged layout are compared; damage to the earlier checkpoint is no reason to fail here.
        """
        unchanged = compared = 0
        for each in listed[:1]:
            for name, merged in manifests.items():
                if each.root is None or name not in each.root.items:
                    continue
                with suppress(PyckptError, OSError):
                    before = load_item(self.store, each.name, name, each.root).manifest
                    same, total = compare_shards(before, merged.manifest)
                    unchanged += same
                    compared += total
        return unchanged, compared


def compare_shards(before: Manifest, after: Manifest) -> tuple[int, int]:
    """(shards with equal digests, shards compared) of two manifests of the same tensors and regions."""
    a, b = before.shards, after.shards
    if before.tensors.names != after.tensors.names or not np.array_equal(before.tensors.shape, after.tensors.shape):
        return 0, 0
    count = a.assigned
    if count != b.assigned or not count or a.codec is not None or b.codec is not None:
        return 0, 0
    same_rows = np.array_equal(a.tensor[:count], b.tensor[:count])
    if not same_rows or not np.array_equal(a.block_start[: count + 1], b.block_start[: count + 1]):
        return 0, 0
    blocks = int(a.block_start[count])
    digests = [np.frombuffer(each.block_digest, np.dtype("V32"), blocks) for each in (a, b)]
    differs = np.zeros(blocks + 1, np.int64)
    np.cumsum(digests[0] != digests[1], out=differs[1:])
    full = np.flatnonzero(a.block_start[1 : count + 1] > a.block_start[:count])
    changed = differs[a.block_start[1 : count + 1][full]] != differs[a.block_start[:count][full]]
    return int((~changed).sum()), len(full)


def timestamp() -> str:
    """Now, as the format writes times."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def exists(store: Store, checkpoint: str) -> AlreadyExists:
    """The error of a name that is taken."""
    return AlreadyExists(
        "checkpoint.exists",
        "a committed checkpoint has this name already, and a checkpoint never changes",
        key=checkpoint_url(store.url, checkpoint),
        hint="choose another name, or delete it first",
    )
