"""The shard table of a manifest (sections 7.7 and 7.8)."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from .codecs import Chain
from .errors import Rejected
from .limits import MAX_SHARDS
from .mpack import PackedMap
from .objects import DataObject
from .regions import Region, cuts_no_byte, lies_in
from .tables import Table, fault
from .tensors import TensorRow

UNASSIGNED = 0xFFFFFFFF
DIGEST = 32


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard; of an unassigned one `tensor` is None and the region empty."""

    number: int
    tensor: int | None
    object: int
    region: Region
    at: int
    stored_size: int
    decoded_size: int
    codec: int
    entry: str | None
    first_block: int
    blocks: int
    first_encoded: int


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a shard: where its stored bytes are, its decoded size, and its digests."""

    number: int
    at: int
    stored_size: int
    decoded_size: int
    digest: bytes
    decoded_digest: bytes | None


@dataclass(frozen=True)
class Shards:
    """All shards of a manifest, in order, and the columns with a row per block."""

    rows: Sequence[Shard]
    starts: Sequence[int]
    block_sizes: Sequence[int]
    digests: bytes
    stored_sizes: Sequence[int]
    decoded_digests: bytes | None

    def of(self, tensor: int) -> Sequence[Shard]:
        """The shards of a tensor; unassigned ones are none of any tensor (SCF-READ-009)."""
        return self.rows[bisect_left(self.starts, tensor) : bisect_left(self.starts, tensor + 1)]

    def blocks(self, shard: Shard) -> Iterator[Block]:
        """The blocks of a shard, in order (section 15.2)."""
        size = self.block_sizes[shard.object]
        at = shard.at
        decoded = None
        for number in range(shard.blocks):
            length = min(size, shard.decoded_size - number * size)
            stored = length
            if shard.codec:
                place = shard.first_encoded + number
                stored = self.stored_sizes[place]
                if self.decoded_digests is not None:
                    decoded = self.decoded_digests[DIGEST * place : DIGEST * (place + 1)]
            place = shard.first_block + number
            yield Block(number, at, stored, length, self.digests[DIGEST * place : DIGEST * (place + 1)], decoded)
            at += stored


def read_shards(
    manifest: PackedMap,
    tensors: Sequence[TensorRow],
    objects: Sequence[DataObject],
    chains: Sequence[Chain],
) -> Shards:
    """The shard table, checked against the other tables; coverage and tiling are checked elsewhere."""
    return _Reading(Table.read(manifest, "shards", MAX_SHARDS), tensors, objects, chains).shards()


class _Reading:
    """The columns with a row per shard, and the way from them to shards."""

    def __init__(
        self,
        table: Table,
        tensors: Sequence[TensorRow],
        objects: Sequence[DataObject],
        chains: Sequence[Chain],
    ) -> None:
        count = table.count
        self.table = table
        self.tensors = tensors
        self.objects = objects
        self.tensor = table.numbers("tensor", "I", count)
        self.object = table.numbers("object", "I", count)
        self.offset = table.numbers("offset", "Q", count)
        self.codec = table.numbers("codec", "H", count) if table.has("codec") else array("H", bytes(2 * count))
        self.encoded = any(self.codec)
        self.check_numbers(len(chains))
        self.stored = self.column("stored_size", needed=self.encoded or UNASSIGNED in self.tensor)
        self.runs = table.has("run_start", "run_stop")
        self.start = table.numbers("run_start", "Q", count) if self.runs else None
        self.stop = table.numbers("run_stop", "Q", count) if self.runs else None
        self.entries = self.entry_names()

    def check_numbers(self, chains: int) -> None:
        """Tensor, object and codec numbers are in range (SCF-MAN-017)."""
        most = max((number for number in self.tensor if number != UNASSIGNED), default=-1)
        if most >= len(self.tensors):
            raise fault(f"shards: tensor number {most} is out of range")
        if max(self.object, default=-1) >= len(self.objects):
            raise fault("shards: an object number is out of range")
        if max(self.codec, default=-1) >= chains:
            raise fault("shards: a codec number is out of range")

    def column(self, name: str, *, needed: bool) -> array[Any] | None:
        """An u64 column with a row per shard, None if it is absent and may be."""
        return self.table.numbers(name, "Q", self.table.count) if needed or self.table.has(name) else None

    def entry_names(self) -> list[str | None]:
        """The explicit entry name of each shard, None where it is derived."""
        if not self.table.has("entry_size", "entry"):
            return [None] * self.table.count
        sizes = self.table.numbers("entry_size", "H", self.table.count)
        texts = self.table.texts("entry", sizes)
        if "__metadata__" in texts:
            raise fault("shards: an entry name is __metadata__")
        return [name or None for name in texts]

    def regions(self) -> Iterator[Region]:
        """The region of each shard; a box or run that leaves its place is refused (SCF-REG-002)."""
        dims = sum(len(self.tensors[tensor].shape) for tensor in self.tensor if tensor != UNASSIGNED)
        boxes = self.table.has("box_offset", "box_size")
        offsets = self.table.numbers("box_offset", "Q", dims) if boxes else None
        sizes = self.table.numbers("box_size", "Q", dims) if boxes else None
        at = 0
        for number, tensor in enumerate(self.tensor):
            run = (self.start[number], self.stop[number]) if self.start is not None and self.stop is not None else None
            if tensor == UNASSIGNED:
                if run not in {None, (0, 0)}:  # SCF-MAN-021
                    raise fault(f"shard {number}: it is unassigned and has a run")
                yield Region((), (), 0, 0)
                continue
            row = self.tensors[tensor]
            offset, size = (0,) * len(row.shape), row.shape
            if offsets is not None and sizes is not None:
                end = at + len(row.shape)
                offset, size = tuple(offsets[at:end]), tuple(sizes[at:end])
                at = end
            region = Region(offset, size, *(run or (0, prod(size))))
            self.check_region(number, row, region)
            yield region

    def check_region(self, number: int, row: TensorRow, region: Region) -> None:
        """The region lies in its tensor, is not empty, and cuts no byte (SCF-MAN-022, SCF-REG-006)."""
        if not lies_in(region, row.shape):
            raise fault(f"shard {number}: the box leaves tensor {row.name}, or the run leaves the box")
        if not region.elements and not (0 in row.shape and region.is_whole(row.shape)):
            raise fault(f"shard {number}: it has no elements")
        if row.bits % 8 and not cuts_no_byte(region, row.shape, row.bits):
            raise fault(f"shard {number}: it cuts a byte")

    def shards(self) -> Shards:
        """All shards, in three passes: regions and blocks, the columns of blocks, then sizes and places."""
        regions = list(self.regions())
        decoded = [self.decoded_size(number, region) for number, region in enumerate(regions)]
        counts = [-(-size // self.objects[place].block) for size, place in zip(decoded, self.object, strict=True)]
        every = sum(counts)
        encoded = sum(count for count, codec in zip(counts, self.codec, strict=True) if codec)
        digests = self.block_digests(every)
        stored_sizes = self.block_stored_sizes(encoded)
        decoded_digests = self.decoded_digests(encoded)
        rows = []
        first = first_encoded = 0
        for number, region in enumerate(regions):
            codec = self.codec[number]
            tensor = self.tensor[number]
            stored = decoded[number]
            if codec:
                mine = stored_sizes[first_encoded : first_encoded + counts[number]]
                self.check_bounds(number, decoded[number], mine)
                stored = sum(mine)
            shard = Shard(
                number=number,
                tensor=None if tensor == UNASSIGNED else tensor,
                object=self.object[number],
                region=region,
                at=self.offset[number],
                stored_size=stored,
                decoded_size=decoded[number],
                codec=codec,
                entry=self.entries[number],
                first_block=first,
                blocks=counts[number],
                first_encoded=first_encoded,
            )
            self.check_place(shard)
            rows.append(shard)
            first += counts[number]
            first_encoded += counts[number] if codec else 0
        _check_order(rows)
        _check_apart(rows)
        sizes = [row.block for row in self.objects]
        return Shards(rows, self.tensor, sizes, digests, stored_sizes, decoded_digests)

    def decoded_size(self, number: int, region: Region) -> int:
        """Decoded bytes of a shard; of an unassigned one its stored bytes."""
        tensor = self.tensor[number]
        if tensor != UNASSIGNED:
            return region.elements * self.tensors[int(tensor)].bits // 8
        return 0 if self.stored is None else int(self.stored[number])

    def block_digests(self, blocks: int) -> bytes:
        """The column `block_digest`; a digest that was left out is no digest that matched (SCF-DIG-008)."""
        if blocks and not self.table.columns.get("block_digest"):
            raise Rejected("digest.missing", f"shards: block_digest is absent, and there are {blocks} blocks")
        return self.table.bytes("block_digest", DIGEST * blocks) if self.table.has("block_digest") else b""

    def block_stored_sizes(self, blocks: int) -> array[Any]:
        """The column `block_stored_size`, which is there exactly if a codec is not 0 (SCF-MAN-019)."""
        if self.encoded:
            return self.table.numbers("block_stored_size", "Q", blocks)
        if self.table.has("block_stored_size"):
            raise fault("shards: block_stored_size is there, and no codec is")
        return array("Q")

    def decoded_digests(self, blocks: int) -> bytes | None:
        """The column `decoded_digest`, which may be there only if a codec is not 0 (SCF-MAN-019)."""
        if not self.table.has("decoded_digest"):
            return None
        if not self.encoded:
            raise fault("shards: decoded_digest is there, and no codec is")
        return self.table.bytes("decoded_digest", DIGEST * blocks)

    def check_bounds(self, number: int, decoded: int, stored: Sequence[int]) -> None:
        """Each stored block has at least a byte, and no more than its bound (SCF-MAN-028)."""
        block = self.objects[self.object[number]].block
        for place, size in enumerate(stored):
            length = min(block, decoded - place * block)
            if not 1 <= size <= length - (-length // 128) + 1024:
                raise fault(f"shard {number}: block {place} of {length} decoded bytes has {size} stored ones")

    def check_place(self, shard: Shard) -> None:
        """Stored size, place in the object, and what only an unassigned shard has to have."""
        where = f"shard {shard.number}"
        row = self.objects[shard.object]
        if self.stored is not None and self.stored[shard.number] != shard.stored_size:  # SCF-MAN-020
            raise fault(f"{where}: stored_size is {self.stored[shard.number]}, not {shard.stored_size}")
        if not row.data_start <= shard.at <= shard.at + shard.stored_size <= row.size:  # SCF-MAN-017, SCF-CONV-003
            raise fault(f"{where}: its bytes leave the data of object {shard.object}")
        if shard.tensor is None and not (row.own and shard.codec == 0 and shard.entry):  # SCF-MAN-021
            raise fault(f"{where}: it is unassigned, and not in an own object, encoded, or without an entry name")


def _check_order(rows: Sequence[Shard]) -> None:
    """Shards by tensor, box offset and run; then the unassigned ones by object and offset (SCF-MAN-018)."""
    last: tuple[int, tuple[int, ...], int] = (-1, (), 0)
    for shard in rows:
        if shard.tensor is None:
            key: tuple[int, tuple[int, ...], int] = (UNASSIGNED, (shard.object, shard.at), 0)
        else:
            key = (shard.tensor, shard.region.offset, shard.region.start)
        if key < last:
            raise fault(f"shard {shard.number} is out of order")
        last = key


def _check_apart(rows: Sequence[Shard]) -> None:
    """No two shards have common bytes of one object (SCF-MAN-024)."""
    last, end = -1, 0
    for shard in sorted((row for row in rows if row.stored_size), key=lambda row: (row.object, row.at)):
        if shard.object == last and shard.at < end:
            raise fault(f"shard {shard.number} has bytes of object {last} in common with another one")
        last, end = shard.object, shard.at + shard.stored_size
