"""The part of an asynchronous save that goes on in the background: the whole conversation, over a state that was taken.

Planning is part of it, so that the call waits for nobody: who writes which replica is known only once all ranks have
spoken. The price is that each rank copies all it holds, also what another one will write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial

from pyckpt.engine.background import SaveHandle
from pyckpt.engine.commit import Assets
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.save import Program, Request, save
from pyckpt.engine.snapshot import Snapshot
from pyckpt.storage.base import Store

__all__ = ["save_snapshot"]

LARGE_WARNING = (
    "the call waited until {live} bytes were written, for only {copied} fitted into staging_bytes: raise it if the "
    "host has the memory"
)


def save_snapshot(
    store: Store,
    name: str,
    taken: Snapshot | BaseException,
    metadata: Mapping[str, object] | None = None,
    assets: Assets | None = None,
    *,
    coordinator: Coordinator,
    options: SaveOptions,
    program: Program,
    handle: SaveHandle,
    after: SaveHandle | None,
) -> SaveReport:
    """Saves what was taken, or tells the other ranks why there is nothing.

    It is committed when the save ``after`` has ended: in any other order an older state would be the newest checkpoint.
    Gives the memory back and ends the conversation. Raises what ``save`` raises.
    """

    def collect() -> Sequence[ItemState]:
        if isinstance(taken, BaseException):
            raise taken
        return taken.items

    blocks = isinstance(taken, Snapshot) and taken.live > 0
    turn = None if after is None else partial(wait, [after.committed])
    release = handle.release if blocks else None
    request = Request(collect, metadata or {}, assets or {}, program, release=release, turn=turn)
    try:
        report = save(store, name, request, options=options, coordinator=coordinator)
    finally:
        if isinstance(taken, Snapshot):
            taken.loan.close()
        coordinator.close()
    if isinstance(taken, BaseException):
        raise taken
    warnings = report.warnings
    if blocks:
        warnings += (LARGE_WARNING.format(live=taken.live, copied=taken.copied),)
    return replace(report, warnings=warnings, copied=taken.copied, blocked=handle.blocked, seconds=handle.seconds())
