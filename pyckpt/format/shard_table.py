"""The shards of an item, as columns: which region of which tensor lies where, and the digests of its blocks.

A million rows stay arrays; only the row that is asked for becomes Python objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from pyckpt.errors import Corrupt
from pyckpt.format.columns import Int64s, Numbers, starts_of, text_at
from pyckpt.format.digest import DIGEST_BYTES
from pyckpt.format.geometry import Box, Region
from pyckpt.format.names import region_entry_name
from pyckpt.format.tensor_table import RESERVED_NAME, TensorTable, ragged_product

__all__ = ["BLOCK_GROWTH", "BLOCK_GROWTH_PART", "UNASSIGNED", "ObjectRow", "ShardTable"]

UNASSIGNED: Final = 0xFFFFFFFF
"""Tensor number of a shard that no tensor uses: a copy that was dropped, still covered by digests."""
BLOCK_GROWTH_PART: Final = 128
BLOCK_GROWTH: Final = 1024
"""An encoded block has at most one byte for each 128 decoded ones, and 1024, more than when it is decoded."""


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One data object."""

    key: str | None
    """Key relative to the checkpoint, for an own object; exactly one of the two keys is set."""
    store_key: str | None
    """Key relative to the store, for an object of another checkpoint."""
    size: int
    data_start: int
    """Bytes of the header with its length, where the data begins."""
    header_digest: bytes
    digest: str
    """Algorithm of all digests of this object."""
    block: int
    """Decoded bytes of a block."""

    @property
    def any_key(self) -> str:
        """The key of either kind, for messages."""
        return self.key or self.store_key or ""


@dataclass(frozen=True, slots=True, eq=False)
class ShardTable:
    """Columns with one row per shard, ordered by tensor; unassigned ones last.

    Construction checks every single row against tensors and objects (Corrupt manifest.schema); whether the rows
    together tile the tensors and cover the objects is ``check_manifest``'s part.
    """

    tensors: TensorTable
    objects: tuple[ObjectRow, ...]
    tensor: Numbers
    object: Numbers
    offset: Numbers
    block_digest: bytes
    box_offset: Numbers | None = None
    """Box offsets of all assigned shards one after the other; None with ``box_size``: every box is its whole tensor."""
    box_size: Numbers | None = None
    run_start: Numbers | None = None
    """None with ``run_stop``: every run is its whole box."""
    run_stop: Numbers | None = None
    stored_size: Numbers | None = None
    """None: stored as decoded."""
    codec: Numbers | None = None
    """Number of the codec chain; None: no shard is encoded."""
    block_stored_size: Numbers | None = None
    """Of every block of every encoded shard; None if there is none."""
    decoded_digest: bytes | None = None
    """For every block of every encoded shard, the digest of its decoded bytes; None if they are not known."""
    entry_size: Numbers | None = None
    """Bytes of each shard's entry name, 0 for the derived name; None with ``entry``: all are derived."""
    entry: bytes | None = None

    assigned: int = field(init=False)
    """Shards that belong to a tensor."""
    shard_start: Int64s = field(init=False)
    box_start: Int64s = field(init=False)
    volume: Int64s = field(init=False)
    """Elements of the box of each assigned shard."""
    elements: Int64s = field(init=False)
    """Elements of the run of each assigned shard."""
    decoded: Int64s = field(init=False)
    """Bytes of each shard before encoding."""
    stored: Int64s = field(init=False)
    block_start: Int64s = field(init=False)
    coded_start: Int64s = field(init=False)
    """Where each shard's rows begin in the columns that only encoded shards have."""
    entry_start: Int64s = field(init=False)

    def __post_init__(self) -> None:
        _Derivation(self).run()

    def __len__(self) -> int:
        return len(self.tensor)

    def slice_of(self, tensor: int) -> range:
        """The shards of a tensor."""
        return range(int(self.shard_start[tensor]), int(self.shard_start[tensor + 1]))

    def region(self, index: int) -> Region:
        """The region that an assigned shard holds."""
        shape = self.tensors.shape_of(int(self.tensor[index]))
        if self.box_offset is None or self.box_size is None:
            box = Box.whole(shape)
        else:
            part = slice(int(self.box_start[index]), int(self.box_start[index + 1]))
            box = Box(tuple(self.box_offset[part].tolist()), tuple(self.box_size[part].tolist()))
        if self.run_start is None or self.run_stop is None:
            return Region.of_box(box)
        return Region(box, int(self.run_start[index]), int(self.run_stop[index]))

    def codec_of(self, index: int) -> int:
        """Number of the shard's codec chain."""
        return 0 if self.codec is None else int(self.codec[index])

    def block_range(self, index: int) -> tuple[int, int]:
        """Number of the shard's first block within the whole table, and how many it has."""
        first = int(self.block_start[index])
        return first, int(self.block_start[index + 1]) - first

    def digest_of(self, block: int) -> bytes:
        """Digest of a block as stored, by its number within the whole table."""
        return self.block_digest[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]

    def decoded_digest_of(self, index: int, block: int) -> bytes | None:
        """Digest of the decoded bytes of the shard's block number ``block`` (from 0), where it is known."""
        if self.codec_of(index) == 0:
            return self.digest_of(int(self.block_start[index]) + block)
        if self.decoded_digest is None:
            return None
        at = int(self.coded_start[index]) + block
        return self.decoded_digest[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]

    def stored_sizes(self, index: int) -> list[int]:
        """Stored bytes of each of the shard's blocks, which lie one after the other from ``offset``."""
        if self.codec_of(index) != 0 and self.block_stored_size is not None:
            sizes = self.block_stored_size[int(self.coded_start[index]) : int(self.coded_start[index + 1])]
            return [int(size) for size in sizes]
        return self.decoded_sizes(index)

    def decoded_sizes(self, index: int) -> list[int]:
        """Decoded bytes of each of the shard's blocks."""
        _, count = self.block_range(index)
        if count == 0:
            return []
        block = self.objects[int(self.object[index])].block
        return [block] * (count - 1) + [int(self.decoded[index]) - block * (count - 1)]

    def entry_name(self, index: int) -> str:
        """The name of the shard's entry in the header of its object."""
        if self.entry is not None and self.entry_size is not None and int(self.entry_size[index]):
            return text_at(self.entry, self.entry_start, index, what="shards")
        tensor = int(self.tensor[index])
        name, shape = self.tensors.name_of(tensor), self.tensors.shape_of(tensor)
        return region_entry_name(name, self.region(index), shape, encoded=self.codec_of(index) != 0)


