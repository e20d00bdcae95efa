"""A new checkpoint with the tensors of another one that needs no objects of others (specification, section 13.7)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pyckpt.engine.buffers import staging
from pyckpt.engine.commit import timestamp
from pyckpt.engine.copy_alone import check_header, plan_item_alone
from pyckpt.engine.copy_chunks import Counter, open_source, read_source, send_objects
from pyckpt.engine.copy_cover import Cover, covers_of
from pyckpt.engine.copy_plan import DataObject, SmallObject
from pyckpt.engine.copy_small import read_small
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.name_taken import check_own_root
from pyckpt.engine.open import OpenItem, descriptor_key, load_item
from pyckpt.errors import AlreadyExists, LimitExceeded, PyckptError, SaveAborted, StoreError
from pyckpt.format.digest import sha256_hex
from pyckpt.format.keys import asset_key, attempt_marker_key, displaced_asset_key, join, manifest_key, root_key
from pyckpt.format.manifest import Manifest, compress_manifest, encode_manifest
from pyckpt.format.root import Descriptor, ItemEntry, Root, encode_root
from pyckpt.format.version import SPEC_VERSION
from pyckpt.limits import MAX_JSON_INT
from pyckpt.storage.base import AlreadyThere, Store
from pyckpt.version import PROGRAM

__all__ = ["StandaloneCopy"]


@dataclass(slots=True)
class StandaloneCopy:
    """One attempt; remembers what it created, so that a failure can be cleaned up."""

    source: Store
    name: str
    root: Root
    target: Store
    target_name: str
    threads: int
    attempt: str = field(default_factory=lambda: secrets.token_hex(8))
    sent: int = 0
    objects: int = 0
    _items: dict[str, tuple[Manifest, list[DataObject]]] = field(default_factory=dict)
    _created: list[str] = field(default_factory=list)

    def plan(self) -> int:
        """Reads manifests and headers; gives the bytes that are to be copied. Raises Corrupt, Unsupported."""
        for name in self.root.items:
            item = load_item(self.source, self.name, name, self.root)
            covers = covers_of(item.manifest)
            headers = [self._checked_header(item, number, covers) for number in range(len(covers))]
            self._items[name] = plan_item_alone(
                item, headers, attempt=self.attempt, source=self.name, target=self.target_name
            )
        return sum(each.size for each in self._data())

    def _data(self) -> list[DataObject]:
        return [each for _, objects in self._items.values() for each in objects]

    def _checked_header(self, item: OpenItem, number: int, covers: Sequence[Cover]) -> bytes:
        key, row = item.object_keys[number], item.manifest.objects[number]
        what = DataObject(key, "", covers[number], key.partition("/")[0] != self.name)
        with open_source(self.source, what) as reader, staging.buffer(row.data_start) as buffer:
            read_source(reader, what, 0, buffer[: row.data_start])
            header = bytes(buffer[: row.data_start])
        check_header(item, number, header)
        return header

    def run(self, count: Counter) -> bytes:
        """Creates everything but the root, whose bytes it gives. Raises what ``copy_checkpoint`` does."""
        marker = json.dumps({"attempt": self.attempt, "created": timestamp()}, separators=(",", ":")).encode()
        self._created.append(join(self.target_name, attempt_marker_key(self.attempt)))
        try:
            self.target.put_new(self._created[0], marker)
        except AlreadyThere as error:
            # A client that repeats a request whose answer was lost is told that its own marker is in the way.
            if not self._has(self._created[0], marker):
                message = "another object lies where the attempt's marker goes"
                raise StoreError("store.io", message, key=self._created[0]) from error
        data = self._data()
        self._created += [each.target for each in data]
        send_objects(self.source, self.target, data, threads=self.threads, count=count)
        self.sent = sum(each.size for each in data)
        self.objects = len(data)
        entries = {name: self._store_item(name, self._items[name][0]) for name in self.root.items}
        return self._root(entries)

    def check_marker(self) -> None:
        """The last look before the root. Raises SaveAborted."""
        if self.target.info(self._created[0]) is None:
            raise SaveAborted(
                "save.aborted",
                "the marker of this attempt is gone: garbage collection took the copy for dead",
                key=self.target_name,
                hint="the copy lasted longer than the grace period; copy again",
            )

    def _store_item(self, name: str, manifest: Manifest) -> ItemEntry:
        entry = self.root.items[name]
        assets = {asset: self._store_asset(name, asset, stated) for asset, stated in entry.assets.items()}
        raw = encode_manifest(manifest)
        stored = self._put(manifest_key(name, self.attempt), compress_manifest(raw))
        return replace(entry, manifest=stored, raw_size=len(raw), assets=assets)

    def _store_asset(self, item: str, name: str, stated: Descriptor) -> Descriptor:
        key = descriptor_key(self.name, stated)
        what = SmallObject(key, "", stated.size, stated.sha256, "asset", stated.key is None)
        data = read_small(self.source, what)
        own = asset_key(item, name)
        try:
            # Not among what a failure takes back: another attempt may have found it and built on it.
            self.target.put_new(join(self.target_name, own), data)
        except AlreadyThere:
            return self._put(displaced_asset_key(item, self.attempt, name), data)
        self.sent += len(data)
        self.objects += 1
        return Descriptor(own, None, len(data), stated.sha256)

    def _put(self, key: str, data: bytes) -> Descriptor:
        self._created.append(join(self.target_name, key))
        self.target.put(self._created[-1], data)
        self.sent += len(data)
        self.objects += 1
        return Descriptor(key, None, len(data), sha256_hex(data))

    def _root(self, entries: Mapping[str, ItemEntry]) -> bytes:
        origin = {"checkpoint": self.name, "digest": self.root.digest}
        return encode_root(
            replace(
                self.root,
                spec=SPEC_VERSION,
                attempt=self.attempt,
                created=timestamp(),
                writer_name=PROGRAM[0],
                writer_version=PROGRAM[1],
                sequence=_next_sequence(self.target, self.target_name),
                items=entries,
                external=(),
                extra={**self.root.extra, "origin": origin},
            )
        )

    def create_root(self, data: bytes) -> None:
        """Raises AlreadyExists, SaveAborted if the root may or may not exist."""
        key = root_key(self.target_name)
        try:
            self.target.put_new(key, data)
        except AlreadyThere as error:
            try:
                check_own_root(self.target, self.target_name, data, error)
            except AlreadyExists:
                self.clean_up()
                raise
        except BaseException as error:
            raise SaveAborted(
                "save.aborted",
                f"the root could not be created, or it is not known whether it was: {error}",
                key=key,
                hint="nothing was removed; see with pyckpt.list whether the checkpoint exists",
            ) from error
        self._delete(self._created[:1])

    def _has(self, key: str, data: bytes) -> bool:
        info = self.target.info(key)
        return info is not None and info.size == len(data) and self.target.get(key, limit=len(data)) == data

    def clean_up(self) -> None:
        """Takes back what was created for a root that never came."""
        self._delete(self._created)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(OSError, PyckptError):
                self.target.delete(key)


def _next_sequence(store: Store, name: str) -> int:
    highest = 0
    for each in list_checkpoints(store):
        if isinstance(each.error, StoreError):
            raise each.error
        if each.root is not None:
            highest = max(highest, each.root.sequence)
    if highest == MAX_JSON_INT:
        raise LimitExceeded("limit.exceeded", f"the newest checkpoint has the highest sequence, {highest}", key=name)
    return highest + 1
