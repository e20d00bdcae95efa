"""Data objects that are files of an export already: they are linked, not copied."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pyckpt.engine.header_check import compare_header
from pyckpt.engine.open import OpenItem
from pyckpt.engine.read import open_object
from pyckpt.errors import Corrupt, PyckptError
from pyckpt.format.digest import digest_function
from pyckpt.format.safetensors import parse_header
from pyckpt.interop.hf.plan import Weight
from pyckpt.storage.base import Store
from pyckpt.storage.local import LocalStore

__all__ = ["is_ready", "link_object", "ready_objects"]


def ready_objects(item: OpenItem, weights: Sequence[Weight], *, max_bytes: int) -> dict[int, list[Weight]]:
    """Objects of which the manifest says that they hold whole tensors of the export and nothing else; pure.

    Number of the object -> its tensors, by offset. Every tensor is whole, not encoded, of the wanted dtype, and called
    what the export calls it.
    """
    table = item.manifest.shards
    counts = np.bincount(table.object.astype(np.int64), minlength=len(item.manifest.objects))
    found: dict[int, list[tuple[int, Weight]]] = defaultdict(list)
    for weight in weights:
        own = table.slice_of(weight.tensor)
        if len(own) != 1 or weight.stored != weight.dtype:
            continue
        shard = own.start
        if table.codec_of(shard) == 0 and table.entry_name(shard) == weight.name:
            found[int(table.object[shard])].append((int(table.offset[shard]), weight))
    ready = {}
    for number, inside in found.items():
        small = len(inside) == 1 or sum(weight.nbytes for _, weight in inside) <= max_bytes
        if len(inside) == counts[number] and small:
            ready[number] = [weight for _, weight in sorted(inside, key=lambda each: each[0])]
    return ready


def is_ready(store: Store, item: OpenItem, number: int, weights: Sequence[Weight]) -> bool:
    """Whether the object's own header has exactly these tensors, and says what loaders ask for.

    Raises Corrupt ``object.*`` for a header that is damaged or contradicts the manifest.
    """
    row, key = item.manifest.objects[number], item.object_keys[number]
    header = bytearray(row.data_start)
    with open_object(store, key, row) as reader:
        reader.read_into(0, [memoryview(header)])
    if digest_function(row.digest)(header) != row.header_digest:
        raise Corrupt("object.header_digest", f"bytes 0 to {row.data_start} are not those that were saved", key=key)
    shards = [item.manifest.shards.slice_of(weight.tensor).start for weight in weights]
    try:
        compare_header(item.manifest, number, shards, bytes(header))
    except Corrupt as error:
        raise Corrupt(error.code, error.message, key=key) from error
    metadata, entries = parse_header(bytes(header), row.size)
    # An object of another checkpoint may hold more than this manifest tells of.
    return metadata.get("format") == "pt" and len(entries) == len(weights)


def link_object(store: Store, key: str, path: str) -> bool:
    """Makes ``path`` another name of the object; False where that can't be."""
    if not isinstance(store, LocalStore):
        return False
    source = os.path.join(store.root, *key.split("/"))
    with contextlib.suppress(OSError, NotImplementedError, PyckptError):
        # A name that is a symbolic link would be one file for the export and another for the checkpoint.
        if os.path.islink(source):
            return False
        os.link(source, path)
        return True
    return False
