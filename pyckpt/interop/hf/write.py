"""Writes planned files: pieces are read from the store, verified, cast if that is asked for, and written, in threads.

Memory in use is a few pieces, whatever the size of a tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Lock

from pyckpt.engine.buffers import staging
from pyckpt.engine.futures import run_all
from pyckpt.engine.leaves import Target, TensorRequest
from pyckpt.engine.load_plan import plan_jobs, plan_reads
from pyckpt.engine.open import OpenItem
from pyckpt.engine.options import Progress
from pyckpt.engine.read import read_jobs
from pyckpt.format.geometry import Box, Region
from pyckpt.interop.hf.link import link_object
from pyckpt.interop.hf.pieces import Piece, cut_file, piece_bytes
from pyckpt.interop.hf.plan import PlannedFile, Weight, file_header
from pyckpt.storage.base import ObjectWriter, Store
from pyckpt.storage.local import LocalStore

__all__ = ["read_slices", "write_files"]

MEMORY = 256 << 20
"""Bytes of pieces under way."""
ALIGNMENT = 64


class _ViewSink:
    """Memory that is already there."""

    __slots__ = ("_view", "nbytes")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.nbytes = len(view)

    def open(self) -> memoryview:
        """The memory."""
        return self._view

    def close(self) -> None:
        """The bytes are where they belong."""


def read_slices(
    store: Store, item: OpenItem, wanted: Sequence[tuple[Weight, int, int, memoryview]], *, verify: bool
) -> None:
    """Fills each memory with the elements ``[start, stop)`` of its tensor. Raises Corrupt ``block.*``, ``object.*``."""
    requests = []
    for weight, start, stop, view in wanted:
        region = Region(Box.whole(weight.shape), start, stop)
        requests.append(TensorRequest((), weight.tensor, Target(((region, _ViewSink(view)),))))
    reads, sinks = plan_reads(item.manifest, requests)
    jobs = plan_jobs(reads, gap_bytes=0)
    if jobs:
        read_jobs(store, item.manifest, item.object_keys, jobs, sinks, threads=1, verify=verify)


def write_files(
    store: Store,
    item: OpenItem,
    directory: str,
    files: Sequence[PlannedFile],
    *,
    verify: bool,
    threads: int,
    progress: Progress | None,
) -> int:
    """Writes the files durably below ``directory`` and gives the bytes of those that were linked instead.

    Raises Corrupt ``block.*`` or ``object.*``, StoreError. What was begun is left to whoever made the directory.
    """
    work = _Work(store, item, LocalStore(directory, io="writeback"), verify, progress)
    linked = 0
    jobs = []
    for file in files:
        opened = None
        if file.linked is not None and link_object(
            store, item.object_keys[file.linked], os.path.join(directory, file.name)
        ):
            linked += item.manifest.objects[file.linked].size
        else:
            opened = _OpenFile(file, file_header(file))
        sizes = [piece_bytes(item.manifest, weight) for weight in file.weights]
        pieces = list(cut_file(file, sizes)) if opened is not None or verify else []
        if opened is not None:
            pieces = pieces or [Piece(0, ())]
            opened.left = len(pieces)
            work.opened.append(opened)
        work.total += sum(piece.stored_bytes for piece in pieces)
        jobs += [partial(work.run, piece, opened) for piece in pieces]
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-export") as pool:
            try:
                run_all(pool, jobs)
            except BaseException:
                # Whoever presses Ctrl-C doesn't want the rest of a terabyte written first.
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    except BaseException:
        work.abort()
        raise
    return linked


@dataclass(slots=True)
class _OpenFile:
    """A file from its first piece to its last."""

    file: PlannedFile
    header: bytes
    left: int = 0
    writer: ObjectWriter | None = None
    lock: Lock = field(default_factory=Lock)

    def begin(self, target: LocalStore) -> ObjectWriter:
        """The writer; the first to ask creates the file."""
        with self.lock:
            if self.writer is None:
                self.writer = target.create_writer(self.file.name, self.size)
                self.writer.write(0, [memoryview(self.header)])
            return self.writer

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + self.file.nbytes

    def end(self, writer: ObjectWriter) -> None:
        """Counts a piece; the last one closes the file, so that few are open at any time."""
        with self.lock:
            self.left -= 1
            is_last = not self.left
        if is_last:
            writer.close(self.size)


class _Work:
    """State that all threads share."""

    def __init__(
        self, store: Store, item: OpenItem, target: LocalStore, verify: bool, progress: Progress | None
    ) -> None:
        self._store, self._item, self._target, self._verify = store, item, target, verify
        self._progress = progress
        self._budget = _Budget(MEMORY)
        self._lock = Lock()
        self._done = 0
        self.total = 0
        self.opened: list[_OpenFile] = []

    def run(self, piece: Piece, opened: _OpenFile | None) -> None:
        """One piece: read, cast, write. Without a file it is only verified."""
        with self._budget.take(piece.memory), ExitStack() as stack:
            out = stack.enter_context(staging.buffer(max(1, piece.nbytes)))[: piece.nbytes]
            room = sum(-(-each.stored_bytes // ALIGNMENT) * ALIGNMENT for each in piece.slices if each.is_cast)
            side = stack.enter_context(staging.buffer(room)) if room else memoryview(b"")
            wanted = []
            casts = []
            at = aside = 0
            for each in piece.slices:
                place = out[at : at + each.nbytes]
                at += each.nbytes
                if each.is_cast:
                    source = side[aside : aside + each.stored_bytes]
                    aside += -(-each.stored_bytes // ALIGNMENT) * ALIGNMENT
                    casts.append((source, each.weight.stored, place, each.weight.dtype))
                    place = source
                wanted.append((each.weight, each.start, each.stop, place))
            read_slices(self._store, self._item, wanted, verify=self._verify)
            for source, stored, place, dtype in casts:
                _cast(source, stored, place, dtype)
            if opened is not None:
                writer = opened.begin(self._target)
                writer.write(len(opened.header) + piece.offset, [out])
        if opened is not None:
            opened.end(writer)
        if self._progress is not None:
            with self._lock:
                self._done += piece.stored_bytes
                self._progress(self._done, self.total)

    def abort(self) -> None:
        """Closes what is open."""
        for opened in self.opened:
            if opened.writer is not None:
                with suppress(OSError):
                    opened.writer.abort()


class _Budget:
    """Bytes that threads may have in use together; one that needs more than all of it runs alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._change = Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Waits until ``count`` bytes are free, and holds them."""
        with self._change:
            self._change.wait_for(lambda: not self._used or self._used + count <= self._limit)
            self._used += count
        try:
            yield
        finally:
            with self._change:
                self._used -= count
                self._change.notify_all()


def _cast(source: memoryview, stored: str, place: memoryview, dtype: str) -> None:
    """Writes the elements of ``source`` as another dtype, exactly as ``tensor.to`` does."""
    import torch

    from pyckpt.torch.dtypes import torch_dtype

    if not source.nbytes:
        return
    before = torch.frombuffer(source, dtype=torch.uint8).view(torch_dtype(stored))
    torch.frombuffer(place, dtype=torch.uint8).view(torch_dtype(dtype)).copy_(before)
