"""That a manifest is complete: its shards tile its tensors, and cover its own objects to the last byte.

Vectorised where the number of tensors makes the cost: whole tensors, and tensors cut into intervals of their row-major
order, are compared as columns; only the others go through ``tiling`` one by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyckpt.errors import Corrupt
from pyckpt.format.columns import Int64s, Numbers
from pyckpt.format.manifest import Manifest
from pyckpt.format.shard_table import ShardTable
from pyckpt.format.tiling import check_tiling, tiles_exactly

__all__ = ["check_manifest", "check_object_keys", "check_objects"]

_EXPLAINED = 10_000
"""Shards up to which a wrong tiling is explained in detail."""

Bools = npt.NDArray[np.bool_]


def check_manifest(manifest: Manifest) -> None:
    """Raises Corrupt: tiling.inexact for a tensor, manifest.schema for the order of shards and the cover of objects."""
    _check_order(manifest.shards)
    _check_tilings(manifest.shards)
    check_objects(manifest)


def check_object_keys(manifest: Manifest, base: str) -> None:
    """That no object goes by two names: the checkpoint that own keys are relative to is in no ``store_key``.

    Raises Corrupt (manifest.schema). Keys of one kind are distinct already.
    """
    for row in manifest.objects:
        if row.store_key is not None and row.store_key.split("/", 1)[0] == base:
            message = f"a store_key names an object of {base!r}, to which own keys belong"
            raise Corrupt("manifest.schema", message, key=row.store_key)


def _check_tilings(shards: ShardTable) -> None:
    tensors = shards.tensors
    counts = np.diff(shards.shard_start)
    empty = tensors.elements == 0
    many = np.flatnonzero(empty & (counts > 1))
    if many.size:
        raise _inexact(shards, int(many[0]), "has no elements, but several shards")
    missing = np.flatnonzero(~empty & (counts == 0))
    if missing.size:
        raise _inexact(shards, int(missing[0]), "has no shards")
    # Shards are known to lie within their tensors: one of as many elements is the whole of it.
    single = ~empty & (counts == 1)
    elements = shards.elements[shards.shard_start[:-1][single]]
    short = np.flatnonzero(elements != tensors.elements[single])
    if short.size:
        tensor = int(np.flatnonzero(single)[short[0]])
        raise _inexact(shards, tensor, f"has {tensors.elements[tensor]} elements, its only shard {elements[short[0]]}")
    rest = np.flatnonzero(~empty & (counts > 1))
    if rest.size:
        for tensor in rest[~_tiled_by_intervals(shards, rest)].tolist():
            _check_one(shards, tensor)


def _tiled_by_intervals(shards: ShardTable, chosen: npt.NDArray[np.intp]) -> Bools:
    """For each of the tensors: whether its shards, in the order of the table, are adjacent intervals from end to end.

    A shard is an interval if its box is whole in all dimensions but the first: then its run is one range of the
    tensor's own row-major order. That is how flat shards and slabs along the first dimension lie.
    """
    tensors = shards.tensors
    counts = np.diff(shards.shard_start)[chosen]
    first = np.cumsum(counts) - counts
    rows = np.arange(int(counts.sum())) + np.repeat(shards.shard_start[:-1][chosen] - first, counts)
    start = np.zeros(len(rows), dtype=np.int64) if shards.run_start is None else shards.run_start[rows]
    whole = np.ones(len(rows), dtype=np.bool_)
    if shards.box_offset is not None and shards.box_size is not None:
        outer, whole = _outer_offsets(shards, rows)
        start = start + outer
    stop = start + shards.elements[rows]
    last = first + counts - 1
    chained = np.ones(len(rows), dtype=np.bool_)
    chained[1:] = start[1:] == stop[:-1]
    chained[first] = start[first] == 0
    chained &= whole
    chained[last] &= stop[last] == tensors.elements[chosen]
    return np.logical_and.reduceat(chained, first)


def _outer_offsets(shards: ShardTable, rows: npt.NDArray[np.intp]) -> tuple[Int64s, Bools]:
    """Elements of the tensor before each box, and whether the box is whole in all dimensions but the first."""
    assert shards.box_offset is not None
    assert shards.box_size is not None
    tensors = shards.tensors
    tensor = shards.tensor[rows]
    ndim = tensors.ndim[tensor]
    outer = np.zeros(len(rows), dtype=np.int64)
    whole = np.ones(len(rows), dtype=np.bool_)
    shaped = ndim > 0
    strides = tensors.elements // np.maximum(_first_sizes(shards), 1)
    outer[shaped] = shards.box_offset[shards.box_start[:-1][rows[shaped]]] * strides[tensor[shaped]]
    first_size = np.ones(len(rows), dtype=np.int64)
    first_size[shaped] = shards.box_size[shards.box_start[:-1][rows[shaped]]]
    # A box within the tensor is whole in its inner dimensions if it has as many elements there.
    whole[shaped] = shards.volume[rows[shaped]] == first_size[shaped] * strides[tensor[shaped]]
    return outer, whole


def _first_sizes(shards: ShardTable) -> Int64s:
    tensors = shards.tensors
    sizes = np.ones(len(tensors), dtype=np.int64)
    shaped = tensors.ndim > 0
    sizes[shaped] = tensors.shape[tensors.shape_start[:-1][shaped]]
    return sizes


def _check_one(shards: ShardTable, tensor: int) -> None:
    rows = shards.slice_of(tensor)
    shape = shards.tensors.shape_of(tensor)
    part = slice(rows.start, rows.stop)
    if shards.box_offset is not None and shards.box_size is not None:
        boxes = slice(int(shards.box_start[rows.start]), int(shards.box_start[rows.stop]))
        offset = shards.box_offset[boxes].reshape(len(rows), len(shape))
        size = shards.box_size[boxes].reshape(len(rows), len(shape))
    else:
        offset = np.zeros((len(rows), len(shape)), dtype=np.int64)
        size = np.tile(np.array(shape, dtype=np.int64), (len(rows), 1))
    start = None if shards.run_start is None else shards.run_start[part]
    stop = None if shards.run_stop is None else shards.run_stop[part]
    if tiles_exactly(shape, offset, size, start, stop):
        return
    if len(rows) <= _EXPLAINED:
        check_tiling(shape, [shards.region(row) for row in rows], key=shards.tensors.name_of(tensor))
    raise _inexact(shards, tensor, f"is not tiled by its {len(rows)} shards")


def _check_order(shards: ShardTable) -> None:
    """Ascending box offset, then run start, within each tensor; unassigned ones by object and offset."""
    assigned = shards.assigned
    same = np.flatnonzero(shards.tensor[1:assigned] == shards.tensor[: max(assigned - 1, 0)])
    if same.size:
        decided = np.zeros(len(same), dtype=np.bool_)
        if shards.box_offset is not None:
            decided = _boxes_ascend(shards, shards.box_offset, same)
        if shards.run_start is not None:
            descends = ~decided & (shards.run_start[same + 1] < shards.run_start[same])
            if bool(descends.any()):
                raise _disorder(int(same[descends][0]) + 1)
    lost = np.arange(assigned, len(shards) - 1)
    objects, offsets = shards.object, shards.offset
    wrong = (objects[lost + 1] < objects[lost]) | (
        (objects[lost + 1] == objects[lost]) & (offsets[lost + 1] < offsets[lost])
    )
    if bool(wrong.any()):
        raise _disorder(int(lost[wrong][0]) + 1)


def _boxes_ascend(shards: ShardTable, box_offset: Numbers, rows: npt.NDArray[np.intp]) -> Bools:
    """For each row, whether the next row's box begins later; raises where it begins earlier."""
    decided = np.zeros(len(rows), dtype=np.bool_)
    ndim = shards.tensors.ndim[shards.tensor[rows]]
    for d in range(int(ndim.max())):
        open_rows = np.flatnonzero(~decided & (ndim > d))
        if not open_rows.size:
            break
        row = rows[open_rows]
        change = box_offset[shards.box_start[row + 1] + d] - box_offset[shards.box_start[row] + d]
        if bool((change < 0).any()):
            raise _disorder(int(row[change < 0][0]) + 1)
        decided[open_rows] = change > 0
    return decided


