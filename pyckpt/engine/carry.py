"""Items that a save takes over from other checkpoints as they are: their descriptors at their origins, no bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from pyckpt.engine.external import NEWEST, Where, lost_externals, name_in, newest_standing, standing_root
from pyckpt.engine.open import OpenCheckpoint, OpenItem, base_of, descriptor_key, missing
from pyckpt.engine.read import check_objects
from pyckpt.errors import Corrupt, Finding, NotFound, PyckptError, StoreError, UsageError
from pyckpt.format.keys import check_item_name
from pyckpt.format.root import Descriptor, ItemEntry, Root
from pyckpt.storage.base import Store

__all__ = ["Carried", "Sources", "carry_items"]

Sources = Mapping[str, tuple[Where, str]]
"""Item of the new checkpoint -> the checkpoint that it is carried over from, and its name there."""


@dataclass(frozen=True, slots=True)
class Carried:
    """An item that is carried over."""

    entry: ItemEntry
    external: Mapping[str, str]
    """Checkpoints that it depends on: name -> root digest."""
    stored: int
    """Bytes of its shards as stored."""


def carry_items(store: Store, checkpoint: str, sources: Sources, saved: Collection[str]) -> dict[str, Carried]:
    """The items of ``sources`` for the root of the new ``checkpoint``, whose own items are ``saved``.

    Manifests are read and checked, of objects and assets only that they are there with their sizes. Raises the error of
    the one item that can't be carried over, or one that lists all of them; StoreError.
    """
    carried: dict[str, Carried] = {}
    errors: dict[str, PyckptError] = {}
    for item, (where, there) in sources.items():
        try:
            check_item_name(item)
            if item in saved:
                raise UsageError("usage.invalid", "it is in the state and carried over as well", key=item)
            carried[item] = _carry(store, checkpoint, where, there)
        except StoreError:
            raise
        except PyckptError as error:
            errors[item] = error
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        first = next(iter(errors.values()))
        findings = [Finding(error.code, item, f"{error.key}: {error.message}") for item, error in errors.items()]
        raise type(first)(first.code, f"{len(errors)} items can't be carried over", findings=findings)
    return carried


def _carry(store: Store, checkpoint: str, where: Where, there: str) -> Carried:
    root, source = _source(store, where)
    opened = OpenCheckpoint(store, source, root)
    item = opened.item(there)
    external = _externals(source, root, item)
    for error in lost_externals(store, checkpoint, external).values():
        raise error
    check_objects(store, item)
    for name, asset in item.entry.assets.items():
        key = descriptor_key(source, asset)
        info = store.info(key)
        if info is None:
            raise missing("asset", asset.store_key is not None, f"the asset {name!r}", key)
        if info.size != asset.size:
            raise Corrupt("asset.size", f"expected {asset.size} bytes, found {info.size}", key=key)
    entry = replace(
        item.entry,
        manifest=_at_origin(source, item.entry.manifest),
        assets={name: _at_origin(source, asset) for name, asset in item.entry.assets.items()},
    )
    return Carried(entry, external, int(item.manifest.shards.stored.sum()))


def _source(store: Store, where: Where) -> tuple[Root, str]:
    if where == NEWEST:
        found = newest_standing(store)
        if found is None:
            raise NotFound("checkpoint.missing", "there is no checkpoint to carry an item over from", key=store.url)
        return found
    name = name_in(store, where)
    return standing_root(store, name), name


def _externals(source: str, root: Root, item: OpenItem) -> dict[str, str]:
    """The origin, and whatever else the item's manifest and assets name."""
    assets = [asset.store_key for asset in item.entry.assets.values()]
    keys = [key for key in (*assets, *(row.store_key for row in item.manifest.objects)) if key is not None]
    names = {base_of(source, item.entry), *(key.split("/", 1)[0] for key in keys)}
    if any(asset.store_key is None for asset in item.entry.assets.values()):
        names.add(source)
    digests = {source: root.digest, **{each.checkpoint: each.digest for each in root.external}}
    return {name: digests[name] for name in sorted(names)}


def _at_origin(source: str, descriptor: Descriptor) -> Descriptor:
    return replace(descriptor, key=None, store_key=descriptor_key(source, descriptor))
