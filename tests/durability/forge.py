"""Makes hostile checkpoints: takes a good one apart, changes it, and puts it together with digests that are right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgpack
import zstandard

from pyckpt.format.digest import digest
from pyckpt.format.safetensors import Entry, build_header, parse_header
from pyckpt.storage.base import Store

LIMIT = 1 << 28
Members = dict[str, Any]


def read_root(store: Store, name: str) -> Members:
    """The root's members as plain JSON."""
    return json.loads(store.get(f"{name}/checkpoint.json", limit=LIMIT))


def sealed(members: Members | bytes) -> bytes:
    """A root with the right digest; ``bytes`` are all that follows the digest member."""
    if isinstance(members, bytes):
        rest = members
    else:
        kept = {key: value for key, value in members.items() if key not in ("scf", "digest")}
        rest = json.dumps(kept, ensure_ascii=False)[1:].encode("utf-8", "surrogatepass")
    data = b'{"scf":1,"digest":"' + b"0" * 64 + b'",' + rest
    return data[:19] + hashlib.sha256(data).hexdigest().encode() + data[83:]


def write_root(store: Store, name: str, members: Members | bytes) -> None:
    """Puts a root in the place of the one that is there."""
    store.put(f"{name}/checkpoint.json", sealed(members))


def change_root(store: Store, name: str, change: Callable[[Members], object]) -> None:
    """Changes members of the root."""
    members = read_root(store, name)
    change(members)
    write_root(store, name, members)


def read_manifest(store: Store, name: str, item: str) -> Members:
    """The manifest's record; extensions as ``msgpack.ExtType``."""
    key = f"{name}/{read_root(store, name)['items'][item]['manifest']['key']}"
    raw = zstandard.ZstdDecompressor().decompress(store.get(key, limit=LIMIT))
    return msgpack.unpackb(raw, strict_map_key=False)


def write_manifest(
    store: Store, name: str, item: str, stored: bytes | Members, *, raw_size: int | None = None
) -> None:
    """Puts a manifest, as stored or as a record, in the place of the one that is there, and makes the root fit."""
    if isinstance(stored, dict):
        stored = msgpack.packb(stored)
        raw_size = len(stored) if raw_size is None else raw_size
        stored = zstandard.ZstdCompressor(write_content_size=True).compress(stored)
    members = read_root(store, name)
    entry = members["items"][item]
    entry["manifest"] |= {"size": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}
    if raw_size is not None:
        entry["raw_size"] = raw_size
    store.put(f"{name}/{entry['manifest']['key']}", stored)
    write_root(store, name, members)


def change_manifest(store: Store, name: str, item: str, change: Callable[[Members], object]) -> None:
    """Changes a manifest's record."""
    record = read_manifest(store, name, item)
    change(record)
    write_manifest(store, name, item, record)


def write_header(store: Store, name: str, item: str, change: Callable[[bytes], bytes]) -> None:
    """Changes the header of an item's only object; the manifest has the digest of what results."""
    record = read_manifest(store, name, item)
    row = record["objects"][0]
    data = store.get(f"{name}/{row['key']}", limit=LIMIT)
    header = change(data[: row["data_start"]])
    data = header + data[row["data_start"] :]
    row |= {"size": len(data), "header_digest": digest(row["digest"], header)}
    store.put(f"{name}/{row['key']}", data)
    write_manifest(store, name, item, record)


def write_blocks(store: Store, name: str, item: str, blocks: list[bytes]) -> None:
    """Replaces the stored blocks of an item's only encoded shard."""
    record = read_manifest(store, name, item)
    row, columns = record["objects"][0], record["shards"]["columns"]
    data = store.get(f"{name}/{row['key']}", limit=LIMIT)
    metadata, entries = parse_header(data[: row["data_start"]], len(data))
    total = sum(map(len, blocks))
    header = build_header([Entry(entries[0].name, "U8", (total,), 0, total)], metadata)
    data = header + b"".join(blocks)
    row |= {"size": len(data), "header_digest": digest(row["digest"], header), "data_start": len(header)}
    columns["stored_size"] = total.to_bytes(8, "little")
    columns["block_stored_size"] = b"".join(len(block).to_bytes(8, "little") for block in blocks)
    columns["block_digest"] = b"".join(digest(row["digest"], block) for block in blocks)
    columns.pop("decoded_digest", None)
    store.put(f"{name}/{row['key']}", data)
    write_manifest(store, name, item, record)


def frame(data: bytes, *, states: int | None = None) -> bytes:
    """A zstd frame of the data; ``states`` is the content size that its header is changed to say, in 8 bytes."""
    good = zstandard.ZstdCompressor(level=3, write_content_size=True, write_checksum=False).compress(data)
    if states is None:
        return good
    parameters = zstandard.get_frame_parameters(good)
    descriptor = good[4]
    size = zstandard.frame_header_size(good)
    single = bool(descriptor & 0x20)
    window = b"" if single else good[5:6]
    del parameters
    return good[:4] + bytes([(descriptor & 0x3F) | 0xC0]) + window + states.to_bytes(8, "little") + good[size:]
