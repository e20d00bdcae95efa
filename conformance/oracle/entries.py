"""Names of tensors and entries (section 9.4), and the entry that belongs to a shard (section 9.3)."""

from __future__ import annotations

import hashlib
import re

from .header import METADATA, Entry
from .manifest import Manifest
from .shards import Shard
from .tree import Path

_ESCAPED = re.compile(r"[%/@\x00-\x1f\x7f]")
_LONGEST = 60_000


def tensor_name(path: Path) -> str:
    """The tensor name that a path derives."""
    name = "/".join(_component(component) for component in path)
    if name == METADATA:
        return "%5F_metadata__"
    data = name.encode()
    return f"%h{hashlib.sha256(data).hexdigest()}" if len(data) > _LONGEST else name


def _component(component: str | int) -> str:
    if isinstance(component, int):
        return f"#{component}"
    if not component:
        return "%"
    text = _ESCAPED.sub(lambda match: f"%{ord(match.group()):02X}", component)
    return f"%23{text[1:]}" if text.startswith("#") else text


def entry_name(manifest: Manifest, shard: Shard) -> str:
    """The name of a shard's entry: the explicit one, else the derived one."""
    if shard.entry is not None or shard.tensor is None:
        return shard.entry or ""
    row = manifest.tensors[shard.tensor]
    region = shard.region
    if not shard.codec and region.is_box and region.is_whole(row.shape):
        return row.name
    box = ",".join(f"{begin}:{begin + size}" for begin, size in zip(region.offset, region.size, strict=True))
    run = "" if region.is_box else f"({region.start}:{region.stop})"
    return f"{row.name}@[{box}]{run}{'+enc' if shard.codec else ''}"


def belongs(manifest: Manifest, shard: Shard, entry: Entry) -> bool:
    """Whether an entry of the shard's name has its place, and its dtype and shape where those are prescribed."""
    begin = shard.at - manifest.objects[shard.object].data_start
    if (entry.begin, entry.end) != (begin, begin + shard.stored_size):
        return False
    if shard.tensor is None:
        return True
    row = manifest.tensors[shard.tensor]
    if row.dtype.known is None:
        return True
    if shard.codec:
        return (entry.dtype, entry.shape) == ("U8", (shard.stored_size,))
    region = shard.region
    shape = region.size if region.is_box else (region.elements,)
    lanes = (row.dtype.known.lanes,) if row.dtype.known.lanes > 1 else ()
    return (entry.dtype, entry.shape) == (row.dtype.known.container, (*shape, *lanes))
