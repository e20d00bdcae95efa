"""Makes one manifest of the tables of all writers, or says which of them contradict each other.

Trees are united, tensors found again by their paths, claimed replicas compared, copies that two groups of writers made
of one tensor reduced to one. Tables are concatenated as columns; no row becomes a Python object on the way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyckpt.engine.fingerprint import ROW
from pyckpt.engine.rows import Int64s, Rows, concat, take
from pyckpt.engine.table import ItemTable
from pyckpt.errors import Finding, StateDiverged
from pyckpt.format.manifest import Manifest
from pyckpt.format.shard_table import UNASSIGNED, ObjectRow, ShardTable
from pyckpt.format.names import entry_name, region_entry_name
from pyckpt.format.geometry import Box, Ints, Region
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tree import Node, Path, TensorRef, map_leaves, path_text, walk
from pyckpt.format.tree_decode import decode_tree
from pyckpt.format.tree_union import union_trees

__all__ = ["WAYS_OUT", "merge_item"]

WAYS_OUT = (
    "make them equal before saving (broadcast, all-reduce), declare what each rank holds with layout= or per_rank(), "
    'or choose replicas="first" to take the lowest rank\'s copy'
)


@dataclass(frozen=True, slots=True)
class _Numbering:
    """The united tree and how each writer's tensor numbers map to it."""

    tree: Node
    paths: tuple[Path, ...]
    """First place of each tensor in the united tree."""
    dtypes: tuple[str, ...]
    shapes: tuple[Ints, ...]
    maps: dict[int, Int64s]
    """Writer -> (own tensor number -> united number)."""


def merge_item(
    name: str, tables: Mapping[int, ItemTable], groups: Mapping[int, tuple[int, ...]], *, attempt: str
) -> Manifest:
    """The manifest of one item from the tables of the writers that have it.

    ``groups`` tells, per writer, who claims to hold the same plain tensors. Raises StateDiverged with all paths and
    writers that disagree. Whether the shards tile their tensors is for the manifest's own check.
    """
    chains = {table.chains for table in tables.values()}
    if len(chains) > 1:
        raise StateDiverged("state.diverged", "writers chose different codecs", key=name, hint="pass equal options")
    numbering = _number(name, tables)
    _compare_prints(name, tables, numbering)
    objects: list[ObjectRow] = []
    parts: list[Rows] = []
    owner: list[Int64s] = []
    entries: list[list[str]] = []
    for writer, table in tables.items():
        rows = table.rows
        united = numbering.maps[writer][rows.tensor] if len(rows) else rows.tensor
        columns = {field: getattr(rows, field) for field in Rows.__dataclass_fields__}
        columns["tensor"] = united
        columns["object"] = rows.object + len(objects)
        parts.append(Rows(**columns))
        owner.append(np.full(len(rows), writer, np.int64))
        entries.append(_explicit_names(table, rows, numbering.maps[writer], numbering.paths))
        objects += table.objects
    rows = concat(parts)
    writers = np.concatenate(owner)
    names = [entry for part in entries for entry in part]
    dropped = _second_copies(tables, groups, numbering, rows.tensor, writers)
    order, dropped = _sort(name, rows, numbering, dropped, tables, names)
    return _manifest(name, attempt, numbering, next(iter(chains)), objects, rows, order, dropped, names)


def _number(name: str, tables: Mapping[int, ItemTable]) -> _Numbering:
    writers = list(tables)
    first = tables[writers[0]]
    same = all(
        table.tree == first.tree and table.dtypes == first.dtypes and table.shapes == first.shapes
        for table in tables.values()
    )
    if same:
        identity = np.arange(len(first.names), dtype=np.int64)
        tree = decode_tree(first.tree, partial=True)
        paths: dict[int, Path] = {}
        for path, leaf in walk(tree):
            if isinstance(leaf, TensorRef):
                paths.setdefault(leaf.index, path)
        ordered = tuple(paths[number] for number in range(len(first.names)))
        return _Numbering(tree, ordered, first.dtypes, first.shapes, dict.fromkeys(writers, identity))
    return _unite(name, tables)


