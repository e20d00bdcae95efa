"""Makes one manifest of the tables of all writers, or says which of them contradict each other.

Trees are united and claimed replicas compared (``engine.unite``); copies that two groups of writers made of one tensor
are reduced to one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pyckpt.engine.assemble import Numbering, assemble, explicit_names, order_rows
from pyckpt.engine.rows import Int64s, Rows, concat
from pyckpt.engine.table import ItemTable
from pyckpt.engine.unite import compare_prints, number_tensors
from pyckpt.errors import StateDiverged
from pyckpt.format.manifest import Manifest
from pyckpt.format.shard_table import ObjectRow

__all__ = ["merge_item"]


def merge_item(
    name: str, tables: Mapping[int, ItemTable], *, attempt: str
) -> tuple[Manifest, bytes | None]:
    """The manifest of one item from the tables of the writers that have it, and the MessagePack of its tree.

    The bytes are None where trees had to be united; where they are given, the manifest's own tree is empty.

    Raises StateDiverged with all paths and writers that disagree. Whether the shards tile their tensors is for the
    manifest's own check.
    """
    if len({table.chains for table in tables.values()}) > 1:
        raise StateDiverged("state.diverged", "writers chose different codecs", key=name, hint="pass equal options")
    listed = [chain for table in tables.values() for chain in (*table.chains, *table.borrowed)]
    chains = {chain: number for number, chain in enumerate(dict.fromkeys(listed))}
    numbering = number_tensors(name, tables)
    compare_prints(name, tables, numbering)
    objects: dict[ObjectRow, int] = {}
    parts: list[Rows] = []
    owner: list[Int64s] = []
    entries: list[list[str]] = []
    for writer, table in tables.items():
        rows = table.rows
        united = numbering.maps[writer][rows.tensor] if len(rows) else rows.tensor
        columns = {field: getattr(rows, field) for field in Rows.__dataclass_fields__}
        columns["tensor"] = united
        # An object of another checkpoint may be used by several writers, and is listed once.
        columns["object"] = _ints([objects.setdefault(row, len(objects)) for row in table.objects])[rows.object]
        columns["chain"] = _ints([chains[chain] for chain in (*table.chains, *table.borrowed)])[rows.chain]
        parts.append(Rows(**columns))
        owner.append(np.full(len(rows), writer, np.int64))
        entries.append(explicit_names(table, rows, numbering.maps[writer], numbering.names))
    rows = concat(parts)
    writers = np.concatenate(owner)
    names = [entry for part in entries for entry in part]
    dropped = _second_copies(tables, numbering, rows.tensor, writers)
    order, dropped = order_rows(name, rows, numbering, dropped)
    elsewhere = np.array([row.store_key is not None for row in objects] or [False])[rows.object]
    # A second copy that is only a reference has no bytes here that somebody would have to account for.
    order, dropped = order[~(dropped & elsewhere)[order]], dropped & ~elsewhere
    manifest = assemble(name, attempt, numbering, tuple(chains), tuple(objects), rows, order, dropped, names)
    return manifest, numbering.packed


def _ints(values: Sequence[int]) -> Int64s:
    return np.array(values, np.int64)


def _second_copies(
    tables: Mapping[int, ItemTable],
    numbering: Numbering,
    tensor: Int64s,
    writers: Int64s,
) -> npt.NDArray[np.bool_]:
    """Rows of plain tensors that another group of writers stored too; the group of the lowest writer stays."""
    dropped = np.zeros(len(tensor), bool)
    if len({table.group for table in tables.values()}) < 2:
        return dropped
    keeper: dict[int, tuple[int, ...]] = {}
    losers: dict[int, set[int]] = defaultdict(set)
    for writer in sorted(tables):
        group = tables[writer].group
        for local in tables[writer].plain:
            number = int(numbering.maps[writer][local])
            if keeper.setdefault(number, group) != group:
                losers[number].add(writer)
    for number, ranks in losers.items():
        dropped |= (tensor == number) & np.isin(writers, list(ranks))
    return dropped
