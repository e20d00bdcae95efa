"""Plans an item that has objects of its own alone, out of one that uses others': what each new one is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pyckpt.engine.copy_cover import covers_of
from pyckpt.engine.copy_plan import DataObject, Stitch
from pyckpt.engine.header_check import compare_header
from pyckpt.engine.open import OpenItem
from pyckpt.errors import Corrupt
from pyckpt.format.digest import digest_function
from pyckpt.format.keys import join, object_key
from pyckpt.format.manifest import Manifest
from pyckpt.format.manifest_check import check_manifest
from pyckpt.format.safetensors import Entry, build_header, parse_header

__all__ = ["check_header", "plan_item_alone"]


def check_header(item: OpenItem, number: int, header: bytes) -> None:
    """Refuses a header of an object of the source that is not the one that was saved. Corrupt ``object.header*``.

    Raises Unsupported ``digest.unsupported``.
    """
    row = item.manifest.objects[number]
    if digest_function(row.digest)(header) != row.header_digest:
        message = f"bytes 0 to {row.data_start} are not those that were saved"
        raise Corrupt("object.header_digest", message, key=item.object_keys[number])
    try:
        compare_header(item.manifest, number, _shards_of(item.manifest, number), header)
    except Corrupt as error:
        raise Corrupt(error.code, error.message, key=item.object_keys[number]) from error


def plan_item_alone(
    item: OpenItem, headers: Sequence[bytes], *, attempt: str, source: str, target: str
) -> tuple[Manifest, list[DataObject]]:
    """The item's manifest with objects of its own alone, and how each of them comes about.

    ``headers`` are those of the item's objects, checked; ``source`` and ``target`` the names of the two checkpoints.
    """
    manifest = item.manifest
    offsets = manifest.shards.offset.copy()
    rows = []
    stitches = []
    for number, (row, header) in enumerate(zip(manifest.objects, headers, strict=True)):
        wanted = {manifest.shards.entry_name(shard): shard for shard in _shards_of(manifest, number)}
        metadata, entries = parse_header(header, row.size)
        used = [entry for entry in entries if entry.name in wanted]
        made, size = _header(used, {**metadata, "scf.attempt": attempt})
        pieces = _pieces(used, len(made), row.data_start)
        at = len(made)
        for entry in used:
            offsets[wanted[entry.name]] = at
            at += entry.end - entry.begin
        key = object_key(item.name, attempt, number)
        digest = digest_function(row.digest)(made)
        rows.append(replace(row, key=key, store_key=None, size=size, data_start=len(made), header_digest=digest))
        stitches.append(Stitch(made, row.size, pieces))
    shards = replace(manifest.shards, objects=tuple(rows), offset=offsets)
    alone = replace(manifest, item=item.name, attempt=attempt, objects=tuple(rows), shards=shards)
    check_manifest(alone)
    return alone, [
        DataObject(key, join(target, row.key or ""), cover, key.partition("/")[0] != source, stitch)
        for key, row, cover, stitch in zip(item.object_keys, rows, covers_of(alone), stitches, strict=True)
    ]


def _shards_of(manifest: Manifest, number: int) -> list[int]:
    """Shards in one object, by offset."""
    shards = np.flatnonzero(manifest.shards.object == number)
    ordered: list[int] = shards[np.argsort(manifest.shards.offset[shards], kind="stable")].tolist()
    return ordered


def _header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> tuple[bytes, int]:
    """Header of an object that has these entries one after the other, and the object's size."""
    moved = []
    at = 0
    for entry in entries:
        moved.append(replace(entry, begin=at, end=at + entry.end - entry.begin))
        at = moved[-1].end
    header = build_header(moved, metadata)
    return header, len(header) + at


def _pieces(entries: Sequence[Entry], start: int, data_start: int) -> tuple[tuple[int, int, int], ...]:
    """(start in the new object, start in the old one, bytes) of what lies together in both."""
    pieces: list[tuple[int, int, int]] = []
    for entry in entries:
        old, size = data_start + entry.begin, entry.end - entry.begin
        if pieces and pieces[-1][1] + pieces[-1][2] == old:
            pieces[-1] = (pieces[-1][0], pieces[-1][1], pieces[-1][2] + size)
        elif size:
            pieces.append((start, old, size))
        start += size
    return tuple(pieces)
