"""The audit of an item's own data objects: keys, headers, order of entries, codecs, digests, blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from . import names
from .digests import DIGESTS
from .dtypes import DTYPES
from .entries import entry_name
from .given import GivenItem
from .header import Header, read_header
from .objects import DataObject
from .opening import OpenItem
from .shards import Shard


def object_findings(
    opened: OpenItem,
    wanted: GivenItem,
    dtypes: Mapping[int, str],
    *,
    should: bool,
) -> Iterator[str]:
    """What is wrong; `dtypes` are those of the tensors by number."""
    manifest, root = opened.manifest, opened.root
    yield from _chains(opened, wanted, dtypes)
    if opened.item.manifest.key is not None and manifest.place.origin.attempt != root.attempt:
        yield f"SCF-LAYOUT-006: {manifest.place.key} has another attempt than the root"
    for row in manifest.objects:
        if row.own and opened.item.manifest.key is not None:
            yield from _object(opened, row, wanted, should=should)


def _chains(opened: OpenItem, wanted: GivenItem, dtypes: Mapping[int, str]) -> Iterator[str]:
    """The three chains of 1.0 (SCF-CODEC-001); a shard has the one that was asked for, or none."""
    chains = opened.manifest.chains
    for chain in chains[1:]:
        if len(chain) != 1 or chain[0]["id"] not in {"zstd", "planes"}:
            yield f"SCF-CODEC-001: the chain {[codec['id'] for codec in chain]}"
    for shard in opened.manifest.shards.rows:
        if not shard.codec or shard.tensor is None or not opened.manifest.objects[shard.object].own:
            continue
        codec = chains[shard.codec][0]
        name = opened.manifest.tensors[shard.tensor].name
        if codec["id"] != wanted.codec:
            yield f"{name} is stored with {codec['id']!r}, not {wanted.codec}"
        elif codec["id"] == "planes" and codec.get("item") != DTYPES[dtypes[shard.tensor]].item:
            yield f"section 11.4: the planes of {name} have {codec.get('item')!r} bytes per item"


def _object(opened: OpenItem, row: DataObject, wanted: GivenItem, *, should: bool) -> Iterator[str]:
    origin = names.data_object_key(row.key.partition("/")[2])
    if origin is None or origin.attempt != opened.root.attempt:
        yield f"SCF-LAYOUT-006: {row.key} has another attempt than the root"
    if row.digest not in DIGESTS:
        yield f"SCF-DIG-002: {row.key} has digests by {row.digest}"
    if wanted.digest not in {None, row.digest} or wanted.block not in {None, row.block}:
        yield f"{row.key} has digests by {row.digest} of blocks of {row.block}"
    header = read_header(opened.store.get_range(row.key, 0, row.data_start), row.size, row.key)
    if should and header.metadata != {"format": "pt", "scf.attempt": opened.root.attempt}:
        yield f"SCF-OBJ-004: {row.key} has the metadata {header.metadata}"
    if not _in_order(_ranks(opened, row, header)):
        yield f"SCF-OBJ-005: the entries of {row.key} are not in falling order of item size, encoded ones last"


def _ranks(opened: OpenItem, row: DataObject, header: Header) -> list[tuple[int, int]]:
    """The lowest and highest place in the order of each entry: item size, 0 of encoded ones.

    An entry of U8 without a tensor may be encoded or not.
    """
    shards = {
        entry_name(opened.manifest, shard): shard for shard in opened.manifest.shards.rows if shard.object == row.number
    }
    return [_rank(entry.dtype, shards[name]) for name, entry in header.entries.items()]


def _rank(dtype: str, shard: Shard) -> tuple[int, int]:
    if shard.codec:
        return 0, 0
    item = DTYPES[dtype].item if dtype in DTYPES else 1
    return (0 if shard.tensor is None and dtype == "U8" else item), item


def _in_order(ranks: Sequence[tuple[int, int]]) -> bool:
    """Whether some choice within the ranks falls."""
    last = max((highest for _, highest in ranks), default=0)
    for lowest, highest in ranks:
        if lowest > last:
            return False
        last = min(last, highest)
    return True
