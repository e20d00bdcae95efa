"""What a target already has of a copy, and how far it can be relied on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pyckpt.engine.collect import GRACE_SECONDS
from pyckpt.engine.copy_cover import Cover, covers_of
from pyckpt.engine.copy_plan import CopyPlan, DataObject, SmallObject
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import descriptor_key, load_item, root_bytes
from pyckpt.errors import Corrupt, InvalidKey, NotFound, PyckptError, StoreError
from pyckpt.format.keys import TOMBSTONES, classify_key, parse_tombstone_key, tombstone_key
from pyckpt.format.root import Root, decode_root
from pyckpt.storage.base import ObjectInfo, Store

__all__ = ["FRESH_SECONDS", "Held", "check_places", "find_fallen", "find_held", "is_deleted", "look"]

FRESH_SECONDS = GRACE_SECONDS / 2
"""An object that no root reaches is relied on up to this age: long before a collector may remove it."""

_FEW = 16
"""Up to so many objects are looked up one by one, more by listings."""


@dataclass(slots=True)
class Held:
    """What the roots of the target say of objects that a copy needs."""

    covers: dict[str, dict[str, Cover]] = field(default_factory=dict)
    """Key of a data object -> checkpoint that reaches it -> what it says of it."""
    sums: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)
    """Key of a manifest or asset -> checkpoint that reaches it -> size and SHA-256."""
    digests: dict[str, str] = field(default_factory=dict)
    """Checkpoint -> its root's digest."""
    doomed: set[str] = field(default_factory=set)
    """Checkpoints whose deletion has begun: theirs must not be replaced either, but can't be relied on."""
    unknown: str | None = None
    """A checkpoint that can't be read and so may reach any of the objects, if there is one."""

    def voucher(self, what: DataObject | SmallObject) -> str | None:
        """A checkpoint of the target that reaches the object and has for it all the digests that the copy has."""
        if isinstance(what, SmallObject):
            stated = (what.size, what.sha256)
            names = [name for name, said in self.sums.get(what.target, {}).items() if said == stated]
        else:
            covers = self.covers.get(what.target, {})
            names = [name for name, cover in covers.items() if cover.includes(what.cover)]
        return next((name for name in names if name not in self.doomed), None)

    def holder(self, key: str) -> str | None:
        """A checkpoint of the target that reaches the object, whatever it says of it, or may reach it."""
        return next(iter((*self.covers.get(key, ()), *self.sums.get(key, ()))), self.unknown)

    def other_bytes(self, key: str, holder: str, code: str) -> Corrupt:
        """The error of an object that must not be replaced."""
        if holder == self.unknown:
            return Corrupt(
                code,
                f"the target has other bytes there, and its checkpoint {holder!r}, of which something can't be read, "
                "may use them, so they were not replaced",
                key=key,
                hint=f"restore {holder!r} at the target, or remove it if it is lost",
            )
        return Corrupt(
            code,
            f"the target has other bytes there, and its checkpoint {holder!r} uses them, so they were not replaced",
            key=key,
            hint=f"see what pyckpt verify says of {holder!r} at the target",
        )


def look(store: Store, plan: CopyPlan) -> dict[str, ObjectInfo]:
    """What lies at the keys of the plan, by listings of their directories where there are many."""
    wanted = plan.targets
    if len(wanted) <= _FEW:
        found = (store.info(key) for key in wanted)
        return {info.key: info for info in found if info is not None}
    prefixes = {"/".join(key.split("/")[:2]) for key in wanted}
    return {info.key: info for prefix in sorted(prefixes) for info in store.list(f"{prefix}/") if info.key in wanted}


def check_places(store: Store, plan: CopyPlan, found: Collection[str]) -> None:
    """Refuses assets of other checkpoints that the target lacks and whose place is no checkpoint's, such as ``.git/``.

    Their names are a stranger's choice, and the directory of the copy itself is not where they go. InvalidKey.
    """
    places = {
        each.target.partition("/")[0]: each.target
        for each in plan.small
        if each.kind == "asset" and each.is_external and each.target not in found
    }
    for name, key in places.items():
        kinds = {classify_key(info.key[len(name) + 1 :]) for info in store.list(f"{name}/")}
        if name.startswith(".") or (kinds and kinds <= {"asset", "foreign"}):
            raise InvalidKey(
                "key.invalid",
                f"it would be an asset of another checkpoint {name!r}, but what the target has there is no checkpoint",
                key=key,
                hint="copy into a store that has nothing but checkpoints, or with standalone",
            )


def find_held(store: Store, keys: Collection[str]) -> Held:
    """What the roots of the store say of these keys.

    Of a root or manifest that can't be read nobody knows what it reaches. Raises StoreError.
    """
    held = Held()
    owners = {key.partition("/")[0] for key in keys}
    stones = _tombstones(store)
    for listed in list_checkpoints(store):
        root = listed.root
        if isinstance(listed.error, StoreError):
            raise listed.error
        if root is None:
            held.unknown = listed.name
            continue
        if not owners & {listed.name, *(each.checkpoint for each in root.external)}:
            continue
        _add(store, listed.name, root, keys, held)
        if tombstone_key(listed.name, root.digest) in stones:
            held.doomed.add(listed.name)
    return held


def _add(store: Store, name: str, root: Root, keys: Collection[str], held: Held) -> None:
    held.digests[name] = root.digest
    for item, entry in root.items.items():
        for descriptor in (entry.manifest, *entry.assets.values()):
            held.sums.setdefault(descriptor_key(name, descriptor), {})[name] = (descriptor.size, descriptor.sha256)
        try:
            opened = load_item(store, name, item, root, tables_only=True)
        except PyckptError as error:
            if error.code == "store.io":
                raise
            held.unknown = name
            continue
        for key, cover in zip(opened.object_keys, covers_of(opened.manifest), strict=True):
            if key in keys:
                held.covers.setdefault(key, {})[name] = cover


def find_fallen(store: Store, roots: Mapping[str, str]) -> str | None:
    """The first of these checkpoints (name -> digest) that is gone, another, or being deleted; None if all stand."""
    stones = _tombstones(store) if roots else frozenset()
    for name, digest in roots.items():
        try:
            found = decode_root(root_bytes(store, name), checkpoint=name).digest
        except NotFound:
            return name
        if found != digest or tombstone_key(name, digest) in stones:
            return name
    return None


def is_deleted(store: Store, name: str) -> bool:
    """Whether a tombstone of this name exists: a collector may remove what lies there at any moment."""
    for key in _tombstones(store):
        with suppress(InvalidKey):
            if parse_tombstone_key(key)[0] == name:
                return True
    return False


def _tombstones(store: Store) -> frozenset[str]:
    return frozenset(info.key for info in store.list(f"{TOMBSTONES}/"))
