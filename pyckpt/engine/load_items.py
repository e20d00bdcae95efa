"""Reads what is wanted of the items of one checkpoint, item by item, and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pyckpt.engine.leaves import ItemView, Staging, TensorRequest
from pyckpt.engine.load_plan import plan_jobs, plan_reads
from pyckpt.engine.options import LoadOptions, Progress
from pyckpt.engine.read import read_jobs
from pyckpt.engine.threads import default_threads
from pyckpt.format.manifest import Manifest
from pyckpt.storage.base import Store

__all__ = ["Reading", "StoredItem"]


class StoredItem(ItemView, Protocol):
    """An item whose bytes can be read: what a binder sees of it, and where they lie."""

    @property
    def manifest(self) -> Manifest:
        """Tensors, objects and shards."""

    @property
    def object_keys(self) -> tuple[str, ...]:
        """Keys of the data objects, relative to the store, in the manifest's order."""


class Reading:
    """The reads of one load on this rank."""

    def __init__(self, store: Store, opened: Mapping[str, StoredItem], options: LoadOptions) -> None:
        self._store = store
        self._opened = opened
        self._options = options
        self.fetched = 0
        """Bytes read from the store."""
        self.staging = 0
        """The most bytes of staging buffers in use at once."""

    def run(self, requests: Mapping[str, Sequence[TensorRequest]], stagings: Mapping[str, Staging | None]) -> None:
        """Fills the sinks of all requests, verified."""
        total = sum(_planned(self._opened[item], each) for item, each in requests.items())
        meter = _Meter(self._options.progress, total)
        for item, each in requests.items():
            if each:
                self._read_item(self._opened[item], each, stagings.get(item), meter)

    def _read_item(
        self, item: StoredItem, requests: Sequence[TensorRequest], staging: Staging | None, meter: _Meter
    ) -> None:
        reads, sinks = plan_reads(item.manifest, requests)
        jobs = plan_jobs(reads, gap_bytes=self._options.gap_bytes)
        if not jobs:
            return
        done = read_jobs(
            self._store,
            item.manifest,
            item.object_keys,
            jobs,
            sinks,
            threads=self._options.threads or default_threads(),
            verify=self._options.verify,
            progress=meter.item(),
            staging=staging,
        )
        self.fetched += done.bytes
        self.staging = max(self.staging, done.staging)


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


def _planned(item: StoredItem, requests: Sequence[TensorRequest]) -> int:
    tensors = item.manifest.tensors
    return sum(tensors.nbytes_of(number) for number in {request.tensor for request in requests})
