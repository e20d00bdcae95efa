"""Stores planned objects: source → digest → (codec) → storage, in threads, with bounded memory.

An object is cut into chunks at block boundaries. A chunk is one job: its blocks are digested and its bytes written
while they are in the processor's cache. Memory in use is one chunk per thread, whatever the size of the state.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock

from pyckpt.engine.buffers import copy_bytes, staging
from pyckpt.engine.encode import write_encoded
from pyckpt.engine.futures import run_all
from pyckpt.engine.options import Progress, SaveOptions
from pyckpt.engine.save_plan import ObjectPlan
from pyckpt.engine.stored import StoredObject
from pyckpt.format.codecs import Chain
from pyckpt.format.digest import digest_function
from pyckpt.storage.base import ObjectWriter, Store

__all__ = ["CHUNK_BYTES", "Meter", "write_objects"]

CHUNK_BYTES = 8 << 20
"""Bytes of one job and of one write: large enough for the device, small enough to stay in the cache."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Bytes ``[start, stop)`` of an object, as parts of shards; parts begin at block boundaries of their shard."""

    start: int
    stop: int
    parts: tuple[tuple[int, int, int], ...]
    """(shard in the object, first byte, end) each."""


def write_objects(
    store: Store,
    checkpoint: str,
    plans: Sequence[tuple[ObjectPlan, Sequence[Chain]]],
    *,
    threads: int,
    options: SaveOptions,
    meter: Meter,
) -> list[StoredObject]:
    """Writes the objects durably and gives what the manifest has to say of each, in order.

    ``meter`` adds up over all calls of a save. On any error the objects begun are taken back, and the first error is
    raised.
    """
    begun: list[ObjectWriter] = []
    results: list[StoredObject | None] = [None] * len(plans)
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-write") as pool:
            jobs: list[Callable[[], None]] = []
            last: list[Callable[[], None]] = []
            for index, (plan, chains) in enumerate(plans):
                key = f"{checkpoint}/{plan.key}"
                if plan.encoded:
                    last.append(_encoded_job(store, plan, chains, options, results, index, meter, key))
                    continue
                writer = store.create_writer(key, plan.size)
                begun.append(writer)
                work = _PlainObject(plan, writer, options, meter)
                chunks = list(_chunks(plan, options.block_bytes))
                if store.parallel_writes:
                    jobs += [partial(work.write_chunk, chunk) for chunk in chunks]
                else:
                    jobs.append(partial(_write_in_order, work, chunks))
                last.append(partial(_close, work, results, index))
            run_all(pool, jobs)
            run_all(pool, last)
    except BaseException:
        for writer in begun:
            with suppress(OSError):
                writer.abort()
        for plan, _ in plans:
            with suppress(OSError):
                store.delete(f"{checkpoint}/{plan.key}")
        raise
    return [result for result in results if result is not None]


