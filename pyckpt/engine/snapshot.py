"""The bytes of a state, copied to host memory of ours: what is saved no longer depends on what training does next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from pyckpt.engine.buffers import copy_bytes
from pyckpt.engine.futures import run_all
from pyckpt.engine.late_copy import LateCopy, LateState, seen
from pyckpt.engine.leaves import ItemState, Piece, Source, TensorLeaf
from pyckpt.engine.memory import MemorySource
from pyckpt.engine.slots import number_leaves
from pyckpt.engine.staging_memory import ALIGNMENT, Allocate, Loan, StagingMemory
from pyckpt.format.tree import Path, map_leaves

__all__ = ["LIVE", "STAGED", "Snapshot", "take_snapshot"]

LIVE, STAGED = 0, 1
"""Stages of leaves where not all could be copied: read from the state itself, and from the copy."""
JOB_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Items whose tensors lie in memory of ours, or for want of it still in the state."""

    items: tuple[ItemState, ...]
    copied: int
    """Bytes that are copied, at once or late."""
    live: int
    """Bytes that are not: the state must stay as it is until they have been read."""
    loan: Loan
    late: LateCopy | None
    """What is still to be copied."""

    def close(self) -> None:
        """Gives the memory back; nothing may use it any more."""
        if self.late is not None:
            self.late.close()
        self.loan.close()


def take_snapshot(
    items: Sequence[ItemState],
    memory: StagingMemory,
    *,
    budget: int | None,
    allocate: Allocate,
    settle: Callable[[Iterable[Source]], None],
    threads: int,
    late: LateState | None = None,
    proven: bool = False,
) -> Snapshot:
    """Copies the tensors of all items, as far as ``budget`` bytes go; everything this writer holds, in tree order.

    ``settle`` makes sources readable for other threads. What ``late`` names is left for later, unless the budget is too
    small for all; ``proven``: with digests of it.
    """
    slots = [(item, slot) for item in items for slot in number_leaves(item)]
    leaves = [slot.leaf for _, slot in slots]
    sizes = [sum(_aligned(piece.source.nbytes) for piece in leaf.pieces) for leaf in leaves]
    loan = memory.lend(sizes, budget=budget, allocate=allocate)
    try:
        partly = any(place is None for place in loan.places)
        waiting = {} if late is None or partly else late.sources
        copies: list[_Copy] = []
        changed: dict[int, TensorLeaf] = {}
        for (item, slot), place in zip(slots, loan.places, strict=True):
            leaf = slot.leaf
            if place is not None:
                own = list(_placed(f"{item.name}/{slot.name}", leaf, place, waiting.get(id(leaf))))
                copies += own
                pieces = tuple(
                    Piece(piece.region, MemorySource(copy.out)) for piece, copy in zip(leaf.pieces, own, strict=True)
                )
                changed[id(leaf)] = replace(leaf, pieces=pieces, stage=STAGED if partly else LIVE)
        now = [(copy.source, copy.out) for copy in copies if not copy.late]
        settle(piece.source for leaf in leaves if id(leaf) not in waiting for piece in leaf.pieces)
        with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-stage") as pool:
            run_all(pool, list(_jobs(now)))
        rest = _late_copy([copy for copy in copies if copy.late], late, threads, proven) if waiting else None
    except BaseException:
        loan.close()
        raise
    copied = sum(copy.source.nbytes for copy in copies)
    live = sum(piece.source.nbytes for leaf in leaves if id(leaf) not in changed for piece in leaf.pieces)

    def change(path: Path, value: Any) -> Any:
        del path
        return changed.get(id(value), value) if type(value) is TensorLeaf else value

    taken = tuple(
        replace(item, tree={key: map_leaves(node, change) for key, node in item.tree.items()}) for item in items
    )
    if late is not None and rest is not None:
        late.hold(rest)
    return Snapshot(taken, copied, live, loan, rest)


class _Copy(NamedTuple):
    """One piece on its way. A tuple, because there may be a hundred thousand."""

    name: str
    source: Source
    out: memoryview
    late: bool


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _placed(
    name: str, leaf: TensorLeaf, place: memoryview, late: Sequence[Source] | None
) -> Iterator[_Copy]:
    at = 0
    for number, piece in enumerate(leaf.pieces):
        size = piece.source.nbytes
        source = piece.source if late is None else late[number]
        yield _Copy(name, source, place[at : at + size], late is not None)
        at += _aligned(size)


def _late_copy(copies: Sequence[_Copy], state: LateState | None, threads: int, proven: bool) -> LateCopy | None:
    if state is None or not copies:
        return None
    pieces = [seen(copy.name, copy.source, copy.out, full=proven) for copy in copies]
    by_host, queued = state.by_device([(copy.source, copy.out) for copy in copies])
    return LateCopy(state, _jobs(by_host), pieces, queued=queued, threads=threads, full=proven)


def _jobs(copies: Sequence[tuple[Source, memoryview]]) -> Iterator[Callable[[], None]]:
    """Copies of about JOB_BYTES each: large ones in parts, small ones together."""
    batch: list[tuple[memoryview, memoryview]] = []
    size = 0
    for source, out in copies:
        view = source.view()
        if view is None:
            yield partial(_read, source, out)
            continue
        for at in range(0, len(out), JOB_BYTES):
            stop = min(at + JOB_BYTES, len(out))
            batch.append((out[at:stop], view[at:stop]))
            size += stop - at
            if size >= JOB_BYTES:
                yield partial(_copy, batch)
                batch, size = [], 0
    if batch:
        yield partial(_copy, batch)


def _copy(batch: Sequence[tuple[memoryview, memoryview]]) -> None:
    for out, view in batch:
        copy_bytes(out, view)


def _read(source: Source, out: memoryview) -> None:
    try:
        source.read_into(0, out)
    finally:
        source.close()
