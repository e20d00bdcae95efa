"""The bytes of a state, copied to host memory of ours: what is saved no longer depends on what training does next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyckpt.engine.buffers import copy_bytes
from pyckpt.engine.futures import run_all
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
    """Bytes that were copied."""
    live: int
    """Bytes that were not: the state must stay as it is until they have been read."""
    loan: Loan


def take_snapshot(
    items: Sequence[ItemState], memory: StagingMemory, *, budget: int | None, allocate: Allocate, threads: int
) -> Snapshot:
    """Copies the tensors of all items, as far as ``budget`` bytes go; everything this writer holds, in tree order."""
    leaves = [slot.leaf for item in items for slot in number_leaves(item)]
    sizes = [sum(_aligned(piece.source.nbytes) for piece in leaf.pieces) for leaf in leaves]
    loan = memory.lend(sizes, budget=budget, allocate=allocate)
    try:
        partly = any(place is None for place in loan.places)
        copies: list[tuple[Source, memoryview]] = []
        changed: dict[int, TensorLeaf] = {}
        for leaf, place in zip(leaves, loan.places, strict=True):
            if place is not None:
                pieces = tuple(_placed(leaf, place, copies))
                changed[id(leaf)] = replace(leaf, pieces=pieces, stage=STAGED if partly else LIVE)
        with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-stage") as pool:
            run_all(pool, list(_jobs(copies)))
    except BaseException:
        loan.close()
        raise
    copied = sum(source.nbytes for source, _ in copies)
    live = sum(piece.source.nbytes for leaf in leaves if id(leaf) not in changed for piece in leaf.pieces)

    def change(path: Path, value: Any) -> Any:
        del path
        return changed.get(id(value), value) if type(value) is TensorLeaf else value

    taken = tuple(
        replace(item, tree={key: map_leaves(node, change) for key, node in item.tree.items()}) for item in items
    )
    return Snapshot(taken, copied, live, loan)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _placed(leaf: TensorLeaf, place: memoryview, copies: list[tuple[Source, memoryview]]) -> Iterator[Piece]:
    at = 0
    for piece in leaf.pieces:
        size = piece.source.nbytes
        out = place[at : at + size]
        at += _aligned(size)
        copies.append((piece.source, out))
        yield Piece(piece.region, MemorySource(out))


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
