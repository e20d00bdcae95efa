"""How the ranks of a live exchange get to know both layouts: three rounds of small tables, then each plans alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_moves import Route
from pyckpt.engine.exchange_tables import (
    LiveTable,
    Placements,
    live_table,
    pack_placements,
    pack_tables,
    squeeze,
    unpack_placements,
    unpack_tables,
    unsqueeze,
)
from pyckpt.engine.fingerprint import groups_of, structure_of
from pyckpt.engine.leaves import BoundItem, ItemState, Piece, Sink
from pyckpt.engine.mismatches import Found, join_findings, pack_findings, unpack_findings
from pyckpt.engine.rounds import round_trip
from pyckpt.engine.slots import Slot, number_leaves
from pyckpt.engine.unite import compare_prints, number_tensors
from pyckpt.errors import StateDiverged
from pyckpt.format.geometry import Ints, Region
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.tree import Node, TensorRef
from pyckpt.format.tree_decode import decode_tree
from pyckpt.format.tree_encode import encode_tree

__all__ = [
    "LiveItem",
    "LiveSource",
    "LiveTargets",
    "Wanted",
    "agree_on_source",
    "agree_on_targets",
    "routes_of",
    "wants_of",
]

ByRank = tuple[tuple[Region, ...], ...]


class Wanted(NamedTuple):
    """A tensor of an item, in the dtype of the memory that it goes to."""

    item: str
    tensor: int
    dtype: str


@dataclass(frozen=True, slots=True)
class LiveItem:
    """One item that the ranks hold together; what a binder sees (``ItemView``), and who holds what."""

    name: str
    kind: str
    tree: Mapping[str | int, Any]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[Ints, ...]
    held: tuple[ByRank, ...]
    """By tensor and rank, the regions."""
    own: tuple[tuple[Piece, ...], ...]
    """By tensor, what this rank holds; the regions are those of ``held``."""
    slots: tuple[Slot, ...]
    """This rank's own tensors."""
    numbers: tuple[int, ...]
    """Of each of them, its number here."""

    def dtype(self, tensor: int) -> str:
        """Dtype of a tensor by its number."""
        return self.dtypes[tensor]

    def shape(self, tensor: int) -> Ints:
        """Global shape of a tensor by its number."""
        return self.shapes[tensor]


@dataclass(frozen=True, slots=True)
class LiveSource:
    """What all ranks hold."""

    items: Mapping[str, LiveItem]
    nodes: tuple[int, ...]
    """By rank, the number of its machine."""


@dataclass(frozen=True, slots=True)
class LiveTargets:
    """What all ranks want."""

    bound: Mapping[str, BoundItem]
    """This rank's items."""
    wanted: Mapping[Wanted, ByRank]
    """Regions by rank, in the same order on all ranks."""
    sinks: Mapping[Wanted, tuple[Sink, ...]]
    """Where the regions of this rank go."""
    differing: Found
    surplus: Found
    notes: tuple[bytes, ...]
    """By rank, what its caller had to say."""


def agree_on_source(
    coordinator: Coordinator, collect: Callable[[], Sequence[ItemState]], *, node: str, replicas: str
) -> LiveSource:
    """What the ranks hold together; ``node`` names this rank's machine.

    Raises StateDiverged where ranks contradict each other (see ``replicas`` of the save options), and whatever
    ``collect`` raises, on all ranks.
    """
    collected: list[tuple[ItemState, tuple[Slot, ...]]] = []

    def describe() -> bytes:
        collected.extend((item, number_leaves(item)) for item in collect())
        data: bytes = msgpack.packb([node, {item.name: structure_of(slots) for item, slots in collected}])
        return data

    def everything(contributions: Sequence[bytes]) -> bytes:
        data: bytes = msgpack.packb(list(contributions))
        return data

    begun = msgpack.unpackb(round_trip(coordinator, "begin", describe, everything))
    answers = [msgpack.unpackb(each) for each in begun]
    order = {name: number for number, name in enumerate(dict.fromkeys(answer[0] for answer in answers))}
    nodes = tuple(order[answer[0]] for answer in answers)

    def tables() -> bytes:
        own = {}
        for item, slots in collected:
            groups = groups_of([answer[1].get(item.name) for answer in answers], coordinator.rank)
            own[item.name] = live_table(item, slots, groups, replicas=replicas)
        return pack_tables(own)

    united = unsqueeze(
        round_trip(coordinator, "source", tables, lambda each: _unite([unpack_tables(data) for data in each], replicas))
    )
    leaves = {item.name: slots for item, slots in collected}
    known: dict[tuple[int, ...], Region] = {}
    items = {
        name: _live_item(name, fields, leaves.get(name, ()), coordinator, known)
        for name, fields in msgpack.unpackb(united, strict_map_key=False).items()
    }
    return LiveSource(items, nodes)


