"""From opened items to filled targets: mismatches of all ranks before anything is touched, then the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.leaves import Binder, BoundItem, ItemView
from pyckpt.engine.load_plan import plan_jobs, plan_reads
from pyckpt.engine.options import LoadOptions, Progress
from pyckpt.engine.read import read_jobs
from pyckpt.engine.rounds import round_trip
from pyckpt.engine.threads import default_threads
from pyckpt.errors import Finding, StateMismatch
from pyckpt.format.manifest import Manifest
from pyckpt.storage.base import Store

__all__ = ["Filled", "StoredItem", "fill"]


class StoredItem(ItemView, Protocol):
    """An item whose bytes can be read: what a binder sees of it, and where they lie."""

    @property
    def manifest(self) -> Manifest:
        """Tensors, objects and shards."""

    @property
    def object_keys(self) -> tuple[str, ...]:
        """Keys of the data objects, relative to the store, in the manifest's order."""


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


def fill(
    store: Store,
    items: Mapping[str, StoredItem],
    binders: Mapping[str, Binder],
    *,
    name: str,
    options: LoadOptions,
    coordinator: Coordinator,
    check: Callable[[], None] = lambda: None,
) -> Filled:
    """Fills what ``binders`` want from the items of the same names; ``name`` says in messages where those come from.

    Nothing is changed before every rank has found that its targets fit. A failure on one rank, at any time, is raised
    on all. Rank 0 calls ``check`` before anything is bound. Raises StateMismatch (``findings`` has them all), Corrupt,
    Unsupported, RankError, StoreError.
    """
    bound: dict[str, BoundItem] = {}

    def bind() -> bytes:
        if coordinator.rank == 0:
            check()
        for item, binder in binders.items():
            bound[item] = binder.bind(items[item])
        return _pack_findings(bound)

    differing, surplus = _unpack_findings(round_trip(coordinator, "bind", bind, _differences))
    _refuse_mismatches(name, differing + surplus if options.strict else differing)
    tensors = arrived = fetched = 0

    def read() -> bytes:
        nonlocal tensors, arrived, fetched
        meter = _Meter(options.progress, sum(_planned(items[item], bound[item]) for item in bound))
        for item, each in bound.items():
            done = _read_item(store, items[item], each, options, meter)
            tensors, arrived, fetched = tensors + done[0], arrived + done[1], fetched + done[2]
        return b""

    round_trip(coordinator, "read", read, lambda _: b"")
    values = {item: each.finish() for item, each in bound.items()}
    skipped = tuple(finding for each in bound.values() for finding in each.skipped)
    skipped += tuple(finding for _, finding in surplus)
    return Filled(values, tensors, arrived, fetched, skipped)


class _Meter:
    """Joins the progress of several items into one."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self._report, self._total, self._before = report, total, 0

    def item(self) -> Progress | None:
        if self._report is None:
            return None
        before, report = self._before, self._report

        def show(done: int, total: int) -> None:
            self._before = before + done
            report(min(before + done, self._total), max(self._total, before + total))

        return show


def _planned(item: StoredItem, bound: BoundItem) -> int:
    tensors = item.manifest.tensors
    return sum(tensors.nbytes_of(number) for number in {request.tensor for request in bound.requests})


_Found = list[tuple[str, Finding]]
"""Item and finding."""


def _pack_findings(bound: Mapping[str, BoundItem]) -> bytes:
    def rows(findings: Sequence[Finding]) -> list[list[str]]:
        return [[finding.code, finding.key, finding.message] for finding in findings]

    data: bytes = msgpack.packb({item: [rows(each.findings), rows(each.unexpected)] for item, each in bound.items()})
    return data


def _differences(contributions: Sequence[bytes]) -> bytes:
    """What differs on any rank, and what no rank that loads the item has a place for; each thing once."""
    differing: dict[tuple[str, ...], list[int]] = {}
    left: dict[str, dict[str, list[str]]] = {}
    for rank, data in enumerate(contributions):
        for item, (findings, unexpected) in msgpack.unpackb(data).items():
            for row in findings:
                differing.setdefault((item, *row), []).append(rank)
            own = {row[1]: row for row in unexpected}
            left[item] = {key: row for key, row in left.get(item, own).items() if key in own}
    surplus = [[item, *row] for item, rows in left.items() for row in rows.values()]
    rows = [[*row[:-1], row[-1] + _on(ranks, len(contributions))] for row, ranks in differing.items()]
    packed: bytes = msgpack.packb([rows, surplus])
    return packed


def _on(ranks: Sequence[int], size: int) -> str:
    if len(ranks) == size:
        return ""
    return f" (rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))})"


def _unpack_findings(data: bytes) -> tuple[_Found, _Found]:
    differing, surplus = ([(item, Finding(*row)) for item, *row in rows] for rows in msgpack.unpackb(data))
    return differing, surplus


def _refuse_mismatches(name: str, found: Sequence[tuple[str, Finding]]) -> None:
    findings = [Finding(finding.code, f"{item}/{finding.key}", finding.message) for item, finding in found]
    if findings:
        raise StateMismatch(
            "state.mismatch",
            f"{len(findings)} things differ between checkpoint and target; nothing was loaded",
            key=name,
            hint="LoadOptions(strict=False) leaves missing and unexpected ones aside, map_key= renames, dtype= casts",
            findings=findings,
        )


def _read_item(
    store: Store, item: StoredItem, bound: BoundItem, options: LoadOptions, meter: _Meter
) -> tuple[int, int, int]:
    """Reads what one item's requests want: (tensors, bytes that arrived, bytes read)."""
    if not bound.requests:
        return 0, 0, 0
    reads, sinks = plan_reads(item.manifest, bound.requests)
    jobs = plan_jobs(reads, gap_bytes=options.gap_bytes)
    if not jobs:
        return len(bound.requests), 0, 0
    fetched = read_jobs(
        store,
        item.manifest,
        item.object_keys,
        jobs,
        sinks,
        threads=options.threads or default_threads(),
        verify=options.verify,
        progress=meter.item(),
    )
    return len(bound.requests), sum(sink.nbytes for sink in sinks), fetched
