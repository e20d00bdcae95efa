"""What a root reaches (section 13.5), and the keys of tombstones (section 5.7)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgpack

from . import mpack, names
from .errors import Rejected
from .limits import DEFAULT
from .manifest import fetch, manifest_place, read_manifest
from .objects import Place, read_objects
from .root import Item, Root
from .store import Store

_TOMBSTONE = re.compile(r"\.tombstones/([^/]+)\.([0-9a-f]{16})\.json")


def tombstone_key(checkpoint: str, digest: str) -> str:
    """The key of the tombstone of a checkpoint with this root digest."""
    return f"{names.TOMBSTONES}/{checkpoint}.{digest[:16]}.json"


def tombstone_of(key: str) -> str | None:
    """The checkpoint name of a tombstone's key, None if key is none."""
    match = _TOMBSTONE.fullmatch(key)
    return match.group(1) if match and names.is_checkpoint(match.group(1)) else None


def tombstones(store: Store, checkpoint: str) -> list[str]:
    """The keys of all tombstones of a checkpoint name."""
    listed = store.list(f"{names.TOMBSTONES}/{checkpoint}.")
    return [one.key for one in listed if tombstone_of(one.key) == checkpoint]


def reached(store: Store, root: Root) -> set[str]:
    """Every key that a root reaches, itself left out; a manifest that can't be read is a refusal."""
    return {key for item in root.items.values() for key in item_reaches(store, root, item)}


def item_reaches(store: Store, root: Root, item: Item) -> Iterator[str]:
    """The keys of an item: manifest, assets, data objects."""
    yield from named_by_root(root, item)
    yield from object_keys(store, root, item)


def named_by_root(root: Root, item: Item) -> Iterator[str]:
    """The keys that the root itself names."""
    yield item.manifest.at(root.checkpoint)
    yield from (asset.at(root.checkpoint) for asset in item.assets.values())


def object_keys(store: Store, root: Root, item: Item) -> list[str]:
    """The data objects that an item's manifest lists; a tree that is not understood does no harm (section 17.2)."""
    raw = fetch(store, root, item, DEFAULT)
    place = manifest_place(root, item)
    try:
        return [row.key for row in read_manifest(raw, place, DEFAULT).objects]
    except Rejected as refusal:
        if refusal.code != "tree.schema":
            raise
    return _objects_alone(raw, place)


def _objects_alone(raw: bytes, place: Place) -> list[str]:
    """The keys of the data objects of a manifest whose tree has what this program does not know."""
    try:
        packed: mpack.PackedMap = msgpack.unpackb(raw, strict_map_key=False)
    except (ValueError, TypeError) as error:
        raise Rejected("manifest.syntax", str(error), subject=place.key) from error
    return [row.key for row in read_objects(packed, place)]
