"""One tree and one numbering of tensors for all ranks, from what each says of its own; or who contradicts whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pyckpt.engine.assemble import WAYS_OUT, Numbering
from pyckpt.engine.fingerprint import ROW
from pyckpt.engine.rows import Int64s
from pyckpt.errors import Finding, StateDiverged
from pyckpt.format.geometry import Ints
from pyckpt.format.names import entry_name
from pyckpt.format.tree import Node, Path, TensorRef, map_leaves, path_text, walk
from pyckpt.format.tree_decode import decode_tree
from pyckpt.format.tree_union import missing_indices, union_trees

__all__ = ["Described", "compare_prints", "number_tensors"]


class Described(Protocol):
    """One rank's description of an item: its tree and its tensors under numbers of its own."""

    @property
    def tree(self) -> bytes:
        """MessagePack of the rank's tree."""

    @property
    def indexed(self) -> bool:
        """Whether the tree has values per rank, of which this rank has only its own."""

    @property
    def names(self) -> tuple[str, ...]:
        """Entry names of the tensors."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Dtypes of the tensors."""

    @property
    def shapes(self) -> tuple[Ints, ...]:
        """Global shapes of the tensors."""

    @property
    def prints(self) -> bytes:
        """Fingerprints, see ``engine.fingerprint``."""


def number_tensors(name: str, tables: Mapping[int, Described]) -> Numbering:
    """The united tree of an item. Raises StateDiverged with all paths and ranks that disagree."""
    writers = list(tables)
    first = tables[writers[0]]
    same = all(
        table.tree == first.tree and table.dtypes == first.dtypes and table.shapes == first.shapes
        for table in tables.values()
    )
    if same and not first.indexed:
        identity = np.arange(len(first.names), dtype=np.int64)
        return Numbering(None, first.tree, first.names, first.dtypes, first.shapes, dict.fromkeys(writers, identity))
    return _unite(name, tables)


def compare_prints(name: str, tables: Mapping[int, Described], numbering: Numbering) -> None:
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
        sides = " | ".join(_ranks(side) for side in by_print.values())
        findings.append(
            Finding("state.diverged", f"{name}/{numbering.names[tensor]}", f"different values on: {sides}")
        )
    raise StateDiverged(
        "state.diverged",
        f"{len(findings)} tensors that several ranks claim to hold differ between them",
        key=name,
        hint=WAYS_OUT,
        findings=findings,
    )


def _unite(name: str, tables: Mapping[int, Described]) -> Numbering:
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
    renumbered = [
        (writer, map_leaves(tree, lambda path, leaf: _renumbered(leaf, number_of, path))) for writer, tree in trees
    ]
    try:
        united = union_trees(renumbered)
    except StateDiverged as error:
        raise StateDiverged(
            error.code,
            error.message,
            key=name,
            hint=WAYS_OUT,
            findings=[Finding(each.code, f"{name}/{each.key}", each.message) for each in error.findings],
        ) from None
    holes = [Finding("state.diverged", f"{name}/{path_text(path)}", text) for path, text in missing_indices(united)]
    if holes:
        raise StateDiverged("state.diverged", "values by index that no writer holds", key=name, findings=holes)
    names = tuple(map(entry_name, paths))
    return Numbering(united, None, names, tuple(fact[0] for fact in facts), tuple(fact[1] for fact in facts), maps)


def _renumbered(leaf: Node, number_of: Mapping[Path, int], path: Path) -> Node:
    return TensorRef(number_of[path]) if isinstance(leaf, TensorRef) else leaf


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