def _unite(tables: Sequence[Mapping[str, LiveTable]], replicas: str) -> bytes:
    out = {}
    known: dict[tuple[int, ...], Region] = {}
    for name in dict.fromkeys(name for own in tables for name in own):
        own = {rank: each[name] for rank, each in enumerate(tables) if name in each}
        kinds = {table.kind for table in own.values()}
        if len(kinds) > 1:
            raise StateDiverged("state.diverged", f"ranks say it is {' and '.join(sorted(kinds))}", key=name)
        numbering = number_tensors(name, own)
        compare_prints(name, own, numbering)
        tree = numbering.packed or pack(encode_tree(numbering.tree, tensor_index=_reference))
        held: list[bytes] = []
        numbers: list[list[int]] = []
        taken: set[int] = set()
        for rank in range(len(tables)):
            table = own.get(rank)
            numbers.append([] if table is None else numbering.maps[rank].tolist())
            if table is None:
                held.append(pack_placements(()))
                continue
            placements: Placements = unpack_placements(table.held, known)
            if replicas == "first":
                # The lowest rank's copy of a plain tensor counts, and no other.
                plain = {numbers[-1][local] for local in table.plain}
                placements = [each for each in placements if numbers[-1][each[0]] not in plain & taken]
                taken |= plain
            held.append(pack_placements((numbers[-1][local], region) for local, region in placements))
        shapes = [list(shape) for shape in numbering.shapes]
        out[name] = [kinds.pop(), tree, list(numbering.names), list(numbering.dtypes), shapes, held, numbers]
    return squeeze(msgpack.packb(out))


def _reference(leaf: object) -> int | None:
    return leaf.index if isinstance(leaf, TensorRef) else None


def _live_item(
    name: str, fields: list[Any], slots: Sequence[Slot], coordinator: Coordinator, known: dict[tuple[int, ...], Region]
) -> LiveItem:
    kind, tree, names, dtypes, shapes, held, numbers = fields
    by_tensor: list[list[list[Region]]] = [[[] for _ in range(coordinator.size)] for _ in names]
    for rank, data in enumerate(held):
        for tensor, region in unpack_placements(data, known):
            by_tensor[tensor][rank].append(region)
    own: list[tuple[Piece, ...]] = [()] * len(names)
    for slot, number in zip(slots, numbers[coordinator.rank], strict=True):
        # A copy that does not count (another rank's does) has no region here.
        if by_tensor[number][coordinator.rank]:
            own[number] = slot.leaf.pieces
    decoded: Node = decode_tree(tree)
    return LiveItem(
        name,
        kind,
        decoded,
        tuple(names),
        tuple(dtypes),
        tuple(map(tuple, shapes)),
        tuple(tuple(map(tuple, ranks)) for ranks in by_tensor),
        tuple(own),
        tuple(slots),
        tuple(numbers[coordinator.rank]),
    )


def agree_on_targets(
    coordinator: Coordinator,
    bind: Callable[[], Mapping[str, BoundItem]],
    dtype_of: Callable[[Sink], str],
    note: Callable[[Mapping[str, BoundItem]], bytes] = lambda _: b"",
) -> LiveTargets:
    """What every rank wants, by what ``bind`` gives on each, and what every rank notes of it.

    Whatever these raise is raised on all ranks.
    """
    bound: dict[str, BoundItem] = {}
    sinks: dict[Wanted, tuple[Sink, ...]] = {}

    def contribute() -> bytes:
        bound.update(bind())
        regions, memory = wants_of(bound, dtype_of)
        sinks.update(memory)
        wants = [[*key, pack_placements((key.tensor, region) for region in own)] for key, own in regions.items()]
        data: bytes = msgpack.packb([pack_findings(bound), wants, note(bound)])
        return squeeze(data)

    def join(contributions: Sequence[bytes]) -> bytes:
        each = [msgpack.unpackb(unsqueeze(data)) for data in contributions]
        findings, wants, notes = zip(*each, strict=True)
        return squeeze(msgpack.packb([join_findings(findings), wants, notes]))

    findings, by_rank, notes = msgpack.unpackb(unsqueeze(round_trip(coordinator, "bind", contribute, join)))
    differing, surplus = unpack_findings(findings)
    wanted: dict[Wanted, list[tuple[Region, ...]]] = {}
    known: dict[tuple[int, ...], Region] = {}
    for rank, wants in enumerate(by_rank):
        for item, tensor, dtype, placements in wants:
            ranks = wanted.setdefault(Wanted(item, tensor, dtype), [()] * coordinator.size)
            ranks[rank] = tuple(region for _, region in unpack_placements(placements, known))
    return LiveTargets(
        bound,
        {key: tuple(wanted[key]) for key in sorted(wanted)},
        sinks,
        differing,
        surplus,
        tuple(notes),
    )


def wants_of(
    bound: Mapping[str, BoundItem], dtype_of: Callable[[Sink], str]
) -> tuple[dict[Wanted, tuple[Region, ...]], dict[Wanted, tuple[Sink, ...]]]:
    """What one rank wants: regions, and where each of them goes."""
    regions: dict[Wanted, list[Region]] = defaultdict(list)
    sinks: dict[Wanted, list[Sink]] = defaultdict(list)
    for item, each in bound.items():
        for request in each.requests:
            for region, sink in request.target.pieces:
                key = Wanted(item, request.tensor, dtype_of(sink))
                regions[key].append(region)
                sinks[key].append(sink)
    return (
        {key: tuple(each) for key, each in regions.items()},
        {key: tuple(each) for key, each in sinks.items()},
    )


def routes_of(source: LiveSource, targets: LiveTargets, wire_bits: Callable[[str, str], int]) -> list[Route]:
    """The routes of everything that is wanted, in the order of ``targets.wanted``.

    ``wire_bits(stored, wanted)`` gives the bits of an element on the wire for two dtypes.
    """
    routes = []
    for key, want in targets.wanted.items():
        live = source.items[key.item]
        name = f"{key.item}/{live.names[key.tensor]}"
        bits = wire_bits(live.dtypes[key.tensor], key.dtype)
        routes.append(Route(name, live.shapes[key.tensor], live.held[key.tensor], want, bits))
    return routes
