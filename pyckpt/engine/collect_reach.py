"""What the roots and tombstones of a store reach: the keys that garbage collection must know before it removes any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyckpt.engine.open import descriptor_key, load_item, root_bytes
from pyckpt.errors import Corrupt, InvalidKey, NotFound, PyckptError, UsageError
from pyckpt.format.keys import TOMBSTONES, parse_tombstone_key, root_key
from pyckpt.format.root import Root, decode_root
from pyckpt.limits import MAX_ROOT_BYTES
from pyckpt.storage.base import ObjectInfo, Store

__all__ = ["Tombstone", "reached_by", "roots_of", "tombstones_of"]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What a deletion left behind."""

    info: ObjectInfo
    checkpoint: str
    reaches: frozenset[str]
    """Keys of manifests, assets and data objects of the deleted checkpoint."""
    is_read: bool = True
    """False if nobody knows any more what it reaches; it is left where it is."""


def roots_of(store: Store, names: Sequence[str]) -> Iterator[tuple[str, Root]]:
    """Those of the names that have a root. UsageError for one that can't be read, Unsupported."""
    for name in names:
        try:
            data = root_bytes(store, name)
        except NotFound:
            continue
        try:
            yield name, decode_root(data, for_writing=True, checkpoint=name)
        except Corrupt as error:
            raise _unknown(f"the root of {name!r}", root_key(name), error) from error


def tombstones_of(store: Store, now: float, grace: float) -> Iterator[Tombstone]:
    """All tombstones. UsageError for one that can't be read, unless its grace is over and it protects nothing."""
    for info in store.list(f"{TOMBSTONES}/"):
        try:
            name, _ = parse_tombstone_key(info.key)
        except InvalidKey:
            continue
        try:
            yield Tombstone(info, name, frozenset(_reached_by_tombstone(store, name, info.key)))
        except FileNotFoundError:
            continue
        except UsageError:
            if now - info.modified < grace:
                raise
            yield Tombstone(info, name, frozenset(), is_read=False)


def _reached_by_tombstone(store: Store, name: str, key: str) -> set[str]:
    try:
        root = decode_root(store.get(key, limit=MAX_ROOT_BYTES), checkpoint=name)
    except Corrupt as error:
        raise _unknown("a tombstone", key, error) from error
    return reached_by(store, name, root, f"the tombstone of {name!r}", absent_ok=True)


def reached_by(store: Store, name: str, root: Root, what: str, *, absent_ok: bool = False) -> set[str]:
    """Keys of manifests, assets and data objects that a root or tombstone reaches."""
    keys = set()
    for item, entry in root.items.items():
        keys.add(descriptor_key(name, entry.manifest))
        keys |= {descriptor_key(name, descriptor) for descriptor in entry.assets.values()}
        try:
            keys.update(load_item(store, name, item, root, tables_only=True).object_keys)
        except PyckptError as error:
            if absent_ok and error.code in ("manifest.missing", "external.missing"):
                continue
            if error.code in ("store.io", "store.condition"):
                raise
            raise _unknown(f"the manifest of {item!r}, which {what} names,", error.key, error) from error
    return keys


def _unknown(what: str, key: str, error: PyckptError) -> UsageError:
    return UsageError(
        "usage.invalid",
        f"{what} can't be read, so it is not known what must stay; nothing was removed: {error.message}",
        key=key,
        hint="restore it, or remove that checkpoint's root by hand if it is lost",
    )
