"""Reading any region of a tensor (chapter 15), block by block, each verified before it is used.

Bytes are moved, never converted (SCF-READ-010), and from any offset (SCF-OBJ-006).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .codecs import Decoder, decode, decoder
from .digests import DIGESTS
from .errors import Rejected
from .manifest import Manifest
from .objects import DataObject
from .opening import OpenItem
from .regions import Region, cuts_no_byte, lies_in, shared
from .shards import Block, Shard
from .store import NoSuchKey, Store
from .tensors import TensorRow

Piece = tuple[int, int, int]
"""First byte in the result, first byte in the decoded shard, bytes."""


def read_region(opened: OpenItem, tensor: int, region: Region, *, verify: bool = True) -> bytes:
    """The bytes of a region (SCF-READ-001, SCF-READ-002); every failure is that of the whole call (SCF-READ-007).

    Verification is on unless the caller turns it off for this call (SCF-DIG-007).
    """
    manifest = opened.manifest
    row = manifest.tensors[tensor]
    _check_tensor(opened, row)
    _check_region(row, region)
    needed = [
        (shard, pieces) for shard in manifest.shards.of(tensor) if (pieces := _pieces(region, shard.region, row.bits))
    ]
    objects = {shard.object: manifest.objects[shard.object] for shard, _ in needed}
    for row_of_object in objects.values():
        if verify and row_of_object.digest not in DIGESTS:  # SCF-MAN-016
            message = f"the digest {row_of_object.digest} is not implemented"
            raise Rejected("digest.unsupported", message, subject=f"{row.name} {row_of_object.key}")
    for row_of_object in objects.values():
        check_object(opened.store, row_of_object)
    result = bytearray(region.elements * row.bits // 8)  # SCF-SEC-009
    for shard, pieces in needed:
        _copy(opened, shard, pieces, result, verify=verify)
    return bytes(result)


def _check_tensor(opened: OpenItem, row: TensorRow) -> None:
    """Refuse a tensor that can't be read as a whole, and no other one (SCF-COMPAT-005)."""
    if row.dtype.known is None:  # SCF-MAN-009
        raise Rejected("dtype.unsupported", f"the dtype {row.dtype.name} is not implemented", subject=row.name)
    if not opened.is_tiled(row.number):  # SCF-REG-005, SCF-READ-008
        raise Rejected("tiling.inexact", "the shards do not tile the tensor exactly", subject=row.name)
    for shard in opened.manifest.shards.of(row.number):
        decoder_of(opened.manifest, shard, row.name)


def _check_region(row: TensorRow, region: Region) -> None:
    """Refuse a region outside the tensor, or one that cuts a byte (SCF-READ-003)."""
    if not lies_in(region, row.shape):
        message = f"the region {region} does not lie in the shape {list(row.shape)}"
        raise Rejected("state.layout", message, subject=row.name, phase="plan")
    if row.bits % 8 and not cuts_no_byte(region, row.shape, row.bits):
        raise Rejected("state.layout", f"the region {region} cuts a byte", subject=row.name, phase="plan")


def decoder_of(manifest: Manifest, shard: Shard, subject: str) -> Decoder:
    """What decodes the blocks of a shard (SCF-CODEC-003)."""
    chain = manifest.chains[shard.codec]
    found = decoder(chain)
    if found is None:
        names = ", ".join(str(codec["id"]) for codec in chain)
        raise Rejected("codec.unsupported", f"the codec chain [{names}] is not implemented", subject=subject)
    return found


def check_object(store: Store, row: DataObject) -> None:
    """The object is there and has the size of the manifest (SCF-DIG-009, SCF-DIG-018, SCF-DIG-019)."""
    try:
        size = store.size(row.key)
    except NoSuchKey:
        raise missing_object(row) from None
    if size != row.size:
        raise Rejected("object.size", f"the object has {size} bytes, not {row.size}", subject=row.key)


def missing_object(row: DataObject) -> Rejected:
    """The refusal of an object that the store does not have."""
    code = "object.missing" if row.own else "external.missing"
    return Rejected(code, "the data object is not in the store", subject=row.key, phase="read")


def _pieces(wanted: Region, stored: Region, bits: int) -> list[Piece]:
    """What two regions share, in bytes; regions that cut no byte share no part of one (section 10.5)."""
    return [
        (to * bits // 8, begin * bits // 8, elements * bits // 8) for to, begin, elements in shared(wanted, stored)
    ]


def _copy(opened: OpenItem, shard: Shard, pieces: Sequence[Piece], result: bytearray, *, verify: bool) -> None:
    """Copy the pieces of a shard into the result; blocks without one are not read (SCF-READ-005, SCF-READ-006)."""
    manifest = opened.manifest
    row = manifest.objects[shard.object]
    name = "" if shard.tensor is None else manifest.tensors[shard.tensor].name
    by_block: dict[int, list[Piece]] = {}
    for piece in pieces:
        for number, part in _cut(piece, row.block):
            by_block.setdefault(number, []).append(part)
    decoding = decoder_of(manifest, shard, name)
    for block in manifest.shards.blocks(shard):
        if block.number in by_block:
            stored = fetch_block(opened.store, row, block, name, verify=verify)
            decoded = decode(decoding, stored, block.decoded_size, subject_of(row, block, name))
            for to, begin, size in by_block[block.number]:
                result[to : to + size] = decoded[begin : begin + size]


def _cut(piece: Piece, block: int) -> Iterator[tuple[int, Piece]]:
    """The parts of a piece by block number, each with its first byte within the block."""
    to, begin, size = piece
    while size:
        number, within = divmod(begin, block)
        length = min(size, block - within)
        yield number, (to, within, length)
        to, begin, size = to + length, begin + length, size - length


def fetch_block(store: Store, row: DataObject, block: Block, name: str, *, verify: bool = True) -> bytes:
    """The stored bytes of a block, whole, with its digest (SCF-MAN-025, SCF-CODEC-006, SCF-READ-004)."""
    try:
        stored = store.get_range(row.key, block.at, block.at + block.stored_size)
    except NoSuchKey:
        raise missing_object(row) from None
    if verify and DIGESTS[row.digest](stored) != block.digest:
        raise Rejected("block.digest", "the block does not have its digest", subject=subject_of(row, block, name))
    return stored


def subject_of(row: DataObject, block: Block, name: str) -> str:
    """Object, tensor and block, for a person who looks for the disk (SCF-DIG-006)."""
    return f"{row.key} {name} block {block.number}"
