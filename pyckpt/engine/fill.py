"""From opened items to filled targets: mismatches of all ranks before anything is touched, then the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_agree import LiveTargets, agree_on_targets
from pyckpt.engine.leaves import Binder, BoundItem
from pyckpt.engine.load_items import Reading, StoredItem
from pyckpt.engine.load_shared import Exchanger, SharedLoad, is_worth_sharing, plan_shared_load, wants_in_short
from pyckpt.engine.mismatches import Found, join_findings, pack_findings, refuse_mismatches, unpack_findings
from pyckpt.engine.options import LoadOptions
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import Finding
from pyckpt.storage.base import Store

__all__ = ["Filled", "fill"]


@dataclass(frozen=True, slots=True)
class Filled:
    """What was done on this rank. Sizes in bytes."""

    values: Mapping[str, Any]
    """Per item what its binder's ``finish`` returned."""
    tensors: int
    bytes: int
    """Bytes that arrived in tensors."""
    read: int
    """Bytes read from the store."""
    skipped: tuple[Finding, ...]
    """What a load that is not strict left aside."""
    staging: int
    """The most bytes of staging buffers in use at once."""
    exchanged: bool
    """Whether what several ranks wanted was read by one of them and passed on."""


def fill(
    store: Store,
    items: Mapping[str, StoredItem],
    binders: Mapping[str, Binder],
    *,
    name: str,
    options: LoadOptions,
    coordinator: Coordinator,
    check: Callable[[], None] = lambda: None,
    exchanger: Exchanger | None = None,
) -> Filled:
    """Fills what ``binders`` want from the items of the same names; ``name`` says in messages where those come from.

    Nothing is changed before every rank has found that its targets fit. A failure on one rank, at any time, is raised
    on all. Rank 0 calls ``check`` before anything is bound. With an ``exchanger``, ranks that want the same may read it
    once. Raises StateMismatch (``findings`` has them all), Corrupt, Unsupported, RankError, StoreError.
    """

    def bind() -> dict[str, BoundItem]:
        if coordinator.rank == 0:
            check()
        return {item: binder.bind(items[item]) for item, binder in binders.items()}

    targets: LiveTargets | None = None
    if exchanger is None or coordinator.size == 1 or options.replicas == "read":
        bound, differing, surplus, _ = _bind(coordinator, bind)
    elif options.replicas == "exchange":
        targets = agree_on_targets(coordinator, bind, exchanger.dtype_of, exchanger.note)
        bound, differing, surplus = targets.bound, targets.differing, targets.surplus
    else:
        # Who wants what, of all ranks, is a lot to say where there are many: only if there is something to gain.
        short = partial(wants_in_short, items=items, exchanger=exchanger)
        # A local file is in its machine's page cache for all ranks there: to pass bytes on costs more than a copy.
        machine = exchanger.machine() if store.parallel_writes else None
        bound, differing, surplus, is_worth_it = _bind(coordinator, bind, short, machine)
        if is_worth_it and not differing:
            targets = agree_on_targets(coordinator, lambda: bound, exchanger.dtype_of, exchanger.note)
    refuse_mismatches(name, differing + surplus if options.strict else differing)
    stagings = {item: each.staging for item, each in bound.items()}
    reading = Reading(store, items, options)
    shared: SharedLoad | None = None

    def plan() -> SharedLoad | None:
        if exchanger is None or targets is None:
            return None
        try:
            return plan_shared_load(targets, items, exchanger, coordinator, always=options.replicas == "exchange")
        except BaseException as error:
            # The others may be in the exchange already, and wait for this rank there.
            coordinator.abandon(str(error))
            raise

    def read() -> bytes:
        nonlocal shared
        shared = plan()
        if shared is None:
            reading.run({item: each.requests for item, each in bound.items()}, stagings)
        else:
            wanted = shared.requests
            shared.run(lambda: reading.run(wanted, stagings))
        return b""

    round_trip(coordinator, "read", read, lambda _: b"")
    values = {item: each.finish() for item, each in bound.items()}
    skipped = tuple(finding for each in bound.values() for finding in each.skipped)
    skipped += tuple(finding for _, finding in surplus)
    placed = [request for each in bound.values() for request in each.requests]
    arrived = sum(sink.nbytes for request in placed for _, sink in request.target.pieces)
    return Filled(values, len(placed), arrived, reading.fetched, skipped, reading.staging, shared is not None)


def _bind(
    coordinator: Coordinator,
    bind: Callable[[], Mapping[str, BoundItem]],
    in_short: Callable[[Mapping[str, BoundItem]], bytes] = lambda _: b"",
    machine: str | None = None,
) -> tuple[Mapping[str, BoundItem], Found, Found, bool]:
    """This rank's items, the mismatches of all ranks, and whether what they want is worth sharing.

    It is not if all ranks are on one ``machine`` that has the files; None where that makes no difference.
    """
    bound: dict[str, BoundItem] = {}

    def contribute() -> bytes:
        bound.update(bind())
        data: bytes = msgpack.packb([pack_findings(bound), in_short(bound), machine])
        return data

    def join(contributions: Sequence[bytes]) -> bytes:
        findings, wants, machines = zip(*map(msgpack.unpackb, contributions), strict=True)
        apart = machine is None or len(set(machines)) > 1
        data: bytes = msgpack.packb([join_findings(findings), apart and is_worth_sharing(wants)])
        return data

    findings, is_worth_it = msgpack.unpackb(round_trip(coordinator, "bind", contribute, join))
    return bound, *unpack_findings(findings), is_worth_it