def _unite(name: str, tables: Mapping[int, ItemTable]) -> _Numbering:
    number_of: dict[Path, int] = {}
    paths: list[Path] = []
    facts: list[tuple[str, Ints, int]] = []
    maps: dict[int, Int64s] = {}
    trees: list[tuple[int, Node]] = []
    findings: list[Finding] = []
    for writer, table in tables.items():
        tree = decode_tree(table.tree, partial=True)
        trees.append((writer, tree))
        own: dict[int, list[Path]] = defaultdict(list)
        for path, leaf in walk(tree):
            if isinstance(leaf, TensorRef):
                own[leaf.index].append(path)
        mapping = np.zeros(len(table.names), np.int64)
        taken: dict[int, int] = {}
        for local, places in own.items():
            known = {number_of[path] for path in places if path in number_of}
            if len(known) > 1 or (known and next(iter(known)) in taken):
                text = ", ".join(path_text(path) for path in places)
                findings.append(
                    Finding("state.diverged", f"{name}/{text}", f"tied on some writers only; rank {writer} differs")
                )
                continue
            if known:
                number = known.pop()
                dtype, shape, holder = facts[number]
                if (dtype, shape) != (table.dtypes[local], table.shapes[local]):
                    findings.append(
                        Finding(
                            "state.diverged",
                            f"{name}/{path_text(places[0])}",
                            f"rank {holder} has {dtype} {list(shape)}, rank {writer} has {table.dtypes[local]} "
                            f"{list(table.shapes[local])}",
                        )
                    )
                    continue
            else:
                number = len(paths)
                paths.append(places[0])
                facts.append((table.dtypes[local], table.shapes[local], writer))
            for path in places:
                number_of[path] = number
            taken[number] = local
            mapping[local] = number
        maps[writer] = mapping
    if findings:
        raise StateDiverged("state.diverged", "writers describe tensors differently", key=name, findings=findings)
    united = union_trees(
        [
            (writer, map_leaves(tree, lambda path, leaf: _renumbered(leaf, number_of, path)))
            for writer, tree in trees
        ]
    )
    return _Numbering(
        united, tuple(paths), tuple(fact[0] for fact in facts), tuple(fact[1] for fact in facts), maps
    )


def _renumbered(leaf: Node, number_of: Mapping[Path, int], path: Path) -> Node:
    return TensorRef(number_of[path]) if isinstance(leaf, TensorRef) else leaf


def _compare_prints(name: str, tables: Mapping[int, ItemTable], numbering: _Numbering) -> None:
    """Refuses claimed replicas whose fingerprints differ, naming every path and who has which value."""
    found: list[npt.NDArray[np.void]] = []
    writers: list[Int64s] = []
    for writer, table in tables.items():
        rows = np.frombuffer(table.prints, ROW).copy()
        if len(rows):
            rows["tensor"] = numbering.maps[writer][rows["tensor"]]
            found.append(rows)
            writers.append(np.full(len(rows), writer, np.int64))
    if len(found) < 2:
        return
    rows, who = np.concatenate(found), np.concatenate(writers)
    order = np.lexsort((who, rows["region"], rows["tensor"]))
    rows, who = rows[order], who[order]
    same = (rows["tensor"][1:] == rows["tensor"][:-1]) & (rows["region"][1:] == rows["region"][:-1])
    differ = np.flatnonzero(same & (rows["print"][1:] != rows["print"][:-1]))
    if not len(differ):
        return
    findings = []
    for tensor in sorted({int(rows["tensor"][at]) for at in differ}):
        by_print: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for at in np.flatnonzero(rows["tensor"] == tensor):
            by_print[int(rows["region"][at]), rows["print"][at].tobytes()].append(int(who[at]))
        sides = " | ".join("ranks " + ", ".join(map(str, side)) for side in by_print.values())
        findings.append(
            Finding("state.diverged", f"{name}/{path_text(numbering.paths[tensor])}", f"different values on: {sides}")
        )
    raise StateDiverged(
        "state.diverged",
        f"{len(findings)} tensors that several ranks claim to hold differ between them",
        key=name,
        hint=WAYS_OUT,
        findings=findings,
    )


