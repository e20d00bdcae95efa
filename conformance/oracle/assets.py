"""Assets: files that are kept with an item, byte for byte."""

from __future__ import annotations

import hashlib

from .errors import Rejected
from .root import Descriptor, Item, Root
from .store import NoSuchKey, Store, TooLarge


def read_asset(store: Store, root: Root, item: Item, name: str) -> bytes:
    """The bytes of an asset, its size and SHA-256 checked."""
    if name not in item.assets:
        there = ", ".join(item.assets) or "none"
        raise Rejected("asset.missing", f"the item {item.name} has no asset {name}; it has {there}", subject=name)
    descriptor = item.assets[name]
    key = descriptor.at(root.checkpoint)
    try:
        data = store.get(key, descriptor.size)
    except NoSuchKey:
        raise _missing(descriptor, key) from None
    except TooLarge as large:
        raise _other_size(descriptor, key, large.size) from None
    if len(data) != descriptor.size:
        raise _other_size(descriptor, key, len(data))
    if hashlib.sha256(data).hexdigest() != descriptor.sha256:  # SCF-DIG-005
        raise Rejected("asset.digest", "the asset does not have the SHA-256 of its descriptor", subject=key)
    return data


def check_asset(store: Store, root: Root, descriptor: Descriptor) -> None:
    """The asset is there and has its size (SCF-DIG-016, SCF-DIG-017, SCF-DIG-019)."""
    key = descriptor.at(root.checkpoint)
    try:
        size = store.size(key)
    except NoSuchKey:
        raise _missing(descriptor, key) from None
    if size != descriptor.size:
        raise _other_size(descriptor, key, size)


def _missing(descriptor: Descriptor, key: str) -> Rejected:
    code = "asset.missing" if descriptor.store_key is None else "external.missing"
    return Rejected(code, "the asset is not in the store", subject=key, phase="read")


def _other_size(descriptor: Descriptor, key: str, size: int) -> Rejected:
    return Rejected("asset.size", f"the asset has {size} bytes, not {descriptor.size}", subject=key)
