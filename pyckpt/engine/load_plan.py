"""Which bytes of which objects are needed to fill the wanted regions; pure.

Manifest ∩ requests → shards with their targets → parts (consecutive needed blocks of one shard) → jobs (one contiguous
range of one object each). The reader executes jobs; nothing here opens anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from pyckpt.engine.leaves import Sink, TensorRequest
from pyckpt.format.codecs import Chain
from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import Copy, Region, region_copies
from pyckpt.format.manifest import Manifest

__all__ = ["Job", "Part", "ShardRead", "plan_jobs", "plan_reads"]

JOB_BYTES = 8 << 20
JOB_PARTS = 900
"""A vectored read takes 1024 pieces on Linux."""


class ShardRead(NamedTuple):
    """One shard that is needed, and where its elements go. Offsets and sizes in bytes.

    A tuple, because there may be a million.
    """

    object: int
    """Number of the object in the manifest."""
    shard: int
    tensor: int
    region: Region
    bits: int
    """Bits of one element."""
    offset: int
    """Position of the first stored byte in the object."""
    nbytes: int
    """Decoded size."""
    block: int
    chain: Chain
    first_block: int
    """Number of the shard's first block in the manifest's table of blocks."""
    block_offsets: tuple[int, ...] | None
    """Where each stored block begins and the last ends, from ``offset``; None if blocks are stored as they are."""
    targets: tuple[tuple[int, Region], ...]
    """(number of the sink, its region) each."""
    direct: tuple[int, int, int, int] | None
    """(sink, first byte in the shard, first byte in the sink, bytes) if one contiguous copy is all there is to do."""

    def stored_range(self, first: int, last: int) -> tuple[int, int]:
        """Byte range, from ``offset``, of the stored blocks ``[first, last)``."""
        if self.block_offsets is not None:
            return self.block_offsets[first], self.block_offsets[last]
        return first * self.block, min(last * self.block, self.nbytes)


class Part(NamedTuple):
    """Consecutive blocks ``[first, last)`` of one shard, all read in one job."""

    read: ShardRead
    first: int
    last: int
    offset: int
    """Position in the object."""
    size: int


@dataclass(frozen=True, slots=True)
class Job:
    """One contiguous range of an object; between parts may lie bytes that nobody wants."""

    object: int
    parts: tuple[Part, ...]


def plan_reads(manifest: Manifest, requests: Sequence[TensorRequest]) -> tuple[list[ShardRead], list[Sink]]:
    """Intersects the wanted regions with the stored shards."""
    wanted: dict[int, list[tuple[int, Region]]] = defaultdict(list)
    sinks: list[Sink] = []
    for request in requests:
        for region, sink in request.target.pieces:
            if region.start < region.stop:
                wanted[request.tensor].append((len(sinks), region))
                sinks.append(sink)
    reads: list[ShardRead] = []
    shards = manifest.shards
    plain = shards.box_offset is None and shards.run_start is None and shards.codec is None
    for tensor, targets in wanted.items():
        own = shards.slice_of(tensor)
        if plain and len(own) == 1 and len(targets) == 1:
            region = targets[0][1]
            # A run of as many elements as the tensor has can only be all of it.
            if region.stop - region.start == shards.elements[own.start]:
                reads.append(_whole_read(manifest, tensor, own.start, *targets[0]))
                continue
        reads += _reads_of(manifest, tensor, own, targets)
    return reads, sinks


def _whole_read(manifest: Manifest, tensor: int, shard: int, sink: int, region: Region) -> ShardRead:
    """A whole tensor that is stored as one shard and wanted as one piece: by far the most frequent case."""
    shards = manifest.shards
    number = int(shards.object[shard])
    size = int(shards.decoded[shard])
    return ShardRead(
        number,
        shard,
        tensor,
        region,
        manifest.tensors.bits_of(tensor),
        int(shards.offset[shard]),
        size,
        manifest.objects[number].block,
        (),
        int(shards.block_start[shard]),
        None,
        ((sink, region),),
        (sink, 0, 0, size),
    )


def _reads_of(
    manifest: Manifest, tensor: int, own: range, targets: Sequence[tuple[int, Region]]
) -> Iterator[ShardRead]:
    shards = manifest.shards
    bits = dtype_of(manifest.tensors.dtype_of(tensor)).bits
    for index in own if len(own) == 1 else _touched(manifest, tensor, own, targets):
        region = shards.region(index)
        hits = []
        copies: list[tuple[int, Copy]] = []
        for sink, wanted in targets:
            found = region_copies(region, wanted)
            if found:
                hits.append((sink, wanted))
                copies += [(sink, copy) for copy in found]
        if not hits:
            continue
        number = int(shards.object[index])
        chain = manifest.codecs[shards.codec_of(index)]
        direct = None
        if len(copies) == 1 and not chain and copies[0][1].is_contiguous:
            sink, copy = copies[0]
            direct = (sink, copy.src_start * bits // 8, copy.dst_start * bits // 8, copy.elements * bits // 8)
        yield ShardRead(
            number,
            index,
            tensor,
            region,
            bits,
            int(shards.offset[index]),
            region.elements * bits // 8,
            manifest.objects[number].block,
            chain,
            int(shards.block_start[index]),
            _block_offsets(manifest, index) if chain else None,
            tuple(hits),
            direct,
        )


def _touched(
    manifest: Manifest, tensor: int, own: range, targets: Sequence[tuple[int, Region]]
) -> Iterable[int]:
    """Shards whose box meets the box of a target, by bounds alone; at scale most shards are far from what is wanted."""
    table = manifest.shards
    if table.box_offset is None or table.box_size is None:
        return own
    part = slice(int(table.box_start[own.start]), int(table.box_start[own.stop]))
    ndim = int(table.tensors.ndim[tensor])
    offset = table.box_offset[part].reshape(len(own), ndim)
    end = offset + table.box_size[part].reshape(len(own), ndim)
    near = np.zeros(len(own), bool)
    for _, region in targets:
        low = np.asarray(region.box.offset, np.int64)
        high = low + np.asarray(region.box.size, np.int64)
        near |= ((offset < high) & (end > low)).all(axis=1)
    return [own.start + int(at) for at in np.flatnonzero(near)]


def _block_offsets(manifest: Manifest, shard: int) -> tuple[int, ...]:
    return tuple(accumulate(manifest.shards.stored_sizes(shard), initial=0))


def plan_jobs(reads: Sequence[ShardRead], *, gap_bytes: int) -> list[Job]:
    """Orders the needed blocks by object and position and joins neighbours into jobs of about 8 MiB."""
    jobs: list[Job] = []
    current: list[Part] = []
    length = 0
    for read in sorted(reads, key=lambda read: (read.object, read.offset)):
        for part in _parts(read):
            if current:
                last = current[-1]
                end = last.offset + last.size
                near = last.read.object == read.object and 0 <= part.offset - end <= gap_bytes
                grown = part.offset + part.size - current[0].offset
                if not near or grown > JOB_BYTES or len(current) >= JOB_PARTS or length >= JOB_BYTES:
                    jobs.append(Job(last.read.object, tuple(current)))
                    current, length = [], 0
            current.append(part)
            length += part.size
    if current:
        jobs.append(Job(current[-1].read.object, tuple(current)))
    return jobs


def _parts(read: ShardRead) -> Iterator[Part]:
    """Runs of needed blocks, cut so that none is read in pieces larger than a job."""
    if read.nbytes <= read.block and not read.chain:
        yield Part(read, 0, 1, read.offset, read.nbytes)
        return
    per_job = -(-read.nbytes // read.block) if _is_odd(read) else max(1, JOB_BYTES // read.block)
    for first, last in needed_blocks(read):
        for at in range(first, last, per_job):
            end = min(at + per_job, last)
            start, stop = read.stored_range(at, end)
            yield Part(read, at, end, read.offset + start, stop - start)


def _is_odd(read: ShardRead) -> bool:
    """Six-bit elements don't end where blocks do; such a shard is read whole."""
    return read.block * 8 % read.bits != 0


