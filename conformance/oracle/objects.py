"""The data objects of a manifest (section 7.6)."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from . import names
from .errors import Rejected
from .limits import DATA_ALIGNMENT, MAX_BLOCK_BYTES, MAX_HEADER_BYTES, MAXINT, MIN_BLOCK_BYTES
from .mpack import Packed, PackedMap
from .tables import array_of, fault, integer, map_of, member, text


@dataclass(frozen=True)
class Place:
    """Where a manifest is: its own key in the store, what that says, the item's base, and what external lists."""

    key: str
    origin: names.Origin
    base: str
    external: Container[str]


@dataclass(frozen=True, slots=True)
class DataObject:
    """One data object; `key` is its key in the store, `own` whether the manifest names it by `key`."""

    number: int
    key: str
    own: bool
    size: int
    data_start: int
    header_digest: bytes
    digest: str
    block: int


def read_objects(manifest: PackedMap, place: Place) -> list[DataObject]:
    """The data objects by number; no two are the same (SCF-MAN-015)."""
    rows = []
    seen = set()
    for number, element in enumerate(array_of(manifest, "objects", "manifest")):
        row = _read(number, element, place)
        if row.key in seen:
            raise fault(f"object {number} is the same as another one")
        seen.add(row.key)
        rows.append(row)
    return rows


def _read(number: int, element: Packed, place: Place) -> DataObject:
    where = f"object {number}"
    members = map_of(element, where)
    size = integer(members, "size", where, 0, MAXINT)
    data_start = integer(members, "data_start", where, DATA_ALIGNMENT, min(size, 8 + MAX_HEADER_BYTES))
    if data_start % DATA_ALIGNMENT:
        raise fault(f"{where}: data_start is no multiple of {DATA_ALIGNMENT}")
    block = integer(members, "block", where, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES)
    if block & (block - 1):
        raise fault(f"{where}: block is no power of two")
    for key in ("digest", "header_digest"):
        if key not in members:  # SCF-DIG-008
            raise Rejected("digest.missing", f"{where}: {key} is absent")
    header_digest = member(members, "header_digest", where)
    if not isinstance(header_digest, bytes) or len(header_digest) != 32:
        raise fault(f"{where}: header_digest is no bin of 32 bytes")
    return DataObject(
        number=number,
        key=_key(members, where, place),
        own="key" in members,
        size=size,
        data_start=data_start,
        header_digest=header_digest,
        digest=text(members, "digest", where),
        block=block,
    )


def _key(members: PackedMap, where: str, place: Place) -> str:
    """The object's key in the store (SCF-LAYOUT-003)."""
    if ("key" in members) == ("store_key" in members):
        raise fault(f"{where}: exactly one of key and store_key has to be there")
    if "key" in members:
        key = text(members, "key", where)
        origin = names.data_object_key(key)
        if origin is None or origin.item != place.origin.item:
            raise fault(f"{where}: key is no data object key of the item {place.origin.item}")
        return f"{place.base}/{key}"
    store_key = text(members, "store_key", where)
    split = names.split_store_key(store_key)
    if split is None or names.data_object_key(split[1]) is None:
        raise fault(f"{where}: store_key is no data object key of a checkpoint")
    if split[0] == place.base:
        raise fault(f"{where}: store_key is in the item's base")
    if split[0] not in place.external:  # SCF-ROOT-019
        raise fault(f"{where}: external does not list {split[0]}")
    return store_key
