"""Opens a committed checkpoint: its root, and the manifests of its items, each checked before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyckpt.errors import Corrupt, LimitExceeded, NotFound
from pyckpt.format.digest import sha256_hex
from pyckpt.format.geometry import Ints
from pyckpt.format.keys import ROOT_NAME, join, parse_manifest_key
from pyckpt.format.manifest import Manifest, decode_manifest, decompress_manifest
from pyckpt.format.manifest_check import check_manifest, check_object_keys, check_objects
from pyckpt.format.root import Descriptor, ItemEntry, Root, decode_root
from pyckpt.format.tree import Node
from pyckpt.limits import MAX_MANIFEST_BYTES, MAX_MANIFEST_RAW_BYTES, MAX_ROOT_BYTES
from pyckpt.storage.base import Store
from pyckpt.storage.url import checkpoint_url

__all__ = [
    "OpenCheckpoint",
    "OpenItem",
    "decode_item",
    "load_item",
    "manifest_bytes",
    "open_root",
    "root_bytes",
]


@dataclass(frozen=True, slots=True)
class OpenItem:
    """One item with its decoded manifest; what a binder sees."""

    name: str
    kind: str
    entry: ItemEntry
    manifest: Manifest
    object_keys: tuple[str, ...]
    """Keys of the data objects, relative to the store, in the manifest's order."""

    @property
    def tree(self) -> Mapping[str | int, Node]:
        """The item's tree."""
        tree: Mapping[str | int, Node] = self.manifest.tree
        return tree

    def dtype(self, tensor: int) -> str:
        """Dtype of a tensor by its number."""
        return self.manifest.tensors.dtype_of(tensor)

    def shape(self, tensor: int) -> Ints:
        """Global shape of a tensor by its number."""
        return self.manifest.tensors.shape_of(tensor)


@dataclass(slots=True)
class OpenCheckpoint:
    """A committed checkpoint. Items are read when they are first asked for."""

    store: Store
    name: str
    root: Root
    _items: dict[str, OpenItem] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it lies."""
        return checkpoint_url(self.store.url, self.name)

    def item(self, name: str) -> OpenItem:
        """One item with its manifest. Raises NotFound ``item.missing``, Corrupt ``manifest.*``."""
        if name not in self._items:
            self.entry(name)
            self._items[name] = load_item(self.store, self.name, name, self.root)
        return self._items[name]

    def entry(self, name: str) -> ItemEntry:
        """What the root says of an item."""
        try:
            return self.root.items[name]
        except KeyError:
            have = ", ".join(sorted(self.root.items)) or "none"
            raise NotFound(
                "item.missing", f"no such item in {self.name!r}", key=name, hint=f"items are: {have}"
            ) from None


def root_bytes(store: Store, name: str) -> bytes:
    """Stored bytes of a root. Raises NotFound ``checkpoint.missing``."""
    key = join(name, ROOT_NAME)
    try:
        return store.get(key, limit=MAX_ROOT_BYTES)
    except FileNotFoundError as error:
        raise NotFound(
            "checkpoint.missing",
            "there is no committed checkpoint of this name",
            key=checkpoint_url(store.url, name),
            hint="the last part of a URL names the checkpoint; pyckpt.list(store) shows those that exist",
        ) from error


def open_root(store: Store, name: str, *, expect: str | None = None) -> OpenCheckpoint:
    """Opens a checkpoint by its root alone; ``expect`` is the digest that it must have.

    Raises NotFound, Corrupt ``root.*``, Unsupported.
    """
    return OpenCheckpoint(store, name, checked_root(root_bytes(store, name), name, expect))


def checked_root(data: bytes, name: str, expect: str | None) -> Root:
    """The root in these bytes, which must be the one that the caller expects, if any."""
    return decode_root(data, checkpoint=name, expect=expect)


def descriptor_key(checkpoint: str, descriptor: Descriptor) -> str:
    """Key, relative to the store, of what a descriptor points to."""
    return descriptor.store_key if descriptor.store_key is not None else join(checkpoint, descriptor.key or "")


def missing(kind: str, external: bool, what: str, key: str) -> Corrupt | NotFound:
    """The error of an object that is listed and not there; ``kind`` is manifest, object or asset."""
    if external:
        return Corrupt(
            "external.missing",
            f"{what} belongs to another checkpoint of the store and is gone",
            key=key,
            hint=f"bring the directory {key.split('/', 1)[0]!r} back",
        )
    error = NotFound if kind == "asset" else Corrupt
    return error(f"{kind}.missing", f"{what} is listed, but the store has no such object", key=key)


def base_of(checkpoint: str, entry: ItemEntry) -> str:
    """The checkpoint that the keys inside an item's manifest are relative to."""
    origin = entry.manifest.store_key
    return checkpoint if origin is None else origin.split("/", 1)[0]


