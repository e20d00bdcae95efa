"""Compares the header of a data object with what the manifest says of it."""

from __future__ import annotations

from collections.abc import Sequence

from pyckpt.errors import Corrupt
from pyckpt.format.manifest import Manifest
from pyckpt.format.safetensors import Entry, entry_form, parse_header
from pyckpt.format.shard_table import UNASSIGNED

__all__ = ["compare_header"]


def compare_header(manifest: Manifest, number: int, shards: Sequence[int], header: bytes) -> None:
    """Refuses a header that isn't in the profile or disagrees with the manifest: Corrupt ``object.header``.

    Corrupt ``manifest.schema`` if two shards have one name.
    ``shards`` are the manifest's shards in the object, by offset. An own object's entries are exactly those shards; an
    object of another checkpoint may have more.
    """
    row = manifest.objects[number]
    _, entries = parse_header(header, row.size)
    if len(header) != row.data_start:
        raise Corrupt("object.header", f"the data begins at {len(header)}, the manifest says {row.data_start}")
    by_name = {entry.name: entry for entry in entries}
    names = [manifest.shards.entry_name(shard) for shard in shards]
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise Corrupt("manifest.schema", f"two shards of one object have the entry name {twice!r}")
    for shard, name in zip(shards, names, strict=True):
        entry = by_name.pop(name, None)
        if entry is None:
            raise Corrupt("object.header", f"no entry {name!r}, which the manifest says is there")
        _compare(manifest, shard, entry, row.data_start)
    if by_name and row.key is not None:
        raise Corrupt("object.header", f"an entry {next(iter(by_name))!r} that the manifest doesn't know")


def _compare(manifest: Manifest, shard: int, entry: Entry, data_start: int) -> None:
    table = manifest.shards
    begin = int(table.offset[shard]) - data_start
    end = begin + int(table.stored[shard])
    if (entry.begin, entry.end) != (begin, end):
        raise Corrupt(
            "object.header",
            f"entry {entry.name!r} lies at {entry.begin} to {entry.end}, the manifest says {begin} to {end}",
        )
    tensor = int(table.tensor[shard])
    if tensor == UNASSIGNED:
        return
    dtype, shape = entry_form(
        manifest.tensors.dtype_of(tensor),
        table.region(shard),
        encoded=table.codec_of(shard) != 0,
        stored_size=int(table.stored[shard]),
    )
    if (entry.dtype, entry.shape) != (dtype, shape):
        raise Corrupt(
            "object.header",
            f"entry {entry.name!r} is {entry.dtype} {list(entry.shape)}, the manifest says {dtype} {list(shape)}",
        )
