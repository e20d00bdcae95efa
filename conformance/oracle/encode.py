"""Drafts of checkpoints, and the bytes that they become (chapters 5 to 12).

A draft says what is to be stored; ``build`` makes objects, manifests and root of it, the digests of each level over the
bytes of the level below. A *twist* changes one level on the way, so that all above it stays right: that is how a case
gets exactly one fault.
"""


from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

import msgpack
from blake3 import blake3

from .dtypes import DTYPES
from .encode_frame import plain_frame
from .encode_names import entry_name
from .encode_region import Region, region_bytes, whole

__all__ = [
    "ATTEMPT",
    "Draft",
    "Item",
    "Object",
    "Record",
    "Shard",
    "Tensor",
    "Twists",
    "build",
    "column",
    "digest",
    "manifest_key",
    "seal",
]

ATTEMPT: Final = "3f9c2a71d0b84e55"
ALIGNMENT: Final = 4096
UNASSIGNED: Final = 0xFFFFFFFF
Record = dict[str, Any]
Encoder = Callable[[bytes], bytes]


def digest(algorithm: str, data: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(data).digest() if algorithm == "sha256" else blake3(data).digest()


@dataclass(frozen=True)
class Tensor:
    """A tensor and all of its decoded bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    bits: int = 0
    """Bits of one element; 0: as the registry says."""

    @property
    def width(self) -> int:
        """Bits of one element."""
        return self.bits or DTYPES[self.dtype].bits


@dataclass(frozen=True)
class Shard:
    """A region of a tensor in an object, in the order in which it is stored there."""

    tensor: int | None
    """Tensor number; None: unassigned, with the bytes and entry of ``data`` and ``name``."""
    region: Region | None = None
    """None: the whole tensor."""
    object: int = 0
    codec: int = 0
    encode: Encoder | None = None
    """Of one decoded block; for codecs other than 0."""
    name: str = ""
    """An explicit entry name."""
    data: bytes = b""
    """Of an unassigned shard."""
    header: tuple[str, tuple[int, ...]] | None = None
    """Dtype and shape of the entry of an unassigned shard; None: U8 [bytes]."""
    offset: int | None = None
    """In an object named by store_key: where the bytes lie there."""


@dataclass(frozen=True)
class Object:
    """A row of the object table."""

    number: int = 0
    digest: str = "blake3"
    block: int = 4096
    store_key: str | None = None
    origin: Mapping[str, Any] | None = None
    """Of an object named by ``store_key``: size, data_start and header_digest of the original row."""
    header: Callable[[bytes], bytes] | None = None
    """Twist of the header's JSON text, before it is padded."""
    padded: Callable[[bytes], bytes] | None = None
    """Twist of all bytes before the data."""
    after: Callable[[bytes], bytes] | None = None
    """Twist of the whole object, after all digests were taken."""
    pads: int = 0
    """Extra spaces after the header: more than the alignment needs."""


@dataclass(frozen=True)
class Twists:
    """Changes of one level of an item's manifest; each takes what is there and gives what shall be."""

    record: Callable[[Record], object] | None = None
    """The manifest's map, changed in place."""
    raw: Callable[[bytes], bytes] | None = None
    """Its MessagePack bytes."""
    frame: Callable[[bytes], bytes] | None = None
    """The stored frame; gets the raw bytes."""
    stored: Callable[[bytes], bytes] | None = None
    """What lies in the store, other than what size and SHA-256 of the root say."""


@dataclass(frozen=True)
class Item:
    """An item to be written."""

    tensors: tuple[Tensor, ...] = ()
    shards: tuple[Shard, ...] | None = None
    """None: every tensor whole, in object 0."""
    tree: Mapping[Any, Any] | None = None
    """MessagePack values; None: one text key per tensor."""
    objects: tuple[Object, ...] = (Object(),)
    codecs: tuple[tuple[Mapping[str, Any], ...], ...] = ((),)
    kind: str = "model"
    assets: Mapping[str, bytes] = field(default_factory=dict)
    displaced: frozenset[str] = frozenset()
    """Assets that lie under the key with the attempt."""
    dtype_bits: bool = False
    attempt: str | None = None
    twists: Twists = Twists()


@dataclass(frozen=True)
class Draft:
    """A checkpoint to be written."""

    items: Mapping[str, Item] = field(default_factory=dict)
    attempt: str = ATTEMPT
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """As JSON: tags and escapes are the caller's."""
    sequence: int = 1
    parent: str | None = None
    external: Sequence[Mapping[str, str]] = ()
    features: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"read": [], "write": []})
    carried: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Items by reference: the whole member of ``items`` of the root."""
    members: Callable[[Record], object] | None = None
    """Twist of the root's members (those after ``digest``), changed in place."""
    text: Callable[[bytes], bytes] | None = None
    """Twist of the root's bytes from byte 85 on."""
    sealed: Callable[[bytes], bytes] | None = None
    """Twist of the root's bytes, after its digest was taken."""
    drop: tuple[str, ...] = ()
    """Keys, relative to the checkpoint, that are left out of the result."""

    def with_item(self, name: str, **changes: Any) -> Draft:
        """The same with an item changed; ``twists`` members may be given directly (record, raw, frame, stored)."""
        item = self.items[name]
        given = {key: changes.pop(key) for key in ("record", "raw", "frame", "stored") if key in changes}
        if given:
            changes["twists"] = replace(item.twists, **given)
        return replace(self, items={**self.items, name: replace(item, **changes)})

    def with_(self, **changes: Any) -> Draft:
        """The same with members of the draft changed."""
        return replace(self, **changes)


