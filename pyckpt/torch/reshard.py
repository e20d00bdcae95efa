"""Tensors from one live layout into another, without storage between: planned once, executed any number of times."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_agree import LiveTargets, agree_on_source, agree_on_targets, routes_of
from pyckpt.engine.exchange_moves import ExchangePlan
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.exchange_text import describe
from pyckpt.engine.exchange_waves import Schedule, schedule_of
from pyckpt.engine.leaves import BoundItem, ItemState, Piece
from pyckpt.engine.options import ReshardOptions
from pyckpt.engine.slots import number_leaves
from pyckpt.errors import Finding, StateMismatch
from pyckpt.format.dtypes import dtype_of
from pyckpt.torch.bind import BindOptions
from pyckpt.torch.collect import collect
from pyckpt.torch.dtypes import torch_dtype
from pyckpt.torch.exchange import Exchange, wire_dtype
from pyckpt.torch.group import coordinator_for
from pyckpt.torch.leaf import KnownLeaves
from pyckpt.torch.live_memory import (
    has_accelerator,
    refuse_shared_memory,
    same_memory,
    sink_dtype,
    tensor_of,
    tensors_of,
)
from pyckpt.torch.targets import SINGLE, as_items, is_single, target_binders
from pyckpt.torch.wire import Wire, open_wire

__all__ = ["ReshardReport", "Resharder", "reshard"]


@dataclass(frozen=True, slots=True)
class ReshardReport:
    """One execution on this rank. Sizes in bytes, times in seconds."""

    tensors: int
    sent: int
    """Handed to the process group."""
    received: int
    waves: int
    buffers: int
    """Memory of the wire buffers, which is all that an exchange needs beside its source and target."""
    planned_buffers: int
    """What the plan allows for them."""
    seconds: float


def reshard(
    state: Any,
    target: Any,
    *,
    group: dist.ProcessGroup | None = None,
    options: ReshardOptions | None = None,
) -> Any:
    """The tensors of ``state`` in the layout that ``target`` says, moved between the ranks of ``group``.

    ``state`` is a module, a tree of tensors and DTensors, or a mapping of items as in ``save``; None on a rank that
    holds nothing. ``target`` is one of

    - objects to fill in place: a module, a tree of tensors, a mapping of items; None on a rank that wants nothing;
    - ``{name or pattern: (mesh, placements)}`` (or ``pyckpt.Declared`` regions): tensors are made anew;
    - ``"whole"``: every tensor whole on one rank, bytes dealt evenly.

    All ranks of the group call it together. Gives the filled objects, or the new tensors in the state's own nesting.
    Raises StateMismatch (``findings`` has all), StateDiverged, UsageError, RankError; nothing has moved then, except
    after a RankError.
    """
    resharder = Resharder(state, target, group=group, options=options)
    resharder.run()
    return resharder.value


class Resharder:
    """An exchange between two layouts that is planned once and executed again and again.

    For weights that change hands every step: buffers and views are kept, and ``run`` moves the values that the state
    has at that moment. Plain values (options, counters that are no tensors) are those of the time of planning.
    """

    def __init__(
        self,
        state: Any,
        target: Any,
        *,
        group: dist.ProcessGroup | None = None,
        options: ReshardOptions | None = None,
    ) -> None:
        """See ``reshard`` for the arguments. All ranks of the group call it together; nothing moves yet."""
        self._options = options or ReshardOptions()
        self._state = {} if state is None else as_items(state)
        self._single = is_single(state) if state is not None else is_single(target)
        coordinator = coordinator_for(
            "reshard", collective=None, timeout=self._options.timeout, silence=self._options.silence, group=group
        )
        self._rank, self._size = coordinator.rank, coordinator.size
        self._leaves = KnownLeaves()
        try:
            self._source = agree_on_source(
                coordinator, self._collect, node=socket.gethostname(), replicas=self._options.replicas
            )
            self._targets = self._agree_on_targets(coordinator, target)
            routes = routes_of(self._source, self._targets, _wire_bits)
            self.plan: ExchangePlan = plan_exchange(
                routes, nodes=self._source.nodes, budget=self._options.budget_bytes
            )
            self._schedule: Schedule = schedule_of(self.plan, self._rank)
            self._wire = Wire(group)
            self._device = open_wire(group, self._size, accelerated=b"\1" in self._targets.notes)
        finally:
            coordinator.close()
        held = [self._source.items[key.item].own[key.tensor] for key in self._targets.wanted]
        self._exchange = self._bind([[tensor_of(piece.source) for piece in own] for own in held])
        self._values: dict[str, Any] = {}

    @property
    def value(self) -> Any:
        """What ``target`` asked for: the filled objects or the new tensors, by item where the state has items."""
        if self._single and set(self._values) <= {SINGLE}:
            return self._values.get(SINGLE)
        return self._values

    def describe(self) -> str:
        """The plan for people: bytes per pair of ranks, per rank, and the peak of memory."""
        return describe(self.plan)

    def run(self) -> ReshardReport:
        """Moves the values; all ranks of the group call it together.

        Raises StateMismatch if the layout of the state is not the one that was planned for.
        """
        begin = time.perf_counter()
        if self._values:
            self._refresh()
        sent, received = self._wire.sent, self._wire.received
        self._exchange.run()
        self._values = {item: bound.finish() for item, bound in self._targets.bound.items()}
        return ReshardReport(
            len(self._targets.wanted),
            self._wire.sent - sent,
            self._wire.received - received,
            self.plan.waves,
            self._exchange.buffer_bytes,
            self._schedule.peak_bytes,
            time.perf_counter() - begin,
        )

    def _collect(self) -> Sequence[ItemState]:
        layout = self._options.layout or None
        return collect(self._state, rank=self._rank, world_size=self._size, layout=layout, seen=self._leaves)

    def _agree_on_targets(self, coordinator: Coordinator, target: Any) -> LiveTargets:
        wanted = self._options.dtype
        is_rule = isinstance(wanted, str)
        options = BindOptions(
            strict=self._options.strict,
            map_key=self._options.map_key,
            dtype=wanted if isinstance(wanted, str) else "cast",  # type: ignore[arg-type]
            per_rank=self._options.on_resize,
            rank=self._rank,
            world_size=self._size,
            layout=self._options.into_layout or None,
            device=self._options.device,
        )

        def bind() -> Mapping[str, BoundItem]:
            items = self._source.items
            binders = target_binders(target, items, options, dtype=None if is_rule else wanted)
            return {name: binder.bind(items[name]) for name, binder in binders.items()}

        targets = agree_on_targets(coordinator, bind, sink_dtype, self._look_at_memory)
        found = targets.differing + targets.surplus if self._options.strict else targets.differing
        if found:
            findings = [
                Finding(each.code, f"{item}/{each.key}", each.message.replace("the checkpoint", "the state"))
                for item, each in found
            ]
            raise StateMismatch(
                "state.mismatch",
                f"{len(findings)} things differ between state and target; nothing was moved",
                hint="ReshardOptions(strict=False) leaves names aside, map_key= renames, dtype= casts",
                findings=findings,
            )
        return targets

    def _look_at_memory(self, bound: Mapping[str, BoundItem]) -> bytes:
        """Whether a tensor here is on an accelerator. Raises UsageError for memory that is source and target."""
        own = (pieces for item in self._source.items.values() for pieces in item.own)
        sources = [tensor_of(piece.source) for pieces in own for piece in pieces]
        targets = tensors_of(bound)
        refuse_shared_memory(sources, targets)
        return bytes([has_accelerator((*sources, *targets))])

    def _bind(self, sources: list[list[torch.Tensor]]) -> Exchange:
        targets, dtypes = [], []
        for key in self._targets.wanted:
            stored = torch_dtype(self._source.items[key.item].dtypes[key.tensor])
            dtypes.append(wire_dtype(stored, torch_dtype(key.dtype)))
            targets.append([tensor_of(sink) for sink in self._targets.sinks.get(key, ())])
        self._sources = sources
        return Exchange(self._schedule, self._wire, self._device, dtypes, sources, targets)

    def _refresh(self) -> None:
        """Looks the state up again: what was replaced since (not just changed) is bound anew."""
        found = {item.name: number_leaves(item) for item in self._collect()}
        fresh = []
        for key in self._targets.wanted:
            live = self._source.items[key.item]
            planned = live.own[key.tensor]
            pieces: tuple[Piece, ...] = ()
            if planned:
                slots = found.get(key.item, ())
                local = live.numbers.index(key.tensor)
                pieces = slots[local].leaf.pieces if local < len(slots) else ()
            if [piece.region for piece in planned] != [piece.region for piece in pieces]:
                raise StateMismatch(
                    "state.mismatch",
                    "the state holds other regions of it than when the exchange was planned",
                    key=f"{key.item}/{live.names[key.tensor]}",
                    hint="make a new Resharder when the layout changes",
                )
            fresh.append([tensor_of(piece.source) for piece in pieces])
        pairs = [pair for old, new in zip(self._sources, fresh, strict=True) for pair in zip(old, new, strict=True)]
        if not all(same_memory(old, new) for old, new in pairs):
            self._exchange = self._bind(fresh)


def _wire_bits(stored: str, wanted: str) -> int:
    return min(dtype_of(stored).bits, dtype_of(wanted).bits)
