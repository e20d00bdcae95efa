"""Puts a manifest together from united trees and concatenated rows; no row becomes a Python object on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyckpt.engine.rows import Int64s, Rows, take
from pyckpt.engine.table import ItemTable
from pyckpt.errors import Finding, StateDiverged
from pyckpt.format.codecs import Chain
from pyckpt.format.geometry import Box, Ints, Region
from pyckpt.format.manifest import Manifest
from pyckpt.format.names import region_entry_name
from pyckpt.format.shard_table import UNASSIGNED, ObjectRow, ShardTable
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tree import Node

__all__ = ["WAYS_OUT", "Numbering", "assemble", "explicit_names", "order_rows"]

WAYS_OUT = (
    "make them equal before saving (broadcast, all-reduce), declare what each rank holds with layout= or per_rank(), "
    'or choose replicas="first" to take the lowest rank\'s copy'
)


@dataclass(frozen=True, slots=True)
class Numbering:
    """The united tree and how each writer's tensor numbers map to it."""

    tree: Node
    """Decoded; None if all writers sent the same tree, which then is taken as it came."""
    packed: bytes | None
    """MessagePack of the tree that all writers sent."""
    names: tuple[str, ...]
    """Entry name of the first place of each tensor in the united tree."""
    dtypes: tuple[str, ...]
    shapes: tuple[Ints, ...]
    maps: dict[int, Int64s]
    """Writer -> (own tensor number -> united number)."""


