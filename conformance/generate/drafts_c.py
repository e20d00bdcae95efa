"""Checkpoints that cases of writing, listing, deleting and restoring start from."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from ..oracle.content import content
from ..oracle.dtypes import DTYPES
from ..oracle.encode import ATTEMPT, Draft, Item, Record, Tensor, build, manifest_key
from .case import Json, checkpoint
from .expect import root_digest
from .requests import Node

__all__ = [
    "OLD",
    "OTHER",
    "THIRD",
    "asset",
    "attempt_of",
    "carrier",
    "damaged",
    "descriptor",
    "item_member",
    "made",
    "packed",
    "simple",
    "tombstone",
]

OLD = 864_000
"""Ten days, in seconds: older than any grace period of a case."""
OTHER = "a1b2c3d4e5f60718"
THIRD = "00112233445566ff"


def made(name: str, shape: Sequence[int] = (4,), dtype: str = "F32", seed: int = 1) -> Tensor:
    """A tensor with content that looks random."""
    bits = DTYPES[dtype].bits
    return Tensor(name, dtype, tuple(shape), content({"kind": "mix", "seed": seed}, dtype, bits, tuple(shape)))


def simple(*, sequence: int = 1, seed: int = 1, attempt: str | None = None, **item: Any) -> Draft:
    """A checkpoint with one item ``model`` of one small tensor ``w``."""
    return Draft({"model": Item((made("w", seed=seed),), **item)}, attempt=attempt or ATTEMPT, sequence=sequence)


def tombstone(draft: Draft, name: str) -> dict[str, bytes]:
    """The tombstone of a draft that lay under this name."""
    return {f".tombstones/{name}.{root_digest(draft)[:16]}.json": build(draft)["checkpoint.json"]}


def damaged(draft: Draft) -> Draft:
    """The same with one changed byte in its root."""
    return draft.with_(sealed=lambda root: root.replace(b'"name":"conformance"', b'"name":"conformancf"'))


def attempt_of(draft: Draft, name: str) -> dict[str, bytes]:
    """What an attempt leaves that died directly before its commit: everything but the root, and its marker."""
    files = checkpoint(draft, name)
    del files[f"{name}/checkpoint.json"]
    marker = f'{{"attempt":"{draft.attempt}","created":"2026-01-02T03:04:05Z"}}'
    return {**files, f"{name}/.attempt-{draft.attempt}": marker.encode()}


def asset(data: bytes) -> Json:
    """How ``inspect`` shows an asset."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def descriptor(key: str, data: bytes) -> Json:
    """A descriptor by ``store_key``."""
    return {"store_key": key, **asset(data)}


def item_member(draft: Draft, name: str, item: str = "model") -> Record:
    """The member of ``items`` that carries over an item of a draft that lies under this name."""
    found: Record = {}

    def look(members: Record) -> None:
        found.update(members["items"][item])

    files = build(draft.with_(members=look))
    manifest = descriptor(f"{name}/{manifest_key(item, draft.attempt)}", files[found["manifest"]["key"]])
    assets = {each: descriptor(f"{name}/{old['key']}", files[old["key"]]) for each, old in found["assets"].items()}
    return {**found, "manifest": manifest, "assets": assets}


def carrier(
    origins: Mapping[str, Draft], *, attempt: str = OTHER, sequence: int = 2, item: str = "model", **members: Any
) -> Draft:
    """A checkpoint that carries over one item of each of these checkpoints, as ``model``, ``model-2`` and so on."""
    kept = {
        item if not number else f"{item}-{number + 1}": item_member(draft, name)
        for number, (name, draft) in enumerate(origins.items())
    }
    external = [{"checkpoint": name, "digest": root_digest(draft)} for name, draft in sorted(origins.items())]
    return Draft({}, attempt=attempt, sequence=sequence, carried=kept, external=external, **members)


_EXT: Mapping[str, tuple[int, Callable[[list[Any]], bytes]]] = {
    "tensor": (1, lambda rest: struct.pack("<I", rest[0])),
    "tuple": (2, lambda rest: _pack([packed(each) for each in rest[0]])),
    "complex": (3, lambda rest: b"".join(bytes.fromhex(part)[::-1] for part in rest)),
    "timestamp": (5, lambda rest: struct.pack("<qIi", int(rest[0]), rest[1], -(2**31) if rest[2] is None else rest[2])),
    "indexed": (6, lambda rest: _pack({"axis": rest[0], "size": rest[1], "values": _indices(rest[2])})),
    "set": (7, lambda rest: _pack([_key(each) for each in rest[0]])),
    "flattened": (8, lambda rest: _pack({"inner": _pairs(rest[0]), "attributes": packed(rest[1])})),
    "dtype": (9, lambda rest: bytes(rest[0], "ascii")),
}


def packed(node: Node) -> Any:
    """A node of a message as a value of MessagePack; tensors are numbers."""
    kind, *rest = node
    if kind in _EXT:
        code, payload = _EXT[kind]
        return msgpack.ExtType(code, payload(rest))
    if kind == "nil":
        return None
    if kind == "int":
        return _int(int(rest[0]))
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(rest[0]))[0]
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "list":
        return [packed(each) for each in rest[0]]
    return _pairs(rest[0]) if kind == "map" else rest[0]


def _pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def _int(value: int) -> Any:
    if -(2**63) <= value < 2**64:
        return value
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return msgpack.ExtType(4, value.to_bytes(size, "little", signed=True))


def _key(component: Any) -> str | int:
    return component if isinstance(component, str) else int(component["int"])


def _pairs(pairs: list[Any]) -> dict[str | int, Any]:
    return {_key(key): packed(node) for key, node in pairs}


def _indices(values: list[Node]) -> dict[int, Any]:
    return {index: packed(node) for index, node in enumerate(values)}
