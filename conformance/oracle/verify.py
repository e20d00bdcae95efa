"""Verification of a whole checkpoint (section 12.5): every finding, each with its code and what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .assets import check_asset, read_asset
from .codecs import decode, decoder
from .digests import DIGESTS
from .entries import belongs, entry_name
from .errors import Rejected
from .header import read_header
from .limits import DEFAULT, Limits
from .objects import DataObject
from .opening import OpenItem, check_checkpoint_name, open_item, open_root
from .reading import check_object, decoder_of, fetch_block, missing_object, subject_of
from .root import Item, Root
from .shards import Block, Shard
from .store import NoSuchKey, Store


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that could not be checked."""

    code: str
    subject: str
    message: str


def verify(store: Store, checkpoint: str, *, deep: bool, limits: Limits = DEFAULT) -> list[Finding]:
    """All findings; the checkpoint is sound if there are none (SCF-DIG-013, SCF-DIG-014)."""
    check_checkpoint_name(checkpoint)
    try:
        root = open_root(store, checkpoint)
    except Rejected as refusal:
        return [_finding(refusal)]
    found: dict[Finding, None] = {}
    for item in root.items.values():
        found.update(dict.fromkeys(_finding(each) for each in _item(store, root, item, limits, deep=deep)))
    return list(found)


def _finding(refusal: Rejected) -> Finding:
    return Finding(refusal.code, refusal.subject, refusal.message)


def _item(store: Store, root: Root, item: Item, limits: Limits, *, deep: bool) -> Iterator[Rejected]:
    """A damaged manifest ends the verification of its tensors and objects, not of the assets."""
    try:
        opened = open_item(store, root, item.name, limits)
    except Rejected as refusal:
        yield refusal
    else:
        yield from _counts(opened)
        yield from _tensors(opened)
        yield from _coverage(opened)
        yield from _entry_names(opened)
        shards: list[list[Shard]] = [[] for _ in opened.manifest.objects]
        for shard in opened.manifest.shards.rows:
            shards[shard.object].append(shard)
        for row in opened.manifest.objects:
            yield from _object(opened, row, shards[row.number], deep=deep)
    for name, descriptor in item.assets.items():
        try:
            if deep:
                read_asset(store, root, item, name)
            else:
                check_asset(store, root, descriptor)
        except Rejected as refusal:
            yield refusal


def _schema(opened: OpenItem, message: str, subject: str = "") -> Rejected:
    about = f"{opened.manifest.place.key} {subject}".rstrip()
    return Rejected("manifest.schema", message, subject=about)


def _counts(opened: OpenItem) -> Iterator[Rejected]:
    """The counts of the root are those of the manifest (SCF-ROOT-014)."""
    manifest = opened.manifest
    stated = opened.item.counts
    for name, said, held in (
        ("tensors", stated.tensors, len(manifest.tensors)),
        ("shards", stated.shards, len(manifest.shards.rows)),
        ("objects", stated.objects, len(manifest.objects)),
        ("bytes", stated.bytes, sum(row.bytes for row in manifest.tensors)),
    ):
        if said != held:
            yield _schema(opened, f"the root counts {said} {name}, and the manifest has {held}")


def _tensors(opened: OpenItem) -> Iterator[Rejected]:
    """Each tensor has a known dtype and is tiled exactly."""
    for row in opened.manifest.tensors:
        if row.dtype.known is None:
            yield Rejected("dtype.unsupported", f"the dtype {row.dtype.name} is not implemented", subject=row.name)
        try:
            if not opened.is_tiled(row.number):
                yield Rejected("tiling.inexact", "the shards do not tile the tensor exactly", subject=row.name)
        except Rejected as refusal:
            yield Rejected(refusal.code, refusal.message, subject=row.name, phase=refusal.phase)


def _coverage(opened: OpenItem) -> Iterator[Rejected]:
    """The shards of each own object cover its data without a hole (SCF-MAN-023); overlaps were refused before."""
    covered = [0 for _ in opened.manifest.objects]
    for shard in opened.manifest.shards.rows:
        covered[shard.object] += shard.stored_size
    for row in opened.manifest.objects:
        hole = row.size - row.data_start - covered[row.number]
        if row.own and hole:
            yield _schema(opened, f"{hole} bytes of the data are in no shard", row.key)


