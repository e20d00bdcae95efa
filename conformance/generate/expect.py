"""What a right reader gives for a draft: the members of responses, as expectations of steps."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgpack

from ..oracle.encode import Draft, Item, Tensor, build
from .case import Json, ok

__all__ = [
    "Component",
    "Path",
    "file",
    "finding",
    "inspected",
    "leaves",
    "manifest_values",
    "metadata",
    "node",
    "number",
    "path",
    "read_values",
    "root_digest",
    "root_values",
    "tensors",
    "tree_of",
]

Component = str | int
Path = tuple[Component, ...]
_MAXJSON: Final = (1 << 53) - 1
_KINDS: Final = ("model", "optimizer", "scheduler", "rng", "dataloader", "other")
_SHORT: Final = 64


def number(value: int) -> int | str:
    """An integer of a message."""
    return value if -_MAXJSON <= value <= _MAXJSON else str(value)


def _component(value: Component) -> Any:
    return value if isinstance(value, str) else {"int": str(value)}


def path(components: Sequence[Component]) -> list[Any]:
    """A path of a message."""
    return [_component(each) for each in components]


def file(data: bytes) -> Json:
    """Matches the name of a file with this content."""
    about: Json = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) <= _SHORT:
        about["hex"] = data.hex()
    return {"$file": about}


def _bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def _map(pairs: list[Any], *, ordered: bool) -> Any:
    return pairs if ordered else {"$set": pairs}


def node(value: Any, *, ordered: bool = False) -> list[Any]:
    """A node of a tree, of the values that a draft's tree has; the order of maps is asked for only if ``ordered``."""
    match value:
        case None:
            return ["nil"]
        case bool():
            return ["bool", value]
        case int():
            return ["int", str(value)]
        case float():
            return ["float", _bits(value)]
        case str():
            return ["text", value]
        case bytes():
            return ["bytes", value.hex()]
        case list():
            return ["list", [node(child, ordered=ordered) for child in value]]
        case msgpack.ExtType():
            return _extension(value.code, value.data, ordered=ordered)
        case Mapping():
            pairs = [[_component(key), node(child, ordered=ordered)] for key, child in value.items()]
            return ["map", _map(pairs, ordered=ordered)]
    raise TypeError(type(value))


def _unpacked(payload: bytes) -> Any:
    return msgpack.unpackb(payload, strict_map_key=False)


def _extension(code: int, payload: bytes, *, ordered: bool) -> list[Any]:
    match code:
        case 1:
            return ["tensor", int.from_bytes(payload, "little")]
        case 2:
            return ["tuple", [node(child, ordered=ordered) for child in _unpacked(payload)]]
        case 3:
            return ["complex", payload[7::-1].hex(), payload[:7:-1].hex()]
        case 4:
            return ["int", str(int.from_bytes(payload, "little", signed=True))]
        case 5:
            seconds, nanoseconds, offset = struct.unpack("<qIi", payload)
            return ["timestamp", str(seconds), nanoseconds, None if offset == -(1 << 31) else offset]
        case 6:
            indexed = _unpacked(payload)
            values = [node(indexed["values"][index], ordered=ordered) for index in range(indexed["size"])]
            return ["indexed", indexed["axis"], indexed["size"], values]
        case 7:
            return ["set", [_component(each) for each in _unpacked(payload)]]
        case 8:
            flat = _unpacked(payload)
            inner = [[name, node(child, ordered=ordered)] for name, child in flat["inner"].items()]
            return ["flattened", _map(inner, ordered=ordered), node(flat["attributes"], ordered=ordered)]
        case 9:
            return ["dtype", payload.decode()]
    raise ValueError(code)


def metadata(value: Any) -> list[Any]:
    """A value of metadata as the root's JSON has it."""
    if isinstance(value, dict):
        if set(value) == {"$int"}:
            return ["int", value["$int"]]
        if set(value) == {"$float"}:
            special = {"nan": "7ff8000000000000", "inf": "7ff0000000000000", "-inf": "fff0000000000000"}
            return ["float", special[value["$float"]]]
        pairs = [[name[1:] if name.startswith("$$") else name, metadata(child)] for name, child in value.items()]
        return ["map", {"$set": pairs}]
    return ["list", [metadata(child) for child in value]] if isinstance(value, list) else node(value)


def root_digest(draft: Draft) -> str:
    """The digest that the draft's root states."""
    return build(draft)["checkpoint.json"][19:83].decode()


