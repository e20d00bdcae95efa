"""Removes checkpoints and what is left of attempts, so that nothing that a root reaches ever goes.

Deleting writes a tombstone and removes the root; bytes go later, when garbage collection finds that no root and no
young tombstone reaches them. A save in flight that references the old checkpoint has the grace period to notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyckpt.engine.open import base_of, descriptor_key, load_item, root_bytes
from pyckpt.errors import NotFound, PyckptError, UsageError
from pyckpt.format.keys import (
    ROOT_NAME,
    TOMBSTONES,
    check_checkpoint_name,
    classify_key,
    join,
    parse_tombstone_key,
    root_key,
    tombstone_key,
)
from pyckpt.format.root import Root, decode_root
from pyckpt.limits import MAX_ROOT_BYTES
from pyckpt.storage.base import Store

__all__ = ["GRACE_SECONDS", "Collected", "collect_garbage", "delete"]

GRACE_SECONDS = 24 * 3600.0
"""Default grace: longer than any save takes."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed, or would remove. Sizes in bytes."""

    keys: tuple[str, ...]
    bytes: int
    kept_for_grace: int
    """Unreachable keys that are still too young."""


def delete(store: Store, name: str) -> str:
    """Makes the checkpoint cease to exist and gives its root's digest; its bytes stay until garbage collection.

    A damaged root can be deleted too. Raises NotFound, Unsupported ``feature.unsupported``.
    """
    data = root_bytes(store, name)
    try:
        digest = decode_root(data, for_writing=True, checkpoint=name).digest
    except PyckptError as error:
        if error.code == "feature.unsupported":
            raise
        digest = "0" * 64
    store.put(tombstone_key(name, digest), data)
    store.delete(root_key(name))
    return digest


def collect_garbage(
    store: Store, *, grace: float = GRACE_SECONDS, only: str | None = None, dry_run: bool = False
) -> Collected:
    """Removes keys of the format that no root reaches and that are older than ``grace`` seconds on the store's clock.

    ``only`` restricts it to one checkpoint name. Keys that the format would never write are left alone. Raises
    UsageError while a damaged root makes it unknown what is reachable, Unsupported for features of writers.
    """
    if grace < 0:
        raise UsageError("usage.invalid", f"grace is {grace} seconds, expected 0 or more")
    now = store.now()
    names = [name for name in store.list_names("") if _is_name(name)]
    roots = dict(_roots(store, names))
    reachable: set[str] = set()
    for name, root in roots.items():
        reachable |= set(_reached(store, name, root))
    for key, age, name, root in _tombstones(store, now):
        if age < grace:
            reachable |= set(_reached(store, name, root, missing_ok=True))
            reachable.add(key)
    removed: list[str] = []
    size = young = 0
    for name in names:
        if only is not None and name != only:
            continue
        for info in store.list(f"{name}/"):
            own = info.key[len(name) + 1 :]
            if info.key in reachable or classify_key(own) == "foreign" or own == ROOT_NAME:
                continue
            if now - info.modified < grace:
                young += 1
                continue
            removed.append(info.key)
            size += info.size
    for key, age, name, _ in _tombstones(store, now):
        if age >= grace and (only is None or name == only):
            removed.append(key)
    if not dry_run:
        for key in removed:
            store.delete(key)
    return Collected(tuple(removed), size, young)


def _is_name(name: str) -> bool:
    try:
        check_checkpoint_name(name)
    except PyckptError:
        return False
    return True


def _roots(store: Store, names: list[str]) -> Iterator[tuple[str, Root]]:
    for name in names:
        try:
            data = root_bytes(store, name)
        except NotFound:
            continue
        try:
            yield name, decode_root(data, for_writing=True, checkpoint=name)
        except PyckptError as error:
            if error.code == "feature.unsupported":
                raise
            raise UsageError(
                "usage.invalid",
                f"the root of {name!r} can't be read, so what it reaches is not known: {error.message}",
                key=join(name, ROOT_NAME),
                hint="restore or delete that checkpoint first",
            ) from error


def _tombstones(store: Store, now: float) -> Iterator[tuple[str, float, str, Root | None]]:
    """Key, age in seconds, checkpoint name and root of every tombstone."""
    for info in store.list(f"{TOMBSTONES}/"):
        try:
            name, _ = parse_tombstone_key(info.key)
        except PyckptError:
            continue
        root = None
        try:
            root = decode_root(store.get(info.key, limit=MAX_ROOT_BYTES), checkpoint=name)
        except (PyckptError, FileNotFoundError):
            root = None
        yield info.key, now - info.modified, name, root


def _reached(store: Store, name: str, root: Root | None, *, missing_ok: bool = False) -> Iterator[str]:
    """Keys that a root reaches: itself, manifests, their objects, assets."""
    if root is None:
        return
    yield root_key(name)
    for item, entry in root.items.items():
        yield descriptor_key(name, entry.manifest)
        for descriptor in entry.assets.values():
            yield descriptor_key(name, descriptor)
        try:
            yield from load_item(store, name, item, entry).object_keys
        except PyckptError as error:
            if missing_ok:
                continue
            raise UsageError(
                "usage.invalid",
                f"the manifest of {item!r} in {name!r} can't be read, so what it reaches is not known: {error.message}",
                key=base_of(name, entry),
                hint="restore or delete that checkpoint first",
            ) from error