def _entry_names(opened: OpenItem) -> Iterator[Rejected]:
    """No two shards of one object have the same entry name (SCF-OBJ-012)."""
    seen = set()
    for shard in opened.manifest.shards.rows:
        name = entry_name(opened.manifest, shard)
        if (shard.object, name) in seen:
            key = opened.manifest.objects[shard.object].key
            yield _schema(opened, f"two shards have the entry name {name}", key)
        seen.add((shard.object, name))


def _object(opened: OpenItem, row: DataObject, shards: list[Shard], *, deep: bool) -> Iterator[Rejected]:
    """Presence and size; in depth the codecs, the header and every block."""
    if deep:
        yield from _codecs(opened, shards)
    try:
        check_object(opened.store, row)
    except Rejected as refusal:
        yield refusal
        return
    if not deep:
        return
    if row.digest not in DIGESTS:
        yield Rejected("digest.unsupported", f"the digest {row.digest} is not implemented", subject=row.key)
        return
    try:
        yield from _header(opened, row, shards)
    except Rejected as refusal:
        yield refusal
    for shard in shards:
        yield from _blocks(opened, row, shard)


def _codecs(opened: OpenItem, shards: list[Shard]) -> Iterator[Rejected]:
    """Each shard has a codec chain that is implemented."""
    for shard in shards:
        try:
            decoder_of(opened.manifest, shard, _name(opened, shard))
        except Rejected as refusal:
            yield refusal


def _name(opened: OpenItem, shard: Shard) -> str:
    """The tensor's name; of an unassigned shard its entry name."""
    return entry_name(opened.manifest, shard) if shard.tensor is None else opened.manifest.tensors[shard.tensor].name


def _header(opened: OpenItem, row: DataObject, shards: list[Shard]) -> Iterator[Rejected]:
    """The header's digest, its profile, and one entry for each shard (SCF-DIG-010, SCF-OBJ-007, SCF-OBJ-008)."""
    try:
        data = opened.store.get_range(row.key, 0, row.data_start)
    except NoSuchKey:
        raise missing_object(row) from None
    if DIGESTS[row.digest](data) != row.header_digest:
        raise Rejected("object.header_digest", "the header does not have its digest", subject=row.key)
    entries = read_header(data, row.size, row.key).entries
    wanted = set()
    for shard in shards:
        name = entry_name(opened.manifest, shard)
        wanted.add(name)
        if name not in entries or not belongs(opened.manifest, shard, entries[name]):
            message = f"the header has no entry {name} of the place, dtype and shape of shard {shard.number}"
            yield Rejected("object.header", message, subject=f"{row.key} {name}")
    if row.own and entries.keys() - wanted:
        message = f"the header has the entry {min(entries.keys() - wanted)}, which is no shard"
        yield Rejected("object.header", message, subject=row.key)


def _blocks(opened: OpenItem, row: DataObject, shard: Shard) -> Iterator[Rejected]:
    """Every block of a shard, unassigned ones included; what has no known codec is checked by its digest alone."""
    manifest = opened.manifest
    name = _name(opened, shard)
    decoding = decoder(manifest.chains[shard.codec]) if shard.codec else None
    for block in manifest.shards.blocks(shard):
        try:
            stored = fetch_block(opened.store, row, block, name)
            if decoding is not None:
                decoded = decode(decoding, stored, block.decoded_size, subject_of(row, block, name))
                _check_decoded(row, block, decoded, name)
        except Rejected as refusal:
            yield refusal


def _check_decoded(row: DataObject, block: Block, decoded: bytes, name: str) -> None:
    """The decoded bytes have their own digest, where there is one (SCF-DIG-020)."""
    if block.decoded_digest is not None and DIGESTS[row.digest](decoded) != block.decoded_digest:
        message = "the decoded bytes do not have their digest"
        raise Rejected("block.digest", message, subject=subject_of(row, block, name))