def check_objects(manifest: Manifest) -> None:
    """Own objects are covered without hole or overlap; shards in other checkpoints' objects do not overlap.

    Raises Corrupt (manifest.schema).
    """
    shards, objects = manifest.shards, manifest.objects
    # a shard of no bytes covers nothing, wherever it lies
    some = np.flatnonzero(shards.stored > 0)
    order = some[np.lexsort((shards.offset[some], shards.object[some]))]
    number = shards.object[order].astype(np.int64)
    start = shards.offset[order]
    stop = start + shards.stored[order]
    begins = np.searchsorted(number, np.arange(len(objects) + 1))
    own = np.array([row.key is not None for row in objects], dtype=np.bool_)
    data_start = np.array([row.data_start for row in objects], dtype=np.int64)
    size = np.array([row.size for row in objects], dtype=np.int64)
    used = np.diff(begins) > 0
    bad = own & ~used & (size != data_start)
    first, last = begins[:-1][used], begins[1:][used] - 1
    bad[used] |= own[used] & ((start[first] != data_start[used]) | (stop[last] != size[used]))
    gap = start[1:] - stop[:-1]
    inside = number[1:] == number[:-1]
    wrong = inside & ((gap < 0) | ((gap > 0) & own[number[1:]]))
    bad[number[1:][wrong]] = True
    if bool(bad.any()):
        row = objects[int(np.flatnonzero(bad)[0])]
        message = "its shards leave a hole or overlap" if row.key else "its shards overlap"
        raise Corrupt("manifest.schema", f"{message}; data from {row.data_start} to {row.size}", key=row.any_key)


def _inexact(shards: ShardTable, tensor: int, message: str) -> Corrupt:
    return Corrupt("tiling.inexact", f"the tensor {message}", key=shards.tensors.name_of(tensor))


def _disorder(row: int) -> Corrupt:
    return Corrupt("manifest.schema", f"shards: row {row} comes before what it should follow")
