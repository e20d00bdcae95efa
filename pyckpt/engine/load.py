"""One load: the checkpoint's records once for all ranks, mismatches before anything is touched, then the bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.leaves import Binder, BoundItem
from pyckpt.engine.load_plan import plan_jobs, plan_reads
from pyckpt.engine.mismatches import join_findings, pack_findings, refuse_mismatches, unpack_findings
from pyckpt.engine.open import OpenItem, checked_root, decode_item, manifest_bytes, root_bytes
from pyckpt.engine.options import LoadOptions, Progress
from pyckpt.engine.read import Fetched, check_objects, read_jobs
from pyckpt.engine.report import LoadReport
from pyckpt.engine.rounds import round_trip
from pyckpt.engine.threads import default_threads
from pyckpt.errors import NotFound
from pyckpt.format.root import Root
from pyckpt.storage.base import Store

__all__ = ["Loaded", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load gives: the report, the root, and per item what its binder's ``finish`` returned."""

    report: LoadReport
    root: Root
    values: Mapping[str, Any]


def load(
    store: Store,
    name: str,
    binders: Callable[[], Mapping[str, Binder]] | None,
    fresh: Binder,
    *,
    items: Sequence[str] | None,
    options: LoadOptions,
    coordinator: Coordinator,
) -> Loaded:
    """Fills what the binders want from the checkpoint ``name``; without binders, loads ``items`` (or all) by ``fresh``.

    Nothing is changed before every rank has found that its targets fit. A failure on one rank, at any time, is raised
    on all. Raises NotFound, Corrupt, Unsupported, StateMismatch (``findings`` has them all), RankError, StoreError.
    """
    begin = time.perf_counter()
    chosen: dict[str, Binder] = {}

    def choose() -> bytes:
        if binders is not None:
            chosen.update(binders())
        return b""

    wanted_items = None if items is None else list(items)
    root, opened = _open(
        store, name, choose, lambda: list(chosen) if binders else wanted_items, options.expect, coordinator
    )
    wanted = chosen if binders is not None else dict.fromkeys(opened, fresh)
    bound: dict[str, BoundItem] = {}

    def bind() -> bytes:
        if coordinator.rank == 0 and options.strict:
            # Fresh tensors are allocated while they are bound: the bytes that the manifest claims have to exist first.
            for item in wanted:
                check_objects(store, opened[item])
        for item, binder in wanted.items():
            bound[item] = binder.bind(opened[item])
        return pack_findings(bound)

    differing, surplus = unpack_findings(round_trip(coordinator, "bind", bind, join_findings))
    refuse_mismatches(name, differing + surplus if options.strict else differing)
    counts = [0, 0, 0]
    staging = 0

    def read() -> bytes:
        nonlocal staging
        meter = _Meter(options.progress, sum(_planned(opened[item], bound[item]) for item in bound))
        for item, each in bound.items():
            tensors, arrived, fetched = _read_item(store, opened[item], each, options, meter)
            counts[0] += tensors
            counts[1] += arrived
            counts[2] += fetched.bytes
            staging = max(staging, fetched.staging)
        return b""

    round_trip(coordinator, "read", read, lambda _: b"")
    values = {item: each.finish() for item, each in bound.items()}
    skipped = tuple(finding for each in bound.values() for finding in each.skipped)
    skipped += tuple(finding for _, finding in surplus)
    url = f"{store.url.rstrip('/')}/{name}"
    tensors, arrived, fetched = counts
    report = LoadReport(url, root.digest, tensors, arrived, fetched, time.perf_counter() - begin, skipped, staging)
    return Loaded(report, root, values)


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


def _planned(item: OpenItem, bound: BoundItem) -> int:
    tensors = item.manifest.tensors
    return sum(tensors.nbytes_of(number) for number in {request.tensor for request in bound.requests})


def _open(
    store: Store,
    name: str,
    choose: Callable[[], bytes],
    items: Callable[[], list[str] | None],
    expect: str | None,
    coordinator: Coordinator,
) -> tuple[Root, dict[str, OpenItem]]:
    """Rank 0 reads root and manifests and passes them on as stored; every rank checks and decodes them itself."""

    def read(_: Sequence[bytes]) -> bytes:
        data = root_bytes(store, name)
        root = checked_root(data, name, expect)
        names = _wanted(root, name, items())
        records = {item: manifest_bytes(store, name, item, root.items[item]) for item in names}
        packed: bytes = msgpack.packb([data, records])
        return packed

    data, records = msgpack.unpackb(round_trip(coordinator, "open", choose, read))
    root = checked_root(data, name, expect)
    return root, {item: decode_item(name, item, root, stored) for item, stored in records.items()}


def _wanted(root: Root, name: str, items: list[str] | None) -> list[str]:
    wanted = list(root.items) if items is None else items
    missing = [item for item in wanted if item not in root.items]
    if missing:
        raise NotFound(
            "item.missing",
            f"the checkpoint {name!r} has no item {', '.join(map(repr, missing))}",
            key=missing[0],
            hint=f"items are: {', '.join(sorted(root.items)) or 'none'}",
        )
    return wanted


def _read_item(
    store: Store, item: OpenItem, bound: BoundItem, options: LoadOptions, meter: _Meter
) -> tuple[int, int, Fetched]:
    """Reads what one item's requests want: (tensors, bytes that arrived, what the read took)."""
    if not bound.requests:
        return 0, 0, Fetched(0, 0)
    reads, sinks = plan_reads(item.manifest, bound.requests)
    jobs = plan_jobs(reads, gap_bytes=options.gap_bytes)
    if not jobs:
        return len(bound.requests), 0, Fetched(0, 0)
    fetched = read_jobs(
        store,
        item.manifest,
        item.object_keys,
        jobs,
        sinks,
        threads=options.threads or default_threads(),
        verify=options.verify,
        progress=meter.item(),
        staging=bound.staging,
    )
    return len(bound.requests), sum(sink.nbytes for sink in sinks), fetched
