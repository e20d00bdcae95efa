"""Writes the worked example of chapter 19 from the text of the specification: data objects, manifest, frame, root."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from blake3 import blake3
from example_parts import Column, Part, joined, parts_of
from example_state import (
    ASSET,
    ASSET_NAME,
    ATTEMPT,
    CHECKPOINT,
    CREATED,
    ITEM,
    METADATA,
    SHARDS,
    TENSORS,
    TREE,
    Shard,
)

__all__ = ["BLOCK", "DTYPES", "DataObject", "Example", "Section", "numbers", "sha256", "write_example"]

ALIGNMENT, BLOCK = 4096, 4096
DTYPES = tuple(dict.fromkeys(tensor.dtype for tensor in TENSORS))
ZEROS = "0" * 64


def sha256(data: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def numbers(values: Sequence[float]) -> str:
    """Numbers with a space between."""
    return " ".join(str(value) for value in values)


@dataclass(frozen=True, slots=True)
class DataObject:
    """What one writer stores (chapter 9)."""

    writer: int
    shards: tuple[Shard, ...]
    """In the order of their data."""
    begins: tuple[int, ...] = field(init=False)
    """First byte of each shard, from byte 0 of the object."""
    header: bytes = field(init=False)
    """The JSON without its padding."""
    padding: int = field(init=False)
    content: bytes = field(init=False)
    """The whole object."""

    def __post_init__(self) -> None:
        record: dict[str, object] = {"__metadata__": {"format": "pt", "scf.attempt": ATTEMPT}}
        at, begins = 0, []
        for shard in self.shards:
            begins.append(at)
            end = at + len(shard.data())
            dtype = TENSORS[shard.tensor].dtype
            record[shard.entry()] = {"dtype": dtype, "shape": shard.header_shape(), "data_offsets": [at, end]}
            at = end
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
        total = -(-(8 + len(text)) // ALIGNMENT) * ALIGNMENT
        data = b"".join(shard.data() for shard in self.shards)
        object.__setattr__(self, "begins", tuple(total + begin for begin in begins))
        object.__setattr__(self, "header", text)
        object.__setattr__(self, "padding", total - 8 - len(text))
        object.__setattr__(self, "content", struct.pack("<Q", total - 8) + text + b" " * self.padding + data)

    @property
    def key(self) -> str:
        """Relative to the checkpoint (section 5.2)."""
        return f"{ITEM}/{ATTEMPT}-{self.writer:05d}.safetensors"

    @property
    def data_start(self) -> int:
        """Where the data begins."""
        return 8 + len(self.header) + self.padding

    @property
    def header_digest(self) -> bytes:
        """Of the bytes before the data."""
        return blake3(self.content[: self.data_start]).digest()

    def offset_of(self, shard: Shard) -> int:
        """The shard's column ``offset``."""
        return self.begins[self.shards.index(shard)]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the raw manifest under one key of its top level."""

    key: str
    start: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """Everything, ready to be stored and shown."""

    objects: tuple[DataObject, ...]
    sections: tuple[Section, ...]
    raw: bytes
    frame: tuple[Part, ...]
    """The zstd frame up to the content."""
    stored: bytes
    root_zeros: bytes
    """The root with zeros for its digest."""
    root: bytes

    @property
    def digest(self) -> str:
        """The root digest."""
        return sha256(self.root_zeros)

    @property
    def manifest_key(self) -> str:
        """Relative to the checkpoint (section 5.2)."""
        return f"{ITEM}/manifest-{ATTEMPT}.msgpack.zst"

    def files(self) -> dict[str, bytes]:
        """Key in the store -> bytes."""
        relative = {
            "checkpoint.json": self.root,
            self.manifest_key: self.stored,
            **{each.key: each.content for each in self.objects},
            f"{ITEM}/{ASSET_NAME}": ASSET,
        }
        return {f"{CHECKPOINT}/{key}": data for key, data in sorted(relative.items())}


def _rows(bits: int, values: Sequence[int], what: str) -> Column:
    """A column of one number per row of a table."""
    each, parts = 128 // bits, []
    for first in range(0, len(values), each):
        group = values[first : first + each]
        rows = f"{what} {first}" if len(group) == 1 else f"{what}s {first} to {first + len(group) - 1}"
        parts.append(Part(_numbers(bits, group), f"{rows}: {numbers(group)}"))
    return Column(f"{len(values)} u{bits}", tuple(parts))


def _ragged(values: Sequence[Sequence[int]], what: str) -> Column:
    """A column of u64 with some numbers, or none, per row of a table."""
    parts = [Part(_numbers(64, v), f"{what} {row}: {numbers(v)}") for row, v in enumerate(values) if v]
    return Column(f"{sum(map(len, values))} u64", tuple(parts))


def _numbers(bits: int, values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(bits // 8, "little") for value in values)


def _tensor_columns() -> dict[str, object]:
    names = [tensor.name.encode() for tensor in TENSORS]
    return {
        "dtype": _rows(16, [DTYPES.index(tensor.dtype) for tensor in TENSORS], "tensor"),
        "ndim": _rows(8, [len(tensor.shape) for tensor in TENSORS], "tensor"),
        "shape": _ragged([tensor.shape for tensor in TENSORS], "tensor"),
        "name_size": _rows(16, [len(name) for name in names], "tensor"),
        "name": Column("text", tuple(Part(name, f"tensor {n}: {name.decode()}") for n, name in enumerate(names))),
    }


def _shard_columns(objects: Sequence[DataObject]) -> dict[str, object]:
    digests = []
    for number, shard in enumerate(SHARDS):
        data = shard.data()
        for block, first in enumerate(range(0, len(data), BLOCK)):
            begin = objects[shard.writer].offset_of(shard) + first
            stored = data[first : first + BLOCK]
            where = f"object {shard.writer}, bytes [{begin}, {begin + len(stored)})"
            digests.append(Part(blake3(stored).digest(), f"shard {number}, block {block}: {where}"))
    return {
        "tensor": _rows(32, [shard.tensor for shard in SHARDS], "shard"),
        "object": _rows(32, [shard.writer for shard in SHARDS], "shard"),
        "box_offset": _ragged([shard.box.offset for shard in SHARDS], "shard"),
        "box_size": _ragged([shard.box.size for shard in SHARDS], "shard"),
        "run_start": _rows(64, [shard.start for shard in SHARDS], "shard"),
        "run_stop": _rows(64, [shard.stop for shard in SHARDS], "shard"),
        "offset": _rows(64, [objects[shard.writer].offset_of(shard) for shard in SHARDS], "shard"),
        "block_digest": Column(f"{len(digests)} digests", tuple(digests)),
    }


def _sections(objects: Sequence[DataObject]) -> tuple[Section, ...]:
    """Chapter 7: the raw manifest, by keys of its top level."""
    top: dict[str, object] = {
        "scf": 1,
        "attempt": ATTEMPT,
        "item": ITEM,
        "dtypes": list(DTYPES),
        "codecs": [[]],
        "tensors": {"count": len(TENSORS), "columns": _tensor_columns()},
        "objects": [
            {
                "key": each.key,
                "size": len(each.content),
                "data_start": each.data_start,
                "header_digest": each.header_digest,
                "digest": "blake3",
                "block": BLOCK,
            }
            for each in objects
        ],
        "shards": {"count": len(SHARDS), "columns": _shard_columns(objects)},
        "tree": TREE,
    }
    first, *rest = parts_of(dict.fromkeys(top, 0))
    sections, at = [], 0
    for number, (key, value) in enumerate(top.items()):
        named = rest[number].data[:-1]  # the key without the value that stands in for the real one
        parts = parts_of(value, lead=named, label=f'"{key}": ', depth=1)
        if number == 0:
            parts.insert(0, first)
        sections.append(Section(key, at, tuple(parts)))
        at += len(joined(parts))
    return tuple(sections)


def _frame(size: int) -> tuple[Part, ...]:
    """RFC 8878: a single-segment frame with one raw block; ``size`` bytes of content follow."""
    if not 256 <= size < 256 + (1 << 16):
        message = f"{size} bytes of content need another field"
        raise ValueError(message)
    block = size << 3 | 0 << 1 | 1
    return (
        Part(bytes.fromhex("28b52ffd"), "magic"),
        Part(b"\x60", "descriptor: content size in 2 bytes, single segment"),
        Part(struct.pack("<H", size - 256), f"content size: {size - 256} + 256 = {size}"),
        Part(block.to_bytes(3, "little"), f"block header {block}: last, raw, {size} bytes"),
    )


def _root(raw: bytes, stored: bytes, objects: Sequence[DataObject], manifest_key: str) -> bytes:
    """Chapter 6, with zeros for the digest: the first 85 bytes are fixed, then any whitespace may follow."""
    members = {
        "spec": "1.0-draft",
        "attempt": ATTEMPT,
        "created": CREATED,
        "writer": {"name": "worked example", "version": "1"},
        "features": {"read": [], "write": []},
        "sequence": 1,
        "parent": None,
        "metadata": METADATA,
        "items": {
            ITEM: {
                "kind": "model",
                "manifest": {"key": manifest_key, "size": len(stored), "sha256": sha256(stored)},
                "raw_size": len(raw),
                "counts": {
                    "tensors": len(TENSORS),
                    "shards": len(SHARDS),
                    "objects": len(objects),
                    "bytes": sum(prod(tensor.shape) * tensor.bits // 8 for tensor in TENSORS),
                },
                "assets": {
                    ASSET_NAME: {"key": f"{ITEM}/{ASSET_NAME}", "size": len(ASSET), "sha256": sha256(ASSET)},
                },
            }
        },
        "external": [],
    }
    text = json.dumps(members, indent=1, ensure_ascii=False, allow_nan=False)
    return (f'{{"scf":1,"digest":"{ZEROS}",' + text[1:] + "\n").encode()


def write_example() -> Example:
    """The whole example; the same bytes every time."""
    objects = []
    for writer in (0, 1):
        own = [shard for shard in SHARDS if shard.writer == writer]
        own.sort(key=lambda shard: -TENSORS[shard.tensor].item)
        objects.append(DataObject(writer, tuple(own)))
    sections = _sections(objects)
    raw = b"".join(joined(section.parts) for section in sections)
    frame = _frame(len(raw))
    stored = joined(frame) + raw
    zeros = _root(raw, stored, objects, f"{ITEM}/manifest-{ATTEMPT}.msgpack.zst")
    root = zeros[:19] + sha256(zeros).encode() + zeros[83:]
    return Example(tuple(objects), sections, raw, frame, stored, zeros, root)
