"""The part of an asynchronous save that goes on in the background: the whole conversation, over a state that was taken.

Planning is part of it, so that the call waits for nobody: who writes which replica is known only once all ranks have
spoken. The price is that each rank copies all it holds, also what another one will write. So is the word of a rank that
would rather skip the save: the others have copied their state by then, and drop it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from pyckpt.engine.background import SaveHandle
from pyckpt.engine.carry import Sources
from pyckpt.engine.commit import Assets
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.options import Progress, SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.save import Program, Request, SaveSkipped, save
from pyckpt.engine.snapshot import Snapshot
from pyckpt.storage.base import Store

__all__ = ["Taken", "save_snapshot"]

LARGE_WARNING = (
    "the call waited until {live} bytes were written, for only {copied} fitted into staging_bytes: raise it if the "
    "host has the memory"
)

Taken: TypeAlias = Snapshot | BaseException | None
"""A state, or why there is none; None: enough saves are in flight."""


def save_snapshot(
    store: Store,
    name: str,
    taken: Taken,
    metadata: Mapping[str, object] | None = None,
    assets: Assets | None = None,
    carry: Sources | None = None,
    *,
    coordinator: Coordinator,
    options: SaveOptions,
    program: Program,
    handle: SaveHandle,
    after: SaveHandle | None,
) -> SaveReport:
    """Saves what was taken, or tells the other ranks why there is nothing.

    Copies first what is still to be copied. It is committed when the save ``after`` has ended: in any other order an
    older state would be the newest checkpoint. Gives the memory back and ends the conversation. Raises what ``save``
    raises.
    """

    def collect() -> Sequence[ItemState] | None:
        if isinstance(taken, BaseException):
            raise taken
        if taken is None:
            return None
        if taken.late is not None:
            taken.late.run()
            handle.release()
        return taken.items

    blocks = isinstance(taken, Snapshot) and taken.live > 0
    turn = None if after is None else partial(wait, [after.committed])
    release = handle.release if blocks else None
    request = Request(collect, metadata or {}, assets or {}, program, release=release, turn=turn, carry=carry or {})
    options = replace(options, progress=_both(handle.note, options.progress))
    try:
        report = save(store, name, request, options=options, coordinator=coordinator)
    except SaveSkipped:
        handle.skip()
        raise
    finally:
        if isinstance(taken, Snapshot):
            taken.close()
        coordinator.close()
    if not isinstance(taken, Snapshot):
        raise taken or SaveSkipped("save.aborted", "nothing was given to save", key=name)
    warnings = report.warnings
    if blocks:
        warnings += (LARGE_WARNING.format(live=taken.live, copied=taken.copied),)
    late = taken.late
    return replace(
        report,
        warnings=warnings,
        copied=taken.copied,
        copied_late=0 if late is None else late.nbytes,
        blocked=handle.blocked + (0.0 if late is None else late.blocked),
        seconds=handle.seconds(),
    )


def _both(one: Progress, other: Progress | None) -> Progress:
    def report(done: int, total: int) -> None:
        one(done, total)
        if other is not None:
            other(done, total)

    return report
