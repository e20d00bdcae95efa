"""Garbage collection: removes what no checkpoint reaches, old enough that nobody can still be using it.

The order of the looks matters (specification, section 13.5): the clock, then all roots, then the tombstones, then the
keys. In any other order a checkpoint that is deleted in between would be in neither list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pyckpt.engine.open import descriptor_key, load_item, root_bytes
from pyckpt.errors import Corrupt, InvalidKey, NotFound, PyckptError, UsageError
from pyckpt.format.keys import (
    TOMBSTONES,
    check_checkpoint_name,
    classify_key,
    parse_tombstone_key,
    root_key,
    tombstone_key,
)
from pyckpt.format.root import Root, decode_root
from pyckpt.limits import MAX_ROOT_BYTES
from pyckpt.storage.base import ObjectInfo, Store
from pyckpt.storage.local import LocalStore

__all__ = ["GRACE_SECONDS", "Collected", "collect_garbage"]

GRACE_SECONDS = 24 * 3600.0
"""Default grace: longer than any save or load."""

_DISPLACED = re.compile(r"[^/]+/([0-9a-f]{16})\.d/.+\Z")
_ORDER = {"marker": 0, "object": 1, "displaced": 2, "asset": 3, "manifest": 4}


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed, or would remove."""

    keys: tuple[str, ...]
    bytes: int
    kept_for_grace: int
    """Candidates that no root reaches and that are still too young or protected by a young tombstone."""


@dataclass(frozen=True, slots=True)
class _Tombstone:
    key: str
    checkpoint: str
    age: float
    reaches: frozenset[str]


def collect_garbage(
    store: Store,
    *,
    grace: float = GRACE_SECONDS,
    only: Callable[[str], bool] | None = None,
    dry_run: bool = False,
) -> Collected:
    """Removes the format's keys that no root reaches and that are at least ``grace`` seconds old by the store's clock.

    ``only`` restricts it to the checkpoint names that it takes. Files of others are never touched. Raises
    UsageError, and removes nothing, while a root or manifest can't be read; Unsupported for features that collectors
    must know.
    """
    if grace < 0:
        raise UsageError("usage.invalid", f"grace is {grace} seconds, expected 0 or more")
    now = store.now()
    names = [name for name in store.list_names("") if _is_name(name)]
    reached: set[str] = set()
    standing = set()
    for name, root in _roots(store, names):
        standing.add(tombstone_key(name, root.digest))
        reached |= _reached(store, name, root, f"the root of {name!r}")
    stones = list(_tombstones(store, now))
    protected: set[str] = set().union(*(stone.reaches for stone in stones if stone.age < grace))
    doomed = [stone for stone in stones if stone.age >= grace]
    found: list[tuple[int, ObjectInfo]] = []
    young = 0
    for name in names:
        if only is not None and not only(name):
            continue
        assets = frozenset().union(*(stone.reaches for stone in doomed if stone.checkpoint == name))
        for info in store.list(f"{name}/"):
            kind = _candidate(info.key, name, assets)
            if kind is None or info.key in reached:
                continue
            if info.key in protected or now - info.modified < grace:
                young += 1
                continue
            found.append((_ORDER[kind], info))
    found.sort(key=lambda each: (each[0], each[1].key))
    keys = [info.key for order, info in found if order != _ORDER["asset"] or _unchanged(store, info)]
    left = set(keys)
    spent = [
        stone.key
        for stone in doomed
        if (only is None or only(stone.checkpoint))
        and stone.key not in standing
        and all(key in left or key in reached or key in protected or _gone(store, key) for key in stone.reaches)
    ]
    if not dry_run:
        for _, info in found:
            # A copy may just have written it again, under the same key.
            if info.key in left and _unchanged(store, info):
                store.delete(info.key)
        for key in spent:
            store.delete(key)
        if isinstance(store, LocalStore):
            store.remove_leftovers(now - grace)
    return Collected((*keys, *spent), sum(info.size for _, info in found), young)


def _is_name(name: str) -> bool:
    try:
        check_checkpoint_name(name)
    except InvalidKey:
        return False
    return True


def _gone(store: Store, key: str) -> bool:
    return store.info(key) is None


def _unchanged(store: Store, info: ObjectInfo) -> bool:
    """A plain asset's key can be created a second time; another save may just have done so."""
    now = store.info(info.key)
    return now is not None and now.modified == info.modified


def _candidate(key: str, checkpoint: str, assets: frozenset[str]) -> str | None:
    """Kind of a key that collection may remove at all; None for roots and for what may be somebody else's."""
    own = key[len(checkpoint) + 1 :]
    if _DISPLACED.match(own):
        return "displaced"
    kind = classify_key(own)
    if kind == "asset":
        return kind if key in assets else None
    return kind if kind in _ORDER else None


def _roots(store: Store, names: Sequence[str]) -> Iterator[tuple[str, Root]]:
    for name in names:
        try:
            data = root_bytes(store, name)
        except NotFound:
            continue
        try:
            yield name, decode_root(data, for_writing=True, checkpoint=name)
        except Corrupt as error:
            raise _unknown(f"the root of {name!r}", root_key(name), error) from error


def _tombstones(store: Store, now: float) -> Iterator[_Tombstone]:
    for info in store.list(f"{TOMBSTONES}/"):
        try:
            name, _ = parse_tombstone_key(info.key)
        except InvalidKey:
            continue
        try:
            root = decode_root(store.get(info.key, limit=MAX_ROOT_BYTES), checkpoint=name)
        except FileNotFoundError:
            continue
        except Corrupt as error:
            raise _unknown("a tombstone", info.key, error) from error
        reaches = _reached(store, name, root, f"the tombstone of {name!r}", absent_ok=True)
        yield _Tombstone(info.key, name, now - info.modified, frozenset(reaches))


def _reached(store: Store, name: str, root: Root, what: str, *, absent_ok: bool = False) -> set[str]:
    """Keys of manifests, assets and data objects that a root or tombstone reaches."""
    keys = set()
    for item, entry in root.items.items():
        keys.add(descriptor_key(name, entry.manifest))
        keys |= {descriptor_key(name, descriptor) for descriptor in entry.assets.values()}
        try:
            keys.update(load_item(store, name, item, root).object_keys)
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