def needed_blocks(read: ShardRead) -> list[tuple[int, int]]:
    """Ranges ``[first, last)`` of the shard's blocks that hold a wanted byte, ascending."""
    count = -(-read.nbytes // read.block)
    if count <= 1 or _is_odd(read):
        return [(0, count)]
    if read.direct is not None:
        _, start, _, size = read.direct
        return [(start // read.block, -(-(start + size) // read.block))]
    needed = np.zeros(count, bool)
    for _, wanted in read.targets:
        for copy in region_copies(read.region, wanted):
            starts, span = _spans(copy, read.block * 8 // read.bits)
            first = starts * read.bits // 8 // read.block
            last = ((starts + span) * read.bits // 8 - 1) // read.block
            for low, high in np.unique(np.stack([first, last], 1), axis=0):
                needed[low : high + 1] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], needed, [False]]).astype(np.int8)))
    return [(int(low), int(high)) for low, high in zip(edges[::2], edges[1::2], strict=True)]


def _spans(copy: Copy, block: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]:
    """Starts of the source ranges of a copy, in elements, and their common length; near ones are joined."""
    starts = np.array([copy.src_start], np.int64)
    span = 1
    for size, stride in zip(reversed(copy.shape), reversed(copy.src_strides), strict=True):
        if len(starts) == 1 and stride - span < block:
            span += (size - 1) * stride
        else:
            starts = (starts[None, :] + (np.arange(size, dtype=np.int64) * stride)[:, None]).reshape(-1)
    return starts, span
