"""Carrying over by reference (section 13.6): items of another checkpoint, and the checks of what is referenced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Rejected
from .opening import find_item, open_root
from .reach import object_keys, tombstone_key
from .root import Descriptor
from .store import Store
from .writable import exists


@dataclass(frozen=True)
class Carried:
    """An item of the new root, and the checkpoints that it needs, each with its root digest."""

    member: Mapping[str, Any]
    external: Mapping[str, str]


def carry_over(store: Store, checkpoint: str, source: str, name: str) -> Carried:
    """The item of this name of the source, at its origin (SCF-ROOT-021), for a new checkpoint."""
    root = open_root(store, source, writing=True)  # SCF-ROOT-024
    item = find_item(root, name)
    descriptors = [item.manifest, *item.assets.values()]
    keys = [*(one.at(source) for one in descriptors), *object_keys(store, root, item)]
    needed = sorted({key.partition("/")[0] for key in keys})
    if checkpoint in needed:
        message = f"{source} has the item {name} from {checkpoint}, which is to be written"
        raise Rejected("external.missing", message, subject=checkpoint, phase="commit")
    member = {
        "kind": item.kind,
        "manifest": _by_store_key(item.manifest, source),
        "raw_size": item.raw_size,
        "counts": {
            "tensors": item.counts.tensors,
            "shards": item.counts.shards,
            "objects": item.counts.objects,
            "bytes": item.counts.bytes,
        },
        "assets": {asset: _by_store_key(one, source) for asset, one in item.assets.items()},
    }
    return Carried(member, {one: root.digest if one == source else root.external[one] for one in needed})


def _by_store_key(one: Descriptor, source: str) -> Mapping[str, Any]:
    return {"store_key": one.at(source), "size": one.size, "sha256": one.sha256}


def joined_external(carried: Iterable[Carried]) -> list[dict[str, str]]:
    """The member `external`: sorted, each checkpoint once (SCF-REF-004)."""
    found: dict[str, str] = {}
    for one in carried:
        for name, digest in one.external.items():
            if found.setdefault(name, digest) != digest:
                raise _other_digest(name)
    return [{"checkpoint": name, "digest": found[name]} for name in sorted(found)]


def check_external(store: Store, external: Iterable[Mapping[str, str]]) -> None:
    """Directly before the root is created: each checkpoint is there, the same, and not being deleted."""
    for one in external:
        name, digest = one["checkpoint"], one["digest"]
        try:
            root = open_root(store, name, writing=True)
        except Rejected as refusal:
            if refusal.code == "checkpoint.missing":  # SCF-REF-001
                raise Rejected("external.missing", f"{name} is gone", subject=name, phase="commit") from refusal
            if refusal.code.startswith("root."):
                raise _other_digest(name) from refusal
            raise
        if root.digest != digest:  # SCF-REF-007
            raise _other_digest(name)
        if exists(store, tombstone_key(name, digest)):  # SCF-REF-002
            raise Rejected("external.missing", f"{name} is being deleted", subject=name, phase="commit")


def _other_digest(name: str) -> Rejected:
    return Rejected("external.digest", f"{name} has another root digest than the one that is referenced", subject=name)
