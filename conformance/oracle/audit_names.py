"""The audit of names: a writer uses those of the specification, or private ones (SCF-COMPAT-006, SCF-ENC-002)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from . import mpack
from .json_profile import Json, JsonObject, parse
from .limits import DEFAULT
from .manifest import fetch
from .mpack import Packed
from .opening import OpenItem

_ROOT = [
    *("scf", "digest", "spec", "attempt", "created", "writer", "features", "sequence", "parent", "metadata"),
    *("items", "external"),
]
_ITEM = ["kind", "manifest", "raw_size", "counts", "assets"]
_DESCRIPTOR = ["key", "store_key", "size", "sha256"]
_MANIFEST = ["scf", "attempt", "item", "dtypes", "dtype_bits", "codecs", "tensors", "objects", "shards", "tree"]
_OBJECT = ["key", "store_key", "size", "data_start", "header_digest", "digest", "block"]
_CODEC = ["id", "item", "level"]
_COLUMNS = {
    "tensors": ["dtype", "ndim", "shape", "name_size", "name"],
    "shards": [
        *("tensor", "object", "box_offset", "box_size", "run_start", "run_stop", "offset", "stored_size", "codec"),
        *("block_digest", "block_stored_size", "decoded_digest", "entry_size", "entry"),
    ],
}


def root_names(data: bytes) -> Iterator[str]:
    """Names in a root that are neither of the specification nor private."""
    root = parse(data)
    yield from _unknown("the root", root, _ROOT)
    yield from _unknown("writer", _members(root["writer"]), ["name", "version"])
    yield from _unknown("features", _members(root["features"]), ["read", "write"])
    external = root["external"]
    for element in external if isinstance(external, list) else ():
        yield from _unknown("external", _members(element), ["checkpoint", "digest"])
    for name, value in _members(root["items"]).items():
        item = _members(value)
        yield from _unknown(f"item {name}", item, _ITEM)
        yield from _unknown(f"counts of {name}", _members(item["counts"]), ["tensors", "shards", "objects", "bytes"])
        for descriptor in (item["manifest"], *_members(item["assets"]).values()):
            yield from _unknown(f"a descriptor of {name}", _members(descriptor), _DESCRIPTOR)


def manifest_names(opened: OpenItem) -> Iterator[str]:
    """The same of a manifest: keys, columns, parameters of codecs."""
    manifest = mpack.parse(fetch(opened.store, opened.root, opened.item, DEFAULT), DEFAULT)
    yield from _unknown(f"manifest of {opened.item.name}", manifest, _MANIFEST)
    for row in _elements(manifest["objects"]):
        yield from _unknown("an object row", row, _OBJECT)
    for table, columns in _COLUMNS.items():
        for members in _elements([manifest[table]]):
            yield from _unknown(table, members, ["count", "columns"])
            for held in _elements([members["columns"]]):
                yield from _unknown(f"the columns of {table}", held, columns)
    chains = manifest["codecs"]
    for chain in chains if isinstance(chains, list) else ():
        for codec in _elements(chain):
            yield from _unknown("a codec", codec, _CODEC)


def _members(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _elements(value: Packed) -> list[mpack.PackedMap]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _unknown(place: str, members: Iterable[object], known: Collection[str]) -> Iterator[str]:
    for name in members:
        if name not in known and not str(name).startswith("x-"):
            yield f"SCF-COMPAT-006: {place} has the member {name}"