def manifest_bytes(store: Store, checkpoint: str, item: str, entry: ItemEntry) -> bytes:
    """Stored bytes of an item's manifest. Raises LimitExceeded, Corrupt ``manifest.missing`` or ``manifest.size``."""
    key = descriptor_key(checkpoint, entry.manifest)
    size = entry.manifest.size
    limits = (("raw size", entry.raw_size, MAX_MANIFEST_RAW_BYTES), ("size", size, MAX_MANIFEST_BYTES))
    for what, stated, limit in limits:
        if stated > limit:
            message = f"a manifest of {what} {stated}, this reader takes up to {limit}"
            raise LimitExceeded("limit.exceeded", message, key=key)
    try:
        data = store.get(key, limit=size)
    except FileNotFoundError as error:
        raise missing("manifest", entry.manifest.store_key is not None, f"the manifest of {item!r}", key) from error
    except LimitExceeded as error:
        raise Corrupt("manifest.size", f"expected {size} bytes, found more", key=key) from error
    if len(data) != size:
        raise Corrupt("manifest.size", f"expected {size} bytes, found {len(data)}", key=key)
    return data


def decode_item(checkpoint: str, name: str, root: Root, data: bytes, *, tables_only: bool = False) -> OpenItem:
    """Checks and decodes a manifest as stored. Raises Corrupt ``manifest.*``, ``tree.schema``, ``tiling.inexact``.

    ``tables_only`` is for programs that copy: neither the tree nor the tiling of tensors is looked at.
    """
    entry = root.items[name]
    key = descriptor_key(checkpoint, entry.manifest)
    found = sha256_hex(data)
    if found != entry.manifest.sha256:
        raise Corrupt("manifest.digest", f"expected sha256 {entry.manifest.sha256}, found {found}", key=key)
    base = base_of(checkpoint, entry)
    item, attempt = parse_manifest_key(key[len(base) + 1 :])
    try:
        raw = decompress_manifest(data, entry.raw_size)
        manifest = decode_manifest(raw, item=item, attempt=attempt, tables_only=tables_only)
        check_object_keys(manifest, base)
        if tables_only:
            check_objects(manifest)
        else:
            check_manifest(manifest)
        _check_externals(manifest, root)
    except Corrupt as error:
        message = f"{error.key}: {error.message}" if error.key else error.message
        raise Corrupt(error.code, message, key=key, hint=error.hint, findings=error.findings) from error
    keys = tuple(row.store_key if row.store_key is not None else join(base, row.key or "") for row in manifest.objects)
    return OpenItem(name, entry.kind, entry, manifest, keys)


def _check_externals(manifest: Manifest, root: Root) -> None:
    """Refuses objects of checkpoints that the root doesn't say it uses."""
    listed = {external.checkpoint for external in root.external}
    for row in manifest.objects:
        if row.store_key is not None and row.store_key.split("/", 1)[0] not in listed:
            raise Corrupt("manifest.schema", f"an object {row.store_key!r} of a checkpoint that external doesn't list")


def load_item(store: Store, checkpoint: str, name: str, root: Root, *, tables_only: bool = False) -> OpenItem:
    """Reads, checks and decodes one item's manifest, as ``decode_item`` does."""
    data = manifest_bytes(store, checkpoint, name, root.items[name])
    return decode_item(checkpoint, name, root, data, tables_only=tables_only)