class Meter:
    """Adds up bytes done for the caller's progress display."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self._total, self._report, self._done, self._lock = total, report, 0, Lock()

    def expect(self, count: int) -> None:
        """So many bytes more, or fewer, than was thought are to be done."""
        self._total += count

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        if self._report is not None:
            with self._lock:
                self._done += count
                self._report(min(self._done, self._total), self._total)


def _chunks(plan: ObjectPlan, block: int) -> Iterator[_Chunk]:
    """Cuts an object into chunks of whole blocks, about CHUNK_BYTES each; the first one also holds the header."""
    size = max(block, CHUNK_BYTES // block * block)
    parts: list[tuple[int, int, int]] = []
    start = 0
    filled = len(plan.header)
    at = filled
    for number, shard in enumerate(plan.shards):
        begin = 0
        while begin < shard.nbytes:
            room = size - filled
            take = shard.nbytes - begin
            if take > room:
                take = room // block * block
                if take <= 0:
                    yield _Chunk(start, at, tuple(parts))
                    start, filled, parts = at, 0, []
                    continue
            parts.append((number, begin, begin + take))
            begin += take
            filled += take
            at += take
    yield _Chunk(start, at, tuple(parts))


class _PlainObject:
    """One object whose stored bytes are the tensors' own."""

    def __init__(self, plan: ObjectPlan, writer: ObjectWriter, options: SaveOptions, meter: Meter) -> None:
        self.plan = plan
        self.writer = writer
        self._digest = digest_function(options.digest)
        self._block = options.block_bytes
        self._meter = meter
        self._digests: dict[int, bytes] = {}
        self._views = [shard.source.view() for shard in plan.shards]

    def write_chunk(self, chunk: _Chunk) -> None:
        """Digests and writes one chunk."""
        if self.writer.alignment > 1:
            self._write_aligned(chunk)
        else:
            self._write_gathered(chunk)
        self._meter.add(chunk.stop - chunk.start)

    def _write_gathered(self, chunk: _Chunk) -> None:
        """Hands the tensors' own memory to the store; only what has no host memory goes through a buffer."""
        views: list[memoryview] = []
        if chunk.start == 0:
            views.append(memoryview(self.plan.header))
        homeless = sum(stop - start for number, start, stop in chunk.parts if self._views[number] is None)
        if homeless == 0:
            digests = self._gather(chunk, views, None)
            self.writer.write(chunk.start, views)
        else:
            with staging.buffer(homeless) as buffer:
                digests = self._gather(chunk, views, buffer)
                self.writer.write(chunk.start, views)
        self._digests[chunk.start] = digests

    def _gather(self, chunk: _Chunk, views: list[memoryview], buffer: memoryview | None) -> bytes:
        block, digest, shards, used = self._block, self._digest, self.plan.shards, 0
        digests = []
        for number, start, stop in chunk.parts:
            view = self._views[number]
            shard = shards[number]
            if view is not None:
                first = shard.source_start + start
                part = view if stop - start == len(view) else view[first : first + stop - start]
            elif buffer is not None:
                part = buffer[used : used + stop - start]
                used += stop - start
                shard.source.read_into(shard.source_start + start, part)
            views.append(part)
            if stop - start <= block:
                digests.append(digest(part))
            else:
                digests += [digest(part[at : at + block]) for at in range(0, stop - start, block)]
        return b"".join(digests)

    def _write_aligned(self, chunk: _Chunk) -> None:
        """Writes whole pages from an aligned buffer.

        From the first page that begins in the chunk to the page that its end lies in, whose rest is taken from what
        follows; the next chunk begins after that page.
        """
        unit = self.writer.alignment
        first = -(-chunk.start // unit) * unit
        last = -(-chunk.stop // unit) * unit
        base = chunk.start // unit * unit
        block, digest, digests = self._block, self._digest, []
        with staging.buffer(last - base) as buffer:
            at = chunk.start - base
            if chunk.start == 0:
                at = len(self.plan.header)
                buffer[:at] = self.plan.header
            for number, start, stop in chunk.parts:
                part = buffer[at : at + stop - start]
                self._read(number, start, part)
                digests += [digest(part[i : i + block]) for i in range(0, stop - start, block)]
                at += stop - start
            self._read_ahead(chunk.stop, buffer[at : last - base])
            if last > first:
                self.writer.write(first, [buffer[first - base : last - base]])
        self._digests[chunk.start] = b"".join(digests)

    def _read(self, number: int, start: int, out: memoryview) -> None:
        shard, view = self.plan.shards[number], self._views[number]
        start += shard.source_start
        if view is None:
            shard.source.read_into(start, out)
        else:
            copy_bytes(out, view[start : start + len(out)])

    def _read_ahead(self, at: int, out: memoryview) -> None:
        """Fills ``out`` with the object's bytes from position ``at``; zeros after the end."""
        number = bisect_right(self.plan.offsets, at) - 1
        while len(out) and 0 <= number < len(self.plan.shards):
            shard = self.plan.shards[number]
            start = at - self.plan.offsets[number]
            take = min(len(out), shard.nbytes - start)
            if take > 0:
                self._read(number, start, out[:take])
                out = out[take:]
                at += take
            number += 1
        out[:] = bytes(len(out))

    def close(self) -> StoredObject:
        """Makes the object durable and describes it."""
        self.writer.close(self.plan.size)
        for shard in self.plan.shards:
            shard.source.close()
        digests = b"".join(self._digests[start] for start in sorted(self._digests))
        sizes = tuple(shard.nbytes for shard in self.plan.shards)
        return StoredObject(
            self.plan, self.plan.size, len(self.plan.header), self._digest(self.plan.header), digests, sizes, None, None
        )


def _write_in_order(work: _PlainObject, chunks: Sequence[_Chunk]) -> None:
    for chunk in chunks:
        work.write_chunk(chunk)


def _close(work: _PlainObject, results: list[StoredObject | None], index: int) -> None:
    results[index] = work.close()


def _encoded_job(
    store: Store,
    plan: ObjectPlan,
    chains: Sequence[Chain],
    options: SaveOptions,
    results: list[StoredObject | None],
    index: int,
    meter: Meter,
    key: str,
) -> Callable[[], None]:
    def job() -> None:
        results[index] = write_encoded(store, key, plan, chains, options)
        meter.add(plan.size)

    return job
