"""A manifest (chapter 7): from its stored bytes to checked tables and the tree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from . import frame, mpack, names
from .codecs import Chain, read_chains
from .errors import Rejected, beyond
from .limits import Limits
from .objects import DataObject, Place, read_objects
from .root import Item, Root
from .shards import Shards, read_shards
from .store import NoSuchKey, Store, TooLarge
from .tables import array_of, fault, integer, member, text
from .tensors import TensorRow, read_dtypes, read_tensors
from .tree import MapNode, read_tree


@dataclass(frozen=True)
class Manifest:
    """The checked tables and tree of an item; tiling, coverage and entry names are checked where they matter."""

    place: Place
    chains: Sequence[Chain]
    tensors: Sequence[TensorRow]
    objects: Sequence[DataObject]
    shards: Shards
    tree: MapNode


def manifest_place(root: Root, item: Item) -> Place:
    """Where the manifest of an item is."""
    key = item.manifest.at(root.checkpoint)
    origin = names.manifest_key(key.partition("/")[2])
    assert origin is not None, "the root's schema has checked the key"
    return Place(key, origin, item.manifest.base(root.checkpoint), root.external)


def fetch(store: Store, root: Root, item: Item, limits: Limits) -> bytes:
    """The raw bytes of an item's manifest, by steps 1 to 5 of section 7.1."""
    key = item.manifest.at(root.checkpoint)
    _check_limits(item, key, limits)
    try:
        stored = store.get(key, item.manifest.size)
    except NoSuchKey:  # SCF-OPEN-002, SCF-DIG-019
        code = "manifest.missing" if item.manifest.store_key is None else "external.missing"
        raise Rejected(code, "the manifest is not in the store", subject=key, phase="manifest") from None
    except TooLarge as large:  # SCF-DIG-003
        raise _other_size(item, key, large.size) from None
    if len(stored) != item.manifest.size:
        raise _other_size(item, key, len(stored))
    if hashlib.sha256(stored).hexdigest() != item.manifest.sha256:  # SCF-DIG-004
        raise Rejected("manifest.digest", "the manifest does not have the SHA-256 of its descriptor", subject=key)
    try:
        return frame.decompress(stored, item.raw_size)
    except frame.FrameFault as error:  # SCF-MAN-002, SCF-MAN-003
        raise Rejected("manifest.frame", str(error), subject=key) from error


def _check_limits(item: Item, key: str, limits: Limits) -> None:
    """Refuse what is too large before it is fetched (SCF-MAN-001)."""
    if item.raw_size > limits.max_manifest_raw_bytes:
        maximum = limits.max_manifest_raw_bytes
        raise beyond("max_manifest_raw_bytes", maximum, item.raw_size, phase="manifest", subject=key)
    if item.manifest.size > limits.max_manifest_bytes:
        maximum = limits.max_manifest_bytes
        raise beyond("max_manifest_bytes", maximum, item.manifest.size, phase="manifest", subject=key)


def _other_size(item: Item, key: str, size: int) -> Rejected:
    return Rejected("manifest.size", f"the manifest has {size} bytes, not {item.manifest.size}", subject=key)


def read_manifest(raw: bytes, place: Place, limits: Limits) -> Manifest:
    """The manifest of these raw bytes, by steps 6 to 8 of section 7.1; every refusal names its key."""
    try:
        return _checked(mpack.parse(raw, limits), place)
    except Rejected as error:
        raise Rejected(error.code, error.message, subject=place.key, phase=error.phase) from error


def _checked(packed: mpack.PackedMap, place: Place) -> Manifest:
    integer(packed, "scf", "manifest", 1, 1)  # SCF-COMPAT-001
    for key, stated in (("attempt", place.origin.attempt), ("item", place.origin.item)):
        if text(packed, key, "manifest") != stated:  # SCF-MAN-007
            raise fault(f"manifest: {key} is not {stated}, which its own key says")
    chains = read_chains(array_of(packed, "codecs", "manifest"))
    tensors = read_tensors(packed, read_dtypes(packed))
    objects = read_objects(packed, place)
    shards = read_shards(packed, tensors, objects, chains)
    tree = read_tree(member(packed, "tree", "manifest"), len(tensors))
    return Manifest(place, chains, tensors, objects, shards, tree)