def _second_copies(
    tables: Mapping[int, ItemTable],
    groups: Mapping[int, tuple[int, ...]],
    numbering: _Numbering,
    tensor: Int64s,
    writers: Int64s,
) -> npt.NDArray[np.bool_]:
    """Rows of plain tensors that another group of writers stored too; the group of the lowest writer stays."""
    dropped = np.zeros(len(tensor), bool)
    if len({groups[writer] for writer in tables}) < 2:
        return dropped
    keeper: dict[int, tuple[int, ...]] = {}
    losers: dict[int, set[int]] = defaultdict(set)
    for writer in sorted(tables):
        group = groups[writer]
        for local in tables[writer].plain:
            number = int(numbering.maps[writer][local])
            if keeper.setdefault(number, group) != group:
                losers[number].add(writer)
    for number, ranks in losers.items():
        dropped |= (tensor == number) & np.isin(writers, list(ranks))
    return dropped


def _sort(
    name: str,
    rows: Rows,
    numbering: _Numbering,
    dropped: npt.NDArray[np.bool_],
    tables: Mapping[int, ItemTable],
    names: list[str],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Order by tensor, box offset and run, copies of one region reduced to the first; dropped rows come last."""
    del tables, names
    width = int(rows.ndim.max()) if len(rows) else 0
    low = np.zeros((len(rows), width), np.int64)
    size = np.zeros((len(rows), width), np.int64)
    row = np.repeat(np.arange(len(rows)), rows.ndim)
    column = np.arange(len(row)) - np.repeat(np.cumsum(rows.ndim) - rows.ndim, rows.ndim)
    low[row, column] = rows.box_offset
    size[row, column] = rows.box_size
    keys = [rows.run_start, *(low[:, d] for d in range(width - 1, -1, -1)), rows.tensor, dropped]
    order = np.lexsort([np.arange(len(rows)), *keys])
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


def _compare_twins(
    name: str, rows: Rows, numbering: _Numbering, order: npt.NDArray[np.intp], twins: npt.NDArray[np.intp]
) -> None:
    """Two writers stored one region: allowed if the bytes are the same."""
    starts = np.cumsum(rows.blocks) - rows.blocks
    digests = rows.digests
    findings = []
    for at in twins:
        a, b = int(order[at]), int(order[at + 1])
        one = digests[starts[a] : starts[a] + rows.blocks[a]]
        two = digests[starts[b] : starts[b] + rows.blocks[b]]
        if rows.chain[a] != rows.chain[b] or not np.array_equal(one, two):
            path = path_text(numbering.paths[int(rows.tensor[a])])
            findings.append(Finding("state.diverged", f"{name}/{path}", "two writers hold different bytes of one region"))
    if findings:
        raise StateDiverged(
            "state.diverged", "writers hold different values of one region", key=name, hint=WAYS_OUT, findings=findings
        )


def _explicit_names(table: ItemTable, rows: Rows, mapping: Int64s, paths: Sequence[Path]) -> list[str]:
    """Entry names as the writer gave them, where they are not what the united table implies; else empty."""
    united = [entry_name(paths[int(number)]) for number in mapping]
    if list(table.names) == united:
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


def _manifest(
    name: str,
    attempt: str,
    numbering: _Numbering,
    chains: tuple[tuple[object, ...], ...],
    objects: Sequence[ObjectRow],
    rows: Rows,
    order: npt.NDArray[np.intp],
    dropped: npt.NDArray[np.bool_],
    names: list[str],
) -> Manifest:
    shapes = numbering.shapes
    tensors = TensorTable.build(
        (entry_name(path), dtype, shape)
        for path, dtype, shape in zip(numbering.paths, numbering.dtypes, shapes, strict=True)
    )
    gone = int(dropped.sum())
    starts = np.cumsum(rows.ndim) - rows.ndim
    explicit = [names[at] for at in order.tolist()] if gone or any(names) else []
    for position in range(len(order) - gone, len(order)):
        at = int(order[position])
        tensor = int(rows.tensor[at])
        explicit[position] = explicit[position] or _entry(
            rows, at, starts, entry_name(numbering.paths[tensor]), shapes[tensor]
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
        codecs=chains,  # type: ignore[arg-type]
        tensors=tensors,
        objects=tuple(objects),
        shards=shards,
        tree=numbering.tree,
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
