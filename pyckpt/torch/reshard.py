"""Tensors from one live layout into another, without storage between: planned once, executed any number of times."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import torch
import torch.distributed as dist

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_agree import (
    LiveTargets,
    Wanted,
    agree_on_source,
    agree_on_targets,
    routes_of,
    wants_of,
)
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.exchange_text import describe
from pyckpt.engine.exchange_waves import schedule_of
from pyckpt.engine.leaves import BoundItem, ItemState, Piece, Sink
from pyckpt.engine.options import ReshardOptions
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import Finding, StateMismatch, UsageError
from pyckpt.format.dtypes import dtype_of
from pyckpt.torch.bind import BindOptions, ObjectBinder
from pyckpt.torch.collect import collect
from pyckpt.torch.dtypes import torch_dtype
from pyckpt.torch.exchange import Exchange, wire_dtype
from pyckpt.torch.group import coordinator_for
from pyckpt.torch.leaf import KnownLeaves
from pyckpt.torch.live_changes import pieces_now, refuse_other_wants
from pyckpt.torch.live_memory import Part, has_accelerator, refuse_shared_memory, sink_dtype, tensor_of, tensors_of
from pyckpt.torch.step_gate import step_gate
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
    """From the moment that all ranks were ready."""


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
    has at that moment. Tensors of the state or the target that were replaced since are found again. Plain values
    (options, counters that are no tensors) are those of the time of planning.
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
        self._group = group
        self._state = {} if state is None else as_items(state)
        self._single = is_single(state) if state is not None else is_single(target)
        self._wire = Wire(group)
        self._leaves = KnownLeaves()
        self._values: dict[str, Any] = {}
        coordinator = self._coordinator("plan a reshard")
        self._rank, self._size = coordinator.rank, coordinator.size
        try:
            self._source = agree_on_source(
                coordinator, self._collect, node=socket.gethostname(), replicas=self._options.replicas
            )
            self._targets = self._agree_on_targets(coordinator, target)
            device = self._agree_on_plan(coordinator)
            sources = [self._source.items[key.item].own[key.tensor] for key in self._targets.wanted]
            # Memory for the buffers is made now: who has none must say so before anybody sends.
            round_trip(coordinator, "buffers", lambda: self._bind(device, sources), lambda _: b"")
        finally:
            coordinator.close()

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

        Raises StateMismatch on ranks where the layout of the state or the target is not the one that was planned for,
        and RankError on all others; nothing has moved then. RankError too if a rank dies or leaves.
        """
        coordinator = self._coordinator(f"run a reshard of {len(self._targets.wanted)} tensors")
        try:
            round_trip(coordinator, "ready", self._refresh, lambda _: b"")
            begin = time.perf_counter()
            sent, received = self._wire.sent, self._wire.received
            round_trip(coordinator, "move", lambda: self._move(coordinator), lambda _: b"")
            self._values = {item: bound.finish() for item, bound in self._bound.items()}
        finally:
            coordinator.close()
        return ReshardReport(
            len(self._targets.wanted),
            self._wire.sent - sent,
            self._wire.received - received,
            self.plan.waves,
            self._exchange.buffer_bytes,
            self._schedule.peak_bytes,
            time.perf_counter() - begin,
        )

    def _move(self, coordinator: Coordinator) -> bytes:
        # A save in the background may still read them.
        step_gate.before_change(tensors_of(self._bound))
        with self._wire.watched(coordinator):
            self._exchange.run()
        return b""

    def _coordinator(self, subject: str) -> Coordinator:
        if self._group is not None and dist.get_rank(self._group) < 0:
            raise UsageError(
                "usage.invalid", "this process is not in the group", hint="only the ranks of the group make the call"
            )
        return coordinator_for(
            subject,
            collective=None,
            timeout=self._options.timeout,
            silence=self._options.silence,
            group=self._group,
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
            self._binders = target_binders(target, items, options, dtype=None if is_rule else wanted)
            self._bound = {name: binder.bind(items[name]) for name, binder in self._binders.items()}
            return self._bound

        targets = agree_on_targets(coordinator, bind, sink_dtype)
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

    def _agree_on_plan(self, coordinator: Coordinator) -> torch.device:
        """Plans, and says where messages lie; an accelerator's communicator is made now, by all ranks."""
        budget = self._options.budget_bytes

        def plan() -> bytes:
            routes = routes_of(self._source, self._targets, _wire_bits)
            self.plan = plan_exchange(routes, nodes=self._source.nodes, budget=budget)
            self._schedule = schedule_of(self.plan, self._rank)
            sources, targets = self._memory()
            refuse_shared_memory(sources, targets)
            on_device = has_accelerator(tensor for _, tensor in (*sources, *targets))
            data: bytes = msgpack.packb([budget, on_device])
            return data

        def compare(contributions: Sequence[bytes]) -> bytes:
            budgets, on_device = zip(*map(msgpack.unpackb, contributions), strict=True)
            if len(set(budgets)) > 1:
                raise UsageError("usage.invalid", f"budget_bytes differs between ranks: {list(budgets)}")
            return bytes([any(on_device)])

        accelerated = round_trip(coordinator, "plan", plan, compare) == b"\1"
        return open_wire(self._group, self._size, accelerated=accelerated)

    def _memory(self) -> tuple[list[Part], list[Part]]:
        """What this rank holds and what it wants, with the place of each in the whole."""
        sources: list[Part] = [
            ((name, number, piece.region), tensor_of(piece.source))
            for name, item in self._source.items.items()
            for number, own in enumerate(item.own)
            for piece in own
        ]
        targets: list[Part] = [
            ((key.item, key.tensor, region), tensor_of(sink))
            for key, sinks in self._targets.sinks.items()
            for region, sink in zip(self._targets.wanted[key][self._rank], sinks, strict=True)
        ]
        return sources, targets

    def _bind(self, device: torch.device, held: Sequence[Sequence[Piece]]) -> bytes:
        stored = [torch_dtype(self._source.items[key.item].dtypes[key.tensor]) for key in self._targets.wanted]
        dtypes = [
            wire_dtype(one, torch_dtype(key.dtype)) for one, key in zip(stored, self._targets.wanted, strict=True)
        ]
        ends = self._ends(held, self._targets.sinks)
        self._exchange = Exchange(self._schedule, self._wire, device, dtypes, *ends)
        return b""

    def _ends(
        self, held: Sequence[Sequence[Piece]], sinks: Mapping[Wanted, Sequence[Sink]]
    ) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
        """By route, the tensors that are read and those that are filled."""
        sources = [[tensor_of(piece.source) for piece in pieces] for pieces in held]
        return sources, [[tensor_of(sink) for sink in sinks.get(key, ())] for key in self._targets.wanted]

    def _refresh(self) -> bytes:
        """Looks state and target up again: what was replaced since (not just changed) is bound anew."""
        pieces = pieces_now(self._source, self._collect())
        fresh = {
            name: binder.bind(self._source.items[name])
            for name, binder in self._binders.items()
            if isinstance(binder, ObjectBinder)
        }
        bound = {**self._bound, **fresh}
        wants, sinks = wants_of(bound, sink_dtype)
        refuse_other_wants(self._source, self._targets, self._rank, wants)
        self._bound = bound
        held = [pieces.get((key.item, key.tensor), ()) for key in self._targets.wanted]
        self._exchange.bind(*self._ends(held, sinks))
        return b""


def _wire_bits(stored: str, wanted: str) -> int:
    return min(dtype_of(stored).bits, dtype_of(wanted).bits)