class _Derivation:
    """Checks of single rows, in the order in which each makes the next one safe to compute."""

    def __init__(self, table: ShardTable) -> None:
        self.table = table
        self.count = len(table.tensor)

    def run(self) -> None:
        table = self.table
        rows = (table.object, table.offset, table.run_start, table.run_stop, table.stored_size, table.codec)
        for column in (*rows, table.entry_size):
            if column is not None and len(column) != self.count:
                raise _corrupt("columns of different length")
        for first, second in (
            (table.box_offset, table.box_size),
            (table.run_start, table.run_stop),
            (table.entry_size, table.entry),
        ):
            if (first is None) != (second is None):
                raise _corrupt("box_offset and box_size, run_start and run_stop, entry_size and entry go in pairs")
        self.order()
        self.regions()
        self.places()
        self.blocks()
        self.codes()
        self.entries()

    def set(self, name: str, value: object) -> None:
        object.__setattr__(self.table, name, value)

    def order(self) -> None:
        table, tensor = self.table, self.table.tensor
        if bool((tensor[1:] < tensor[:-1]).any()):
            raise _corrupt("not ordered by tensor")
        starts = np.searchsorted(tensor, np.arange(len(table.tensors) + 1, dtype=np.int64))
        assigned = int(np.searchsorted(tensor, UNASSIGNED))
        if int(starts[-1]) != assigned:
            raise _corrupt(f"tensor number {int(tensor[assigned - 1])}, but there are {len(table.tensors)} tensors")
        if table.object.size and int(table.object.max()) >= len(table.objects):
            raise _corrupt(f"object number {int(table.object.max())}, but there are {len(table.objects)} objects")
        self.set("shard_start", starts)
        self.set("assigned", assigned)

    def regions(self) -> None:
        """Boxes within their tensors, runs within their boxes; gives elements and decoded bytes."""
        table, tensors = self.table, self.table.tensors
        assigned = table.assigned
        tensor = table.tensor[:assigned]
        ndim = tensors.ndim[tensor]
        whole = tensors.elements[tensor]
        self.set("box_start", starts_of(ndim))
        if table.box_offset is None or table.box_size is None:
            volume = whole
        else:
            volume = self.volumes(table.box_offset, table.box_size, tensor, ndim, whole)
        if table.run_start is None or table.run_stop is None:
            elements = volume
        else:
            start, stop = table.run_start, table.run_stop
            if bool((start[assigned:] != 0).any() or (stop[assigned:] != 0).any()):
                raise _corrupt("an unassigned shard with a run")
            start, stop = start[:assigned], stop[:assigned]
            if bool((start < 0).any() or (start > stop).any() or (stop > volume).any()):
                raise _corrupt("a run outside its box")
            elements = stop - start
        if bool(((elements == 0) & (whole != 0)).any()):
            raise _corrupt("an empty shard of a tensor that is not empty")
        bits = tensors.element_bits()[tensor]
        self.whole_bytes(np.flatnonzero(bits & 7), bits, ndim, elements, volume != whole)
        self.set("volume", volume)
        self.set("elements", elements)
        # elements * bits is at most 2^63-1 for the whole tensor already
        decoded = np.zeros(self.count, dtype=np.int64)
        np.multiply(elements, bits, out=decoded[:assigned])
        decoded[:assigned] >>= 3
        self.set("decoded", decoded)

    def volumes(
        self, box_offset: Numbers, box_size: Numbers, tensor: Numbers, ndim: Numbers, whole: Int64s
    ) -> Int64s:
        table, tensors = self.table, self.table.tensors
        total = int(table.box_start[-1])
        if not len(box_offset) == len(box_size) == total:
            raise _corrupt(f"{len(box_offset)} box offsets and {len(box_size)} box sizes, expected {total} of each")
        # number of each box number's counterpart in the column of shapes
        shift = tensors.shape_start[tensor] - table.box_start[:-1]
        shape = tensors.shape[np.arange(total, dtype=np.int64) + np.repeat(shift, ndim)]
        if bool((box_offset < 0).any() or (box_size < 0).any() or (box_offset > shape).any()):
            raise _corrupt("a box outside its tensor")
        if bool((box_size > shape - box_offset).any()):
            raise _corrupt("a box outside its tensor")
        if bool((whole == 0).any()):
            empty = np.repeat(whole == 0, ndim)
            if bool((box_offset[empty] != 0).any() or (box_size[empty] != shape[empty]).any()):
                raise _corrupt("the shard of an empty tensor is not the whole of it")
        return ragged_product(box_size, ndim, table.box_start)

    def whole_bytes(
        self,
        rows: npt.NDArray[np.intp],
        bits: Int64s,
        ndim: Numbers,
        elements: Int64s,
        partial: npt.NDArray[np.bool_],
    ) -> None:
        """Types below a byte: runs end with a byte, and so do the rows of a box that is only part of its tensor."""
        table, tensors = self.table, self.table.tensors
        if not rows.size:
            return
        bits = bits[rows]
        for bound in (table.run_start, elements):
            if bound is not None and bool(((bound[rows] & 7) * bits % 8 != 0).any()):
                raise _corrupt("a run that does not begin and end at a byte")
        if table.box_offset is None or table.box_size is None:
            return
        chosen = (ndim[rows] > 0) & partial[rows]
        rows, bits = rows[chosen], bits[chosen]
        last = table.box_start[1:][rows] - 1
        length = tensors.shape[tensors.shape_start[1:][table.tensor[rows]] - 1]
        offset, size = table.box_offset[last], table.box_size[last]
        uneven = ((offset & 7) * bits % 8 != 0) | ((size & 7) * bits % 8 != 0) | ((length & 7) * bits % 8 != 0)
        if bool(uneven.any()):
            raise _corrupt("a box whose rows do not begin and end at a byte")

    def places(self) -> None:
        """Stored ranges within the data of their objects."""
        table, assigned = self.table, self.table.assigned
        if table.stored_size is None:
            if assigned != self.count or (table.codec is not None and bool((table.codec != 0).any())):
                raise _corrupt("unassigned or encoded shards without the column stored_size")
            self.set("stored", table.decoded)
        else:
            table.decoded[assigned:] = table.stored_size[assigned:]
            self.set("stored", table.stored_size.astype(np.int64, copy=False))
        plain = table.stored == table.decoded
        if table.codec is not None:
            plain |= table.codec != 0
            if bool((table.codec[assigned:] != 0).any()):
                raise _corrupt("an unassigned shard with a codec")
        elsewhere = np.array([row.store_key is not None for row in table.objects] or [False])
        if bool(elsewhere[table.object[assigned:]].any()):
            raise _corrupt("an unassigned shard in an object of another checkpoint")
        if not bool(plain.all()):
            raise _corrupt("a shard without a codec whose stored_size is not its decoded size")
        begin = np.array([row.data_start for row in table.objects] or [0], dtype=np.int64)[table.object]
        end = np.array([row.size for row in table.objects] or [0], dtype=np.int64)[table.object]
        if bool((table.stored < 0).any() or (table.offset < begin).any() or (table.offset > end).any()):
            raise _corrupt("a shard that begins outside the data of its object")
        if bool((table.stored > end - table.offset).any()):
            raise _corrupt("a shard that ends beyond its object")

    def blocks(self) -> None:
        table = self.table
        block = np.array([row.block for row in table.objects] or [1], dtype=np.int64)[table.object]
        # not (decoded + block - 1) // block, which overflows for hostile sizes
        counts = table.decoded // block + (table.decoded % block != 0)
        available = len(table.block_digest) // DIGEST_BYTES
        # in floating point first: the exact sum of hostile counts overflows
        expected = counts.sum(dtype=np.float64)
        if expected > 0 and not table.block_digest:
            raise Corrupt("digest.missing", "shards: the column 'block_digest' is missing, or it is empty")
        if expected > available + 1 or len(table.block_digest) % DIGEST_BYTES:
            raise _corrupt(f"{len(table.block_digest)} bytes of block digests are not 32 for each block")
        self.set("block_start", starts_of(counts))
        if int(table.block_start[-1]) != available:
            raise _corrupt(f"{available} block digests, expected {int(table.block_start[-1])}")

    def codes(self) -> None:
        """Sizes of encoded blocks, which add up to their shard's."""
        table = self.table
        coded: Numbers = np.zeros(0, dtype=np.int64) if table.codec is None else np.flatnonzero(table.codec)
        if not coded.size:
            self.set("coded_start", np.zeros(self.count + 1, dtype=np.int64))
            if table.block_stored_size is not None or table.decoded_digest is not None:
                raise _corrupt("block_stored_size or decoded_digest without an encoded shard")
            return
        counts = np.zeros(self.count, dtype=np.int64)
        counts[coded] = np.diff(table.block_start)[coded]
        self.set("coded_start", starts_of(counts))
        total = int(table.coded_start[-1])
        sizes = table.block_stored_size
        if sizes is None or len(sizes) != total:
            raise _corrupt(f"the column block_stored_size does not have the {total} numbers of the encoded blocks")
        if table.decoded_digest is not None and len(table.decoded_digest) != DIGEST_BYTES * total:
            raise _corrupt("the column decoded_digest does not have 32 bytes for each encoded block")
        if bool((sizes < 1).any() or (sizes > self.largest(coded, counts[coded])).any()):
            raise _corrupt("an encoded block that is empty, or larger than any codec makes it")
        # a block has little more than 2^30 bytes, and there are as many as block digests: the sum stays below 2^63
        sums = np.diff(starts_of(sizes)[table.coded_start])
        if bool((sums[coded] != table.stored[coded]).any()):
            raise _corrupt("the encoded blocks of a shard do not add up to its stored_size")

    def largest(self, coded: Numbers, counts: Int64s) -> Int64s:
        """The most stored bytes of each block of the encoded shards."""
        table = self.table
        block = np.array([row.block for row in table.objects], dtype=np.int64)[table.object[coded]]
        decoded = np.repeat(block, counts)
        some = counts > 0
        last = np.cumsum(counts)[some] - 1
        decoded[last] = (table.decoded[coded] - (counts - 1) * block)[some]
        return decoded + -(-decoded // BLOCK_GROWTH_PART) + BLOCK_GROWTH

    def entries(self) -> None:
        table, sizes = self.table, self.table.entry_size
        if sizes is None or table.entry is None:
            if table.assigned != self.count:
                raise _corrupt("unassigned shards without entry names")
            self.set("entry_start", np.zeros(self.count + 1, dtype=np.int64))
            return
        self.set("entry_start", starts_of(sizes))
        if int(table.entry_start[-1]) != len(table.entry):
            raise _corrupt(f"{len(table.entry)} bytes of entry names, expected {int(table.entry_start[-1])}")
        if bool((sizes[table.assigned :] == 0).any()):
            raise _corrupt("an unassigned shard without an entry name")
        try:
            text = table.entry.decode()
        except UnicodeDecodeError as error:
            raise _corrupt(f"an entry name is not valid UTF-8: {error.reason}") from None
        if len(text) != len(table.entry):
            first_bytes = np.frombuffer(table.entry, dtype=np.uint8)[table.entry_start[:-1][np.asarray(sizes) > 0]]
            if bool(((first_bytes & 0xC0) == 0x80).any()):
                raise _corrupt("an entry name is not valid UTF-8: it begins inside a character")
        if RESERVED_NAME in table.entry:
            ends = table.entry_start.tolist()
            if any(table.entry[start:stop] == RESERVED_NAME for start, stop in pairwise(ends)):
                raise _corrupt(f"an entry has the name {RESERVED_NAME.decode()}")


def _corrupt(message: str) -> Corrupt:
    return Corrupt("manifest.schema", f"shards: {message}")

