"""Interleaved repetitions, medians and ratios, peak memory, cold caches."""

from __future__ import annotations

import gc
import json
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import Self

__all__ = ["Arms", "PeakSampler", "drop_caches", "fsync_tree", "resident"]


def drop_caches(path: str) -> bool:
    """Drops the page cache of the files below ``path``; tells whether that was possible."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return True
    except OSError:
        pass
    for root, _, files in os.walk(path):
        for name in files:
            descriptor = os.open(os.path.join(root, name), os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    return False


def fsync_tree(path: str) -> None:
    """What a writer that doesn't sync has to add before its files are durable."""
    paths = [path] if os.path.isfile(path) else [os.path.join(r, f) for r, _, fs in os.walk(path) for f in fs]
    for each in [*paths, os.path.dirname(path) if os.path.isfile(path) else path]:
        descriptor = os.open(each, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def resident() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Arms:
    """Several ways to do one thing, run in turn; the first is what the others are compared with."""

    title: str
    setup: dict[str, Callable[[], None]] = field(default_factory=dict)
    body: dict[str, Callable[[], None]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, list[int]] = field(default_factory=dict)
    """Peak bytes of resident memory above what there was before."""
    notes: list[str] = field(default_factory=list)
    """Lines below the table."""

    def add(self, name: str, body: Callable[[], None], setup: Callable[[], None] = lambda: None) -> None:
        """Adds an arm; ``setup`` is not timed."""
        self.setup[name], self.body[name] = setup, body

    def run(self, repetitions: int) -> None:
        """Runs all arms in turn, again and again."""
        for _ in range(repetitions):
            for name in self.body:
                self.setup[name]()
                gc.collect()
                before = resident()
                peak = PeakSampler()
                start = time.perf_counter()
                with peak:
                    self.body[name]()
                    seconds = time.perf_counter() - start
                self.seconds.setdefault(name, []).append(seconds)
                self.extra.setdefault(name, []).append(max(0, peak.bytes - before))

    def table(self, size: int) -> str:
        """Medians, spreads, throughput and ratio to the first arm as text."""
        base = statistics.median(next(iter(self.seconds.values())))
        lines = [self.title, f"{'arm':<44}{'median s':>9}{'min':>8}{'max':>8}{'GB/s':>7}{'ratio':>8}{'peak MB':>9}"]
        for name, values in self.seconds.items():
            median = statistics.median(values)
            lines.append(
                f"{name:<44}{median:>9.3f}{min(values):>8.3f}{max(values):>8.3f}{size / median / 1e9:>7.2f}"
                f"{base / median:>8.2f}{max(self.extra[name]) / 1e6:>9.0f}"
            )
        lines.append("ratio: how many times as fast as the first arm, by medians")
        return "\n".join([*lines, *self.notes])

    def record(self, size: int) -> dict[str, object]:
        """The same for machines."""
        record = {"title": self.title, "bytes": size, "seconds": self.seconds, "peak_bytes": self.extra}
        return {**record, "notes": self.notes}


class PeakSampler:
    """Samples the resident memory while a block runs."""

    def __enter__(self) -> Self:
        self.bytes = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.bytes = max(self.bytes, resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, resident())


def wipe(path: str) -> None:
    """Removes a directory and lets the disk settle."""
    shutil.rmtree(path, ignore_errors=True)
    os.sync()


def write_json(path: str | None, records: list[dict[str, object]]) -> None:
    """Stores the records if a path was given."""
    if path:
        Path(path).write_text(json.dumps(records, indent=1))
