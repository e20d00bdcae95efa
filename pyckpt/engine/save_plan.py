"""Decides what this writer stores where; pure, and the same on every run over the same state.

Leaves → pieces dealt to this writer → shards → data objects. Nothing here touches storage, other ranks or the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from pyckpt.engine.deal import deal
from pyckpt.engine.fingerprint import Groups
from pyckpt.engine.leaves import ItemState, Piece, Source
from pyckpt.engine.options import CodecName, SaveOptions
from pyckpt.engine.slots import Slot
from pyckpt.errors import LimitExceeded, UsageError
from pyckpt.format.codecs import Chain, Codec
from pyckpt.format.dtypes import DType, byte_count, dtype_of
from pyckpt.format.geometry import Region, check_region
from pyckpt.format.keys import object_key
from pyckpt.format.names import region_entry_name
from pyckpt.format.safetensors import Entry, build_header
from pyckpt.limits import MAX_DIMS, MAX_OBJECT_HEADER_TARGET

__all__ = ["ObjectPlan", "ShardPlan", "chains_of", "plan_objects", "plan_shards"]

RAW_BELOW = 4096
"""Shards of fewer bytes are stored without codec: a frame would cost more than it saves."""
SPLIT_BYTES = 64 << 20
"""An item is spread over one object per thread once each gets this much: writes to one file take turns."""


class ShardPlan(NamedTuple):
    """One region that this writer stores. Sizes in bytes. A tuple, because there may be a million."""

    tensor: int
    region: Region
    source: Source
    source_start: int
    nbytes: int
    dtype: DType
    entry: str
    header_shape: tuple[int, ...]
    chain: int
    """Number of the codec chain; 0 stores the bytes as they are."""


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """One data object. ``size`` is exact unless a shard is encoded, then it is the size before encoding."""

    key: str
    shards: tuple[ShardPlan, ...]
    header: bytes
    offsets: tuple[int, ...]
    """Where each shard begins in the object, if nothing is encoded."""
    size: int
    encoded: bool
    stage: int = 0
    """When the sources of its shards can be read."""


def chains_of(codec: CodecName, level: int) -> tuple[Chain, ...]:
    """Codec chains of an item: 0 none, 1 zstd, then byte planes of 2, 4 and 8 bytes."""
    if codec == "none":
        return ((),)
    zstd = (Codec("zstd", {"level": level}),)
    if codec == "zstd":
        return (), zstd
    return (), zstd, *((Codec("planes", {"item": width, "level": level}),) for width in (2, 4, 8))


def _chain_of(codec: CodecName, dtype: DType, nbytes: int) -> int:
    if codec == "none" or nbytes < RAW_BELOW:
        return 0
    if codec == "planes":
        return {2: 2, 4: 3, 8: 4}.get(dtype.item, 1)
    return 1


def plan_shards(
    items: Sequence[tuple[ItemState, Sequence[Slot]]],
    *,
    rank: int,
    groups: Mapping[str, Groups],
    options: SaveOptions,
) -> dict[str, list[ShardPlan]]:
    """Gives the shards that writer ``rank`` stores, by item name.

    ``groups`` tells, by item, who holds the same tensors. Raises UsageError ``state.layout`` for a region outside its
    tensor.
    """
    shards: dict[str, list[ShardPlan]] = {item.name: [] for item, _ in items}
    shared: dict[tuple[int, ...], list[tuple[ItemState, Slot, int, DType, int]]] = {}
    empty: list[tuple[ItemState, Slot, DType]] = []
    alone = (rank,)
    for item, slots in items:
        codec, own = options.codec_of(item.name), shards[item.name]
        for slot in slots:
            leaf = slot.leaf
            dtype = dtype_of(leaf.dtype)
            if len(leaf.shape) > MAX_DIMS:
                message = f"a tensor of {len(leaf.shape)} dimensions, the format has at most {MAX_DIMS}"
                raise LimitExceeded("limit.exceeded", message, key=f"{item.name}/{slot.name}")
            members = groups[item.name].of(leaf, rank)
            for number, piece in enumerate(leaf.pieces):
                nbytes = _checked_size(item.name, slot, piece, dtype)
                if nbytes == 0:
                    if 0 in leaf.shape and number == 0 and rank == (members[0] if leaf.replicas is None else 0):
                        empty.append((item, slot, dtype))
                elif members == alone:
                    own.append(_shard(slot, piece.region, piece.source, 0, nbytes, dtype, codec))
                else:
                    shared.setdefault(members, []).append((item, slot, number, dtype, nbytes))
    for holders, held in shared.items():
        held.sort(key=lambda entry: (entry[0].name, entry[1].name, entry[2]))
        members = holders[:1] if options.replicas == "first" else holders
        quantum = [options.block_bytes * (3 if dtype.bits == 6 else 1) for _, _, _, dtype, _ in held]
        for part in deal([entry[4] for entry in held], members, quantum=quantum):
            if part.writer != rank:
                continue
            item, slot, number, dtype, nbytes = held[part.piece]
            piece = slot.leaf.pieces[number]
            region = piece.region
            if part.stop - part.start != nbytes:
                first = region.start + part.start * 8 // dtype.bits
                last = region.start + part.stop * 8 // dtype.bits
                region = Region(region.box, first, last)
            codec = options.codec_of(item.name)
            shards[item.name].append(
                _shard(slot, region, piece.source, part.start, part.stop - part.start, dtype, codec)
            )
    for item, slot, dtype in empty:
        whole = Region.whole(slot.leaf.shape)
        source = slot.leaf.pieces[0].source
        shape = _header_shape(whole, dtype)
        shards[item.name].append(ShardPlan(slot.number, whole, source, 0, 0, dtype, slot.name, shape, 0))
    return shards


def _checked_size(item: str, slot: Slot, piece: Piece, dtype: DType) -> int:
    """Bytes of a piece, whose region lies within the tensor and whose memory has just that size."""
    region, shape = piece.region, slot.leaf.shape
    if region.start or region.box.size != shape or any(region.box.offset):
        check_region(region, shape, dtype.bits, f"{item}/{slot.name}")
    nbytes = (region.stop - region.start) * dtype.bits >> 3
    if nbytes != piece.source.nbytes or (dtype.bits & 7 and nbytes != byte_count(dtype, region.elements)):
        raise UsageError(
            "state.layout",
            f"region needs {nbytes} bytes, its memory has {piece.source.nbytes}",
            key=f"{item}/{slot.name}",
            hint="declare the region that the local tensor really holds",
        )
    return nbytes


def _shard(
    slot: Slot, region: Region, source: Source, start: int, nbytes: int, dtype: DType, codec: CodecName
) -> ShardPlan:
    chain = _chain_of(codec, dtype, nbytes)
    entry = region_entry_name(slot.name, region, slot.leaf.shape, encoded=chain != 0)
    return ShardPlan(
        slot.number, region, source, start, nbytes, dtype, entry, _header_shape(region, dtype), chain
    )


def _header_shape(region: Region, dtype: DType) -> tuple[int, ...]:
    shape = region.box.size if region.is_whole_run else (region.stop - region.start,)
    return shape if dtype.lanes == 1 else (*shape, dtype.lanes)


def plan_objects(
    item: str,
    slots: Sequence[Slot],
    shards: Sequence[ShardPlan],
    *,
    attempt: str,
    rank: int,
    size: int,
    first: int,
    threads: int,
    options: SaveOptions,
) -> list[ObjectPlan]:
    """Lays the shards of an item out in data objects.

    An object has shards of one stage. Within it they lie by falling item size, encoded ones last, so that each begins
    at a multiple of its item size. Objects of writer ``rank`` of ``size`` are numbered ``rank``, ``rank + size``, …;
    ``first`` of them there are already.
    """
    objects = []
    by_stage: dict[int, list[ShardPlan]] = {}
    for shard in shards:
        by_stage.setdefault(slots[shard.tensor].leaf.stage, []).append(shard)
    groups = [
        (stage, group)
        for stage, own in sorted(by_stage.items())
        for group in _spread(own, threads, options.max_object_bytes)
    ]
    for number, (stage, group) in enumerate(groups, first):
        group.sort(key=lambda shard: (shard.chain != 0, -shard.dtype.item if shard.chain == 0 else 0))
        ends = list(accumulate((shard.nbytes for shard in group), initial=0))
        encoded = any(shard.chain for shard in group)
        header = build_header(
            [
                Entry(
                    shard.entry,
                    "U8" if shard.chain else shard.dtype.container,
                    (shard.nbytes,) if shard.chain else shard.header_shape,
                    begin,
                    end,
                )
                for shard, begin, end in zip(group, ends, ends[1:], strict=False)
            ],
            object_metadata(attempt),
        )
        start = len(header)
        key = object_key(item, attempt, rank + size * number)
        offsets = tuple(start + at for at in ends[:-1])
        objects.append(ObjectPlan(key, tuple(group), header, offsets, start + ends[-1], encoded, stage))
    return objects


def object_metadata(attempt: str) -> dict[str, str]:
    """``__metadata__`` of our data objects; common loaders of safetensors insist on ``format``."""
    return {"format": "pt", "scf.attempt": attempt}


def _spread(shards: Sequence[ShardPlan], threads: int, max_bytes: int) -> list[list[ShardPlan]]:
    """Distributes shards over objects: by bytes, few objects, none over ``max_bytes`` unless one shard alone is."""
    total = sum(shard.nbytes for shard in shards)
    names = sum(len(shard.entry) + 120 for shard in shards)
    count = max(
        min(threads, total // SPLIT_BYTES),
        -(-total // max_bytes),
        -(-names // MAX_OBJECT_HEADER_TARGET),
        1 if shards else 0,
    )
    if count <= 1:
        return [list(shards)] if shards else []
    bins: list[list[ShardPlan]] = [[] for _ in range(count)]
    loads = [0] * count
    for index in sorted(range(len(shards)), key=lambda i: (-shards[i].nbytes, i)):
        lightest = loads.index(min(loads))
        if loads[lightest] and loads[lightest] + shards[index].nbytes > max_bytes:
            bins.append([])
            loads.append(0)
            lightest = len(loads) - 1
        bins[lightest].append(shards[index])
        loads[lightest] += shards[index].nbytes
    order: dict[int, int] = {id(shard): i for i, shard in enumerate(shards)}
    for group in bins:
        group.sort(key=lambda shard: order[id(shard)])
    return [group for group in bins if group]