def root_values(draft: Draft) -> Json:
    """The member ``root`` of inspect, whole."""
    root = json.loads(build(draft)["checkpoint.json"])
    values = {name: root[name] for name in ("digest", "attempt", "spec", "created", "sequence", "parent")}
    values["writer"] = {name: root["writer"][name] for name in ("name", "version")}
    values["features"] = {name: root["features"][name] for name in ("read", "write")}
    values["metadata"] = metadata(root["metadata"])
    items = {name: _item(member) for name, member in root["items"].items()}
    values["items"] = items or {"$equal": {}}
    values["external"] = [{name: each[name] for name in ("checkpoint", "digest")} for each in root["external"]]
    return values


def _item(member: Json) -> Json:
    counts = {name: member["counts"][name] for name in ("tensors", "shards", "objects", "bytes")}
    assets = {name: {"size": each["size"], "sha256": each["sha256"]} for name, each in member["assets"].items()}
    kind = member["kind"] if member["kind"] in _KINDS else "other"
    return {"kind": kind, "counts": counts, "assets": {"$equal": assets}}


def tree_of(item: Item) -> Mapping[Any, Any]:
    """An item's tree, the one that is made where none is given too."""
    if item.tree is not None:
        return item.tree
    return {each.name: msgpack.ExtType(1, at.to_bytes(4, "little")) for at, each in enumerate(item.tensors)}


def tensors(item: Item) -> list[Json]:
    """The member ``tensors`` of an item."""
    return [{"dtype": each.dtype, "shape": [number(size) for size in each.shape]} for each in item.tensors]


def manifest_values(item: Item, tree: Any = None) -> Json:
    """A member of ``items`` of inspect; ``tree`` is the node where the draft's own tree is not what is stored."""
    return {"tree": node(tree_of(item)) if tree is None else tree, "tensors": tensors(item)}


def inspected(
    draft: Draft,
    items: Sequence[str] | None = None,
    *,
    trees: Mapping[str, Any] | None = None,
    carried: Mapping[str, Item] | None = None,
) -> Json:
    """All of a response to inspect; ``trees``: nodes other than the draft's, ``carried``: items by reference."""
    known = {**draft.items, **(carried or {})}
    names = [name for name in known if items is None or name in items]
    manifests = {name: manifest_values(known[name], (trees or {}).get(name)) for name in names}
    return {"root": root_values(draft), "items": manifests or {"$equal": {}}}


def leaves(value: Any, above: Path = ()) -> Iterator[tuple[Path, int]]:
    """Path and tensor number of every tensor leaf, in tree order."""
    match value:
        case list():
            for position, child in enumerate(value):
                yield from leaves(child, (*above, position))
        case msgpack.ExtType(code=1):
            yield above, int.from_bytes(value.data, "little")
        case msgpack.ExtType(code=2):
            yield from leaves(_unpacked(value.data), above)
        case msgpack.ExtType(code=6):
            yield from leaves(_unpacked(value.data)["values"], above)
        case msgpack.ExtType(code=8):
            flat = _unpacked(value.data)
            for name in ("inner", "attributes"):
                yield from leaves(flat[name], (*above, name))
        case Mapping():
            for key, child in value.items():
                yield from leaves(child, (*above, key))
        case _:
            return


def _leaf(item: Item, place: Path, at: int) -> Json:
    tensor: Tensor = item.tensors[at]
    shape = [number(size) for size in tensor.shape]
    return {"path": path(place), "dtype": tensor.dtype, "shape": shape, "file": file(tensor.data)}


def read_values(item: Item, paths: Sequence[Path] | None = None, assets: Sequence[str] = ()) -> Json:
    """All members of a response to read: the leaves at ``paths`` (None: all, in any order) and the assets."""
    found = dict(leaves(tree_of(item)))
    listed = [_leaf(item, place, found[place]) for place in (found if paths is None else paths)]
    contents = [{"name": name, "file": file(item.assets[name])} for name in assets]
    return {"tensors": {"$set": listed} if paths is None else listed, "assets": contents}


def finding(*codes: str, about: Sequence[str] = ()) -> Json:
    """Expects of verify: not sound, and a finding with each of the codes (about one of the names, if given)."""
    subject = {"subject": {"$about": list(about)}} if about else {}
    return ok(sound=False, findings={"$contains": [{"code": code, **subject} for code in codes]})
