"""From opened items to filled targets: mismatches of all ranks before anything is touched, then the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_agree import agree_on_targets
from pyckpt.engine.leaves import Binder, BoundItem
from pyckpt.engine.load_items import Reading, StoredItem
from pyckpt.engine.load_shared import Exchanger, SharedLoad, plan_shared_load
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

    if exchanger is None or coordinator.size == 1 or options.replicas == "read":
        bound, differing, surplus = _bind_alone(coordinator, bind)
        targets = None
    else:
        targets = agree_on_targets(coordinator, bind, exchanger.dtype_of, exchanger.note)
        bound, differing, surplus = targets.bound, targets.differing, targets.surplus
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


def _bind_alone(
    coordinator: Coordinator, bind: Callable[[], Mapping[str, BoundItem]]
) -> tuple[Mapping[str, BoundItem], Found, Found]:
    """This rank's items, and the mismatches of all ranks."""
    bound: dict[str, BoundItem] = {}

    def contribute() -> bytes:
        bound.update(bind())
        return pack_findings(bound)

    differing, surplus = unpack_findings(round_trip(coordinator, "bind", contribute, join_findings))
    return bound, differing, surplus
