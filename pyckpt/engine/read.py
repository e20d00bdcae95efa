"""Reads planned ranges, verifies every block on the way, and puts the bytes where they belong.

Bytes that are wanted as they lie go straight from the store to their destination; only blocks that are encoded, shared
or cut by a region's edge, and those of sinks without host memory, pass through a staging buffer of at most one job per
thread. A staged sink copies on while the digests of the same bytes are checked and other threads read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Lock
from typing import NamedTuple, cast

from pyckpt.engine.buffers import CountedStaging, copy_bytes
from pyckpt.engine.buffers import staging as ordinary
from pyckpt.engine.futures import run_all
from pyckpt.engine.leaves import Sink, StagedSink, Staging
from pyckpt.engine.load_plan import Job, Part
from pyckpt.engine.open import OpenItem, missing
from pyckpt.engine.options import Progress
from pyckpt.engine.scatter import byte_copies, scatter
from pyckpt.errors import Corrupt
from pyckpt.format.codecs import decode_block
from pyckpt.format.digest import digest_function
from pyckpt.format.geometry import Region, region_copies
from pyckpt.format.manifest import Manifest
from pyckpt.format.shard_table import ObjectRow
from pyckpt.storage.base import ObjectMissing, ObjectReader, ObjectShort, Store

__all__ = ["Fetched", "check_objects", "open_object", "read_jobs"]

FEW_OBJECTS = 16
"""Up to so many objects are looked up one by one, more by a listing."""

SMALL_PART = 64 << 10
"""Bytes below which reading and checking a part costs less than handing the interpreter from thread to thread."""


class Fetched(NamedTuple):
    """What a read took."""

    bytes: int
    """Bytes read from the store."""
    staging: int
    """Most bytes of staging buffers in use at one time."""


def open_object(store: Store, key: str, row: ObjectRow) -> ObjectReader:
    """Opens a data object. Raises Corrupt ``object.missing``, ``external.missing`` or ``object.size``."""
    try:
        reader = store.open_reader(key)
    except FileNotFoundError as error:
        raise missing("object", row.store_key is not None, "a data object", key) from error
    if reader.size != row.size:
        found = reader.size
        reader.close()
        raise Corrupt("object.size", f"expected {row.size} bytes, found {found}", key=key)
    return reader


def check_objects(store: Store, item: OpenItem) -> None:
    """Makes sure that every data object of an item is there and has its size, by one listing where there are many.

    Raises Corrupt ``object.missing``, ``external.missing`` or ``object.size``.
    """
    rows = item.manifest.objects
    sizes: dict[str, int] = {}
    if len(rows) > FEW_OBJECTS:
        for prefix in {key.rpartition("/")[0] for key in item.object_keys}:
            sizes.update({info.key: info.size for info in store.list(f"{prefix}/")})
    for row, key in zip(rows, item.object_keys, strict=True):
        if sizes.get(key) != row.size:
            open_object(store, key, row).close()


def read_jobs(
    store: Store,
    manifest: Manifest,
    keys: Sequence[str],
    jobs: Sequence[Job],
    sinks: Sequence[Sink],
    *,
    threads: int,
    verify: bool,
    progress: Progress | None = None,
    staging: Staging | None = None,
) -> Fetched:
    """Executes the jobs; ``keys`` are the objects' keys in the store, ``staging`` lends the memory for what is staged.

    Raises Corrupt with ``object.*`` or ``block.*``. Sinks are closed as soon as all their bytes have arrived; no copy
    goes on when this returns or raises.
    """
    with ExitStack() as stack:
        readers = {}
        for number in sorted({job.object for job in jobs}):
            reader = open_object(store, keys[number], manifest.objects[number])
            stack.callback(reader.close)
            readers[number] = reader
        lender = CountedStaging(ordinary if staging is None else staging)
        work = _Work(manifest, keys, readers, jobs, sinks, lender, verify=verify, progress=progress)
        with ThreadPoolExecutor(_useful_threads(store, jobs, threads), thread_name_prefix="pyckpt-read") as pool:
            run_all(pool, [partial(work.run, job) for job in jobs])
        return Fetched(work.bytes_read, lender.peak)


def _useful_threads(store: Store, jobs: Sequence[Job], threads: int) -> int:
    """Many small parts are all interpreter, which threads only take from each other; unless they wait for a network."""
    parts = sum(len(job.parts) for job in jobs)
    size = sum(part.size for job in jobs for part in job.parts)
    return 1 if store.parallel_writes and size < parts * SMALL_PART else threads


class _Work:
    """State that the jobs of one read share."""

    def __init__(
        self,
        manifest: Manifest,
        keys: Sequence[str],
        readers: dict[int, ObjectReader],
        jobs: Sequence[Job],
        sinks: Sequence[Sink],
        staging: Staging,
        *,
        verify: bool,
        progress: Progress | None,
    ) -> None:
        self._manifest = manifest
        self._keys = keys
        self._readers = readers
        self._sinks = sinks
        self._staging = staging
        self._verify = verify
        self._progress = progress
        self._lock = Lock()
        self._memory: dict[int, memoryview | None] = {}
        self._parts = Counter([sink for job in jobs for part in job.parts for sink, _ in part.read.targets])
        self._left = dict(self._parts)
        self._digests = memoryview(manifest.shards.block_digest)
        self._digest = [digest_function(row.digest) if n in readers else None for n, row in enumerate(manifest.objects)]
        self._total = sum(part.size for job in jobs for part in job.parts)
        self._done = 0
        self.bytes_read = 0

    def run(self, job: Job) -> None:
        """One contiguous read, verification of its blocks, and their way to the sinks."""
        under_way: list[Part] = []
        with ExitStack() as stack:
            landings = self._land(job, stack)
            views: list[memoryview] = []
            at = job.parts[0].offset
            scratch = memoryview(b"")
            for part, (view, _) in zip(job.parts, landings, strict=True):
                gap = part.offset - at
                if gap > 0:
                    if len(scratch) < gap:
                        scratch = stack.enter_context(self._staging.buffer(gap))
                    views.append(scratch[:gap])
                views.append(view)
                at = part.offset + part.size
            self._fetch(job, views)
            for part, (view, is_staged) in zip(job.parts, landings, strict=True):
                is_plain = is_staged and not part.read.chain
                if is_plain:
                    self._deliver(part, view, stack)
                    under_way.append(part)
                if self._verify:
                    self._check(part, view)
                if not is_plain:
                    if is_staged:
                        self._decode(part, view)
                    self._finish(part)
        for part in under_way:
            self._finish(part)
        with self._lock:
            self.bytes_read += at - job.parts[0].offset
            self._done += sum(part.size for part in job.parts)
            if self._progress is not None:
                self._progress(self._done, self._total)

    def _fetch(self, job: Job, views: list[memoryview]) -> None:
        try:
            self._readers[job.object].read_into(job.parts[0].offset, views)
        except ObjectShort as error:
            raise Corrupt("object.size", str(error), key=self._keys[job.object]) from error
        except ObjectMissing as error:
            raise Corrupt("object.missing", "the object vanished while it was read", key=error.key) from error

    def _land(self, job: Job, stack: ExitStack) -> list[tuple[memoryview, bool]]:
        """Gives each part its destination, or (then with True) a place in one staging buffer for the job."""
        direct = [self._destination(part) for part in job.parts]
        room = sum(part.size for part, view in zip(job.parts, direct, strict=True) if view is None)
        buffer = stack.enter_context(self._staging.buffer(room)) if room else memoryview(b"")
        landings = []
        at = 0
        for part, view in zip(job.parts, direct, strict=True):
            if view is None:
                landings.append((buffer[at : at + part.size], True))
                at += part.size
            else:
                landings.append((view, False))
        return landings

    def _destination(self, part: Part) -> memoryview | None:
        """The destination's own memory if the part's bytes belong there as they lie."""
        if part.read.direct is None:
            return None
        sink, start, target, size = part.read.direct
        if not start and not target and part.size == size == self._sinks[sink].nbytes:
            return self._open(sink)
        first, last = part.read.stored_range(part.first, part.last)
        if first < start or last > start + size:
            return None
        memory = self._open(sink)
        return None if memory is None else memory[target + first - start : target + last - start]

    def _check(self, part: Part, view: memoryview) -> None:
        read = part.read
        digest = self._digest[read.object]
        if digest is None:
            raise Corrupt("digest.missing", "no algorithm for the object's digests", key=self._keys[read.object])
        number = read.first_block + part.first
        if part.last - part.first == 1:
            if digest(view) != self._digests[number * 32 : number * 32 + 32]:
                raise self._damage(part, part.first)
            return
        base, _ = read.stored_range(part.first, part.last)
        for block in range(part.first, part.last):
            start, stop = read.stored_range(block, block + 1)
            if digest(view[start - base : stop - base]) != self._digests[number * 32 : number * 32 + 32]:
                raise self._damage(part, block)
            number += 1

    def _damage(self, part: Part, block: int) -> Corrupt:
        read = part.read
        start, stop = read.stored_range(block, block + 1)
        return Corrupt(
            "block.digest",
            f"block {block} of shard {read.shard} (tensor {self._manifest.tensors.name_of(read.tensor)!r}), "
            f"bytes {read.offset + start} to {read.offset + stop}: the stored bytes are not those that were saved",
            key=self._keys[read.object],
            hint="restore the object from a copy, or load an earlier checkpoint",
        )

    def _decode(self, part: Part, stored: memoryview) -> None:
        """Delivers an encoded part, decoded; its memory is free again before the next part needs as much."""
        read = part.read
        start = part.first * read.block
        base, _ = read.stored_range(part.first, part.last)
        with ExitStack() as stack:
            size = min(part.last * read.block, read.nbytes) - start
            decoded = stack.enter_context(self._staging.buffer(size))[:size]
            for block in range(part.first, part.last):
                first, last = read.stored_range(block, block + 1)
                at = block * read.block
                count = min(read.block, read.nbytes - at)
                try:
                    data = decode_block(read.chain, stored[first - base : last - base], count)
                except Corrupt as error:
                    raise Corrupt(error.code, error.message, key=self._keys[read.object]) from error
                copy_bytes(decoded[at - start : at - start + count], memoryview(data))
            self._deliver(part, decoded, stack)

    def _deliver(self, part: Part, staged: memoryview, stack: ExitStack) -> None:
        """Moves a part's decoded bytes to its sinks; ``stack`` waits for copies before it gives the memory back."""
        read = part.read
        start = part.first * read.block
        stop = min(part.last * read.block, read.nbytes)
        region = Region(
            read.region.box, read.region.start + start * 8 // read.bits, read.region.start + stop * 8 // read.bits
        )
        for sink, wanted in read.targets:
            memory = self._open(sink)
            if memory is not None:
                scatter(staged, region, memory, wanted, read.bits)
                continue
            copies = region_copies(region, wanted)
            if copies:
                taker = cast("StagedSink", self._sinks[sink])
                wait = taker.take(staged, byte_copies(copies, read.bits))
                if wait is not None:
                    stack.callback(wait)

    def _open(self, sink: int) -> memoryview | None:
        if self._parts[sink] == 1:
            # Nobody else will ask: no lock, and nothing to remember.
            return self._sinks[sink].open()
        with self._lock:
            if sink not in self._memory:
                self._memory[sink] = self._sinks[sink].open()
            return self._memory[sink]

    def _finish(self, part: Part) -> None:
        for sink, _ in part.read.targets:
            if self._parts[sink] == 1:
                self._sinks[sink].close()
                continue
            with self._lock:
                self._left[sink] -= 1
                is_last = self._left[sink] == 0
                if is_last:
                    self._memory.pop(sink, None)
            if is_last:
                self._sinks[sink].close()