def manifest_key(item: str, attempt: str = ATTEMPT) -> str:
    """Relative to the checkpoint."""
    return f"{item}/manifest-{attempt}.msgpack.zst"


def column(kind: str, values: Sequence[int]) -> bytes:
    """A typed column: ``u8``, ``u16``, ``u32`` or ``u64``."""
    width = int(kind[1:]) // 8
    return b"".join(value.to_bytes(width, "little") for value in values)


@dataclass(frozen=True)
class _Stored:
    shard: Shard
    offset: int
    blocks: tuple[bytes, ...]
    decoded: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return sum(map(len, self.blocks))


def build(draft: Draft) -> dict[str, bytes]:
    """Everything that lies below the checkpoint: relative key -> bytes."""
    files: dict[str, bytes] = {}
    items: Record = {}
    for name, item in draft.items.items():
        items[name] = _build_item(files, draft, name, item)
    items.update({name: dict(member) for name, member in draft.carried.items()})
    members: Record = {
        "spec": "1.0-draft",
        "attempt": draft.attempt,
        "created": "2026-01-02T03:04:05Z",
        "writer": {"name": "conformance", "version": "1"},
        "features": {key: list(names) for key, names in draft.features.items()},
        "sequence": draft.sequence,
        "parent": draft.parent,
        "metadata": dict(draft.metadata),
        "items": items,
        "external": [dict(each) for each in draft.external],
    }
    if draft.members:
        draft.members(members)
    text = json.dumps(members, ensure_ascii=False, separators=(",", ":"))[1:].encode("utf-8", "surrogatepass")
    root = seal(draft.text(text) if draft.text else text)
    files["checkpoint.json"] = draft.sealed(root) if draft.sealed else root
    return {key: data for key, data in files.items() if key not in draft.drop}


def seal(text: bytes, first: bytes = b'{"scf":1,"digest":"') -> bytes:
    """A root of the given bytes after byte 84, with its digest."""
    data = first + b"0" * 64 + b'",' + text
    at = len(first)
    return data[:at] + hashlib.sha256(data).hexdigest().encode() + data[at + 64 :]