def order_rows(
    name: str,
    rows: Rows,
    numbering: Numbering,
    dropped: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Order by tensor, box offset and run, copies of one region reduced to the first; dropped rows come last."""
    low, size = _padded(rows.box_offset, rows.ndim), _padded(rows.box_size, rows.ndim)
    keys = [rows.run_start, *(low[:, d] for d in range(low.shape[1] - 1, -1, -1)), rows.tensor, dropped]
    # Stable: of copies of one region the first writer's comes first.
    order = np.lexsort([key for key in keys if len(key) and (key != key[0]).any()] or [dropped])
    if len(order) > 1:
        a, b = order[:-1], order[1:]
        twin = (rows.tensor[a] == rows.tensor[b]) & ~dropped[a] & ~dropped[b]
        twin &= (rows.run_start[a] == rows.run_start[b]) & (rows.run_stop[a] == rows.run_stop[b])
        twin &= (low[a] == low[b]).all(axis=1) & (size[a] == size[b]).all(axis=1)
        if twin.any():
            _compare_twins(name, rows, numbering, order, np.flatnonzero(twin))
            dropped = dropped.copy()
            dropped[b[twin]] = True
    kept = order[~dropped[order]]
    rest = order[dropped[order]]
    rest = rest[np.lexsort((rows.offset[rest], rows.object[rest]))]
    return np.concatenate([kept, rest]), dropped


def _padded(flat: Int64s, ndims: Int64s) -> Int64s:
    """One row for each box, with zeros where a box has fewer dimensions than others."""
    width = int(ndims.max()) if len(ndims) else 0
    if len(ndims) and width == ndims.min():
        return flat.reshape(len(ndims), width)
    padded = np.zeros((len(ndims), width), np.int64)
    row = np.repeat(np.arange(len(ndims)), ndims)
    padded[row, np.arange(len(row)) - np.repeat(np.cumsum(ndims) - ndims, ndims)] = flat
    return padded


def _compare_twins(
    name: str, rows: Rows, numbering: Numbering, order: npt.NDArray[np.intp], twins: npt.NDArray[np.intp]
) -> None:
    """Two writers stored one region: allowed if the bytes are the same, however they are stored."""
    starts, coded_starts = np.cumsum(rows.blocks) - rows.blocks, np.cumsum(rows.coded) - rows.coded

    def digests(at: int) -> npt.NDArray[np.void]:
        if rows.coded[at]:
            return rows.decoded[coded_starts[at] : coded_starts[at] + rows.coded[at]]
        return rows.digests[starts[at] : starts[at] + rows.blocks[at]]

    findings = []
    for at in twins:
        a, b = int(order[at]), int(order[at + 1])
        if not np.array_equal(digests(a), digests(b)):
            path = numbering.names[int(rows.tensor[a])]
            findings.append(Finding("state.diverged", f"{name}/{path}", "two writers have different bytes of a region"))
    if findings:
        raise StateDiverged(
            "state.diverged", "writers hold different values of one region", key=name, hint=WAYS_OUT, findings=findings
        )


def explicit_names(table: ItemTable, rows: Rows, mapping: Int64s, all_names: Sequence[str]) -> list[str]:
    """Entry names as the writer gave them, where they are not what the united table implies; else empty."""
    if table.names is all_names:
        # All writers have the same tree, and its names only once.
        return [""] * len(rows)
    united = tuple([all_names[number] for number in mapping.tolist()])
    if table.names == united:
        return [""] * len(rows)
    starts = np.cumsum(rows.ndim) - rows.ndim
    names = []
    for at, local in enumerate(rows.tensor.tolist()):
        if table.names[local] == united[local]:
            names.append("")
            continue
        names.append(_entry(rows, at, starts, table.names[local], table.shapes[local]))
    return names


def _entry(rows: Rows, at: int, starts: Int64s, name: str, shape: Ints) -> str:
    part = slice(int(starts[at]), int(starts[at] + rows.ndim[at]))
    box = Box(tuple(rows.box_offset[part].tolist()), tuple(rows.box_size[part].tolist()))
    region = Region(box, int(rows.run_start[at]), int(rows.run_stop[at]))
    return region_entry_name(name, region, shape, encoded=bool(rows.chain[at]))


def assemble(
    name: str,
    attempt: str,
    numbering: Numbering,
    chains: tuple[Chain, ...],
    objects: Sequence[ObjectRow],
    rows: Rows,
    order: npt.NDArray[np.intp],
    dropped: npt.NDArray[np.bool_],
    names: list[str],
) -> Manifest:
    """The manifest of all rows, in the given order; the dropped ones, at its end, become unassigned shards."""
    shapes = numbering.shapes
    tensors = TensorTable.build(zip(numbering.names, numbering.dtypes, shapes, strict=True))
    gone = int(dropped.sum())
    starts = np.cumsum(rows.ndim) - rows.ndim
    explicit = [names[at] for at in order.tolist()] if gone or any(names) else []
    for position in range(len(order) - gone, len(order)):
        at = int(order[position])
        number = int(rows.tensor[at])
        explicit[position] = explicit[position] or _entry(
            rows, at, starts, numbering.names[number], shapes[number]
        )
    rows = take(rows, order)
    assigned = len(rows) - gone
    tensor = rows.tensor.copy()
    tensor[assigned:] = UNASSIGNED
    boxes = int(rows.ndim[:assigned].sum())
    box_offset, box_size = rows.box_offset[:boxes], rows.box_size[:boxes]
    whole_boxes = np.array_equal(box_size, _whole_sizes(tensors, tensor[:assigned]))
    volume = _volumes(rows.ndim[:assigned], box_size)
    run_start, run_stop = rows.run_start.copy(), rows.run_stop.copy()
    run_start[assigned:] = run_stop[assigned:] = 0
    whole_runs = not run_start.any() and np.array_equal(run_stop[:assigned], volume)
    encoded = bool(rows.chain.any())
    if bool(rows.chain[assigned:].any()):
        raise StateDiverged(
            "state.diverged",
            "two groups of ranks stored one tensor with a codec, and one copy had to be dropped",
            key=name,
            hint="save this item without codec, or hold the tensor on one group only",
        )
    blobs = [text.encode() for text in explicit]
    shards = ShardTable(
        tensors=tensors,
        objects=tuple(objects),
        tensor=tensor.astype(np.uint32),
        object=rows.object.astype(np.uint32),
        offset=rows.offset,
        block_digest=rows.digests.tobytes(),
        box_offset=None if whole_boxes else box_offset,
        box_size=None if whole_boxes else box_size,
        run_start=None if whole_runs else run_start,
        run_stop=None if whole_runs else run_stop,
        stored_size=rows.stored if encoded or gone else None,
        codec=rows.chain.astype(np.uint16) if encoded else None,
        block_stored_size=rows.coded_sizes if encoded else None,
        decoded_digest=rows.decoded.tobytes() if encoded else None,
        entry_size=np.array([len(blob) for blob in blobs], np.uint16) if explicit else None,
        entry=b"".join(blobs) if explicit else None,
    )
    return Manifest(
        item=name,
        attempt=attempt,
        codecs=chains,
        tensors=tensors,
        objects=tuple(objects),
        shards=shards,
        tree={} if numbering.packed is not None else numbering.tree,
    )


def _whole_sizes(tensors: TensorTable, tensor: Int64s) -> Int64s:
    """Shapes of the given tensors one after the other."""
    ndim = tensors.ndim[tensor].astype(np.int64)
    total = int(ndim.sum())
    before = np.cumsum(ndim) - ndim
    index = np.repeat(tensors.shape_start[tensor] - before, ndim) + np.arange(total)
    sizes: Int64s = tensors.shape[index]
    return sizes


def _volumes(ndim: Int64s, sizes: Int64s) -> Int64s:
    volume = np.ones(len(ndim), np.int64)
    rows = np.flatnonzero(ndim)
    if len(rows):
        starts = np.cumsum(ndim) - ndim
        volume[rows] = np.multiply.reduceat(sizes, starts[rows])
    return volume