def _build_item(files: dict[str, bytes], draft: Draft, name: str, item: Item) -> Record:
    attempt = item.attempt or draft.attempt
    shards = item.shards
    if shards is None:
        by_size = sorted(range(len(item.tensors)), key=lambda n: -DTYPES[item.tensors[n].dtype].item)
        shards = tuple(Shard(number) for number in by_size)
    stored: list[_Stored] = []
    rows: list[Record] = []
    for number, row in enumerate(item.objects):
        mine = [shard for shard in shards if shard.object == number]
        if row.store_key is not None:
            stored += [_carried(item, row, shard) for shard in mine]
            rows.append({"store_key": row.store_key, **(row.origin or {}), "digest": row.digest, "block": row.block})
            continue
        key = f"{name}/{attempt}-{row.number:05d}.safetensors"
        data, placed, start = _object(item, row, mine, attempt)
        stored += placed
        rows.append(
            {
                "key": key,
                "size": len(data),
                "data_start": start,
                "header_digest": digest(row.digest, data[:start]),
                "digest": row.digest,
                "block": row.block,
            }
        )
        files[key] = row.after(data) if row.after else data
    record = _record(item, name, attempt, rows, stored)
    twists = item.twists
    if twists.record:
        twists.record(record)
    raw: bytes = msgpack.packb(record)
    raw = twists.raw(raw) if twists.raw else raw
    frame = twists.frame(raw) if twists.frame else plain_frame(raw)
    key = manifest_key(name, attempt)
    files[key] = twists.stored(frame) if twists.stored else frame
    assets: Record = {}
    for asset, content in item.assets.items():
        place = f"{name}/{attempt}.d/{asset}" if asset in item.displaced else f"{name}/{asset}"
        files[place] = content
        assets[asset] = _descriptor(place, content)
    return {
        "kind": item.kind,
        "manifest": _descriptor(key, frame),
        "raw_size": len(raw),
        "counts": {
            "tensors": len(item.tensors),
            "shards": len(stored),
            "objects": len(rows),
            "bytes": sum(prod(tensor.shape) * tensor.width // 8 for tensor in item.tensors),
        },
        "assets": assets,
    }


def _descriptor(key: str, data: bytes) -> Record:
    return {"key": key, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _decoded(item: Item, shard: Shard) -> bytes:
    if shard.tensor is None:
        return shard.data
    tensor = item.tensors[shard.tensor]
    if shard.data:
        return shard.data
    return region_bytes(tensor.data, tensor.width, tensor.shape, shard.region or whole(tensor.shape))


def _blocks(item: Item, row: Object, shard: Shard) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    data = _decoded(item, shard)
    decoded = tuple(data[at : at + row.block] for at in range(0, len(data), row.block))
    return (tuple(map(shard.encode, decoded)) if shard.encode else decoded), decoded


def _carried(item: Item, row: Object, shard: Shard) -> _Stored:
    assert shard.offset is not None
    return _Stored(shard, shard.offset, *_blocks(item, row, shard))


def _object(item: Item, row: Object, shards: Sequence[Shard], attempt: str) -> tuple[bytes, list[_Stored], int]:
    entries: Record = {"__metadata__": {"format": "pt", "scf.attempt": attempt}}
    at, body, placed = 0, b"", []
    for shard in shards:
        blocks, decoded = _blocks(item, row, shard)
        data = b"".join(blocks)
        dtype, shape = _entry(item, shard, len(data))
        name = shard.name or _derived(item, shard)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        placed.append(_Stored(shard, at, blocks, decoded))
        at += len(data)
        body += data
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text = row.header(text) if row.header else text
    start = -(-(8 + len(text)) // ALIGNMENT) * ALIGNMENT + row.pads
    head = struct.pack("<Q", start - 8) + text.ljust(start - 8)
    head = row.padded(head) if row.padded else head
    start = len(head)
    return head + body, [replace(each, offset=start + each.offset) for each in placed], start


def _entry(item: Item, shard: Shard, stored: int) -> tuple[str, tuple[int, ...]]:
    if shard.tensor is None:
        return shard.header or ("U8", (stored,))
    if shard.codec:
        return "U8", (stored,)
    tensor = item.tensors[shard.tensor]
    region = shard.region or whole(tensor.shape)
    shape = region.size if region.elements == region.volume else (region.elements,)
    kind = DTYPES.get(tensor.dtype)
    if kind is None:
        return "U8", (stored,)
    return kind.container, (*shape, kind.lanes) if kind.lanes > 1 else shape


def _derived(item: Item, shard: Shard) -> str:
    assert shard.tensor is not None
    tensor = item.tensors[shard.tensor]
    return entry_name(tensor.name, tensor.shape, shard.region or whole(tensor.shape), encoded=shard.codec != 0)


def _order(item: Item, each: _Stored) -> tuple[int, tuple[int, ...], int]:
    shard = each.shard
    if shard.tensor is None:
        return UNASSIGNED, (shard.object,), each.offset
    region = shard.region or whole(item.tensors[shard.tensor].shape)
    return shard.tensor, region.offset, region.start


def _record(item: Item, name: str, attempt: str, rows: list[Record], stored: list[_Stored]) -> Record:
    names = list(dict.fromkeys(tensor.dtype for tensor in item.tensors))
    record: Record = {"scf": 1, "attempt": attempt, "item": name, "dtypes": names}
    widths = {tensor.dtype: tensor.width for tensor in item.tensors}
    if item.dtype_bits or any(each not in DTYPES for each in names):
        record["dtype_bits"] = [widths[each] for each in names]
    record["codecs"] = [[dict(codec) for codec in chain] for chain in item.codecs]
    texts = [tensor.name.encode() for tensor in item.tensors]
    record["tensors"] = {
        "count": len(item.tensors),
        "columns": {
            "dtype": column("u16", [names.index(tensor.dtype) for tensor in item.tensors]),
            "ndim": column("u8", [len(tensor.shape) for tensor in item.tensors]),
            "shape": column("u64", [size for tensor in item.tensors for size in tensor.shape]),
            "name_size": column("u16", [len(text) for text in texts]),
            "name": b"".join(texts),
        },
    }
    record["objects"] = rows
    stored = sorted(stored, key=lambda each: _order(item, each))
    record["shards"] = {"count": len(stored), "columns": _shard_columns(item, stored)}
    tree = item.tree
    if tree is None:
        tree = {each.name: msgpack.ExtType(1, number.to_bytes(4, "little")) for number, each in enumerate(item.tensors)}
    record["tree"] = dict(tree)
    return record


def _shard_columns(item: Item, stored: list[_Stored]) -> Record:
    shards = [each.shard for each in stored]
    regions = [
        None if shard.tensor is None else shard.region or whole(item.tensors[shard.tensor].shape) for shard in shards
    ]
    columns: Record = {
        "tensor": column("u32", [UNASSIGNED if shard.tensor is None else shard.tensor for shard in shards]),
        "object": column("u32", [shard.object for shard in shards]),
    }
    used = [(shard, region) for shard, region in zip(shards, regions, strict=True) if region is not None]
    if any(shard.tensor is not None and region != whole(item.tensors[shard.tensor].shape) for shard, region in used):
        columns["box_offset"] = column("u64", [number for _, region in used for number in region.offset])
        columns["box_size"] = column("u64", [number for _, region in used for number in region.size])
    if any(region.elements != region.volume for _, region in used):
        columns["run_start"] = column("u64", [0 if region is None else region.start for region in regions])
        columns["run_stop"] = column("u64", [0 if region is None else region.stop for region in regions])
    columns["offset"] = column("u64", [each.offset for each in stored])
    encoded = [each for each in stored if each.shard.codec]
    if encoded or any(shard.tensor is None for shard in shards):
        columns["stored_size"] = column("u64", [each.size for each in stored])
    if encoded:
        columns["codec"] = column("u16", [shard.codec for shard in shards])
    rows = [item.objects[shard.object] for shard in shards]
    digests = [digest(row.digest, block) for each, row in zip(stored, rows, strict=True) for block in each.blocks]
    if digests:
        columns["block_digest"] = b"".join(digests)
    if encoded:
        columns["block_stored_size"] = column("u64", [len(block) for each in encoded for block in each.blocks])
        columns["decoded_digest"] = b"".join(
            digest(item.objects[each.shard.object].digest, block) for each in encoded for block in each.decoded
        )
    if any(shard.name for shard in shards):
        texts = [shard.name.encode() for shard in shards]
        columns["entry_size"] = column("u16", [len(text) for text in texts])
        columns["entry"] = b"".join(texts)
    return columns
