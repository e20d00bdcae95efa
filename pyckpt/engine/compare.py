"""Which of the shards that a writer would store lie in an earlier checkpoint already.

A shard is looked up by tensor and region, and compared by the digests of all its blocks. The first block of each is
compared before anything else is read: what changed in training nearly always differs there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import NamedTuple

import numpy as np

from pyckpt.engine.buffers import staging
from pyckpt.engine.decoded import decoded_digests
from pyckpt.engine.futures import run_all
from pyckpt.engine.open import OpenItem
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.save_plan import ShardPlan
from pyckpt.engine.slots import Slot
from pyckpt.errors import PyckptError
from pyckpt.format.codecs import Chain, check_chain
from pyckpt.format.digest import DIGEST_BYTES, digest_function
from pyckpt.format.geometry import Region
from pyckpt.format.names import region_entry_name
from pyckpt.format.shard_table import ObjectRow, ShardTable
from pyckpt.storage.base import Store

__all__ = ["Reference", "find_references"]

CHUNK_BYTES = 8 << 20
"""Bytes of one job."""


class Reference(NamedTuple):
    """A planned shard that is stored elsewhere, with its row there. A tuple, because there may be a million."""

    plan: ShardPlan
    object: ObjectRow
    """With ``store_key``: at its origin."""
    offset: int
    stored: int
    """Bytes as stored."""
    chain: Chain
    digests: bytes
    """32 bytes per block as stored."""
    block_sizes: tuple[int, ...]
    """Stored bytes of each block; empty if nothing is encoded."""
    decoded: bytes
    """32 bytes per block over the decoded bytes; empty if nothing is encoded."""

    @property
    def origin(self) -> str:
        """The checkpoint that has the object."""
        return (self.object.store_key or "").split("/", 1)[0]


class _Candidate(NamedTuple):
    position: int
    """Among the planned shards."""
    plan: ShardPlan
    row: int
    """In the base's table of shards."""
    expected: bytes
    """Digests of the decoded blocks."""


def find_references(
    store: Store,
    base: OpenItem,
    origins: Mapping[str, str],
    slots: Sequence[Slot],
    shards: Sequence[ShardPlan],
    *,
    options: SaveOptions,
    threads: int,
) -> tuple[list[ShardPlan], list[Reference], list[str]]:
    """What has to be written, what can be referenced, and what to say of objects that should be there and aren't.

    ``origins`` are the checkpoints whose objects may be referenced. Raises what sources raise.
    """
    rows = _object_rows(base, origins, options)
    found = list(_candidates(base, rows, slots, shards))
    present, warnings = _present(store, {rows[int(base.manifest.shards.object[each.row])] for each in found}, threads)
    found = [each for each in found if rows[int(base.manifest.shards.object[each.row])] in present]
    differs = _compare(found, options, threads)
    equal = [each for each in found if each.position not in differs]
    # Not for a shard of no bytes alone: a whole object would have to stay for it.
    used = {int(base.manifest.shards.object[each.row]) for each in equal if each.plan.nbytes}
    equal = [each for each in equal if int(base.manifest.shards.object[each.row]) in used]
    taken = {each.position for each in equal}
    rest = [plan for position, plan in enumerate(shards) if position not in taken]
    return rest, [_reference(base, rows, each) for each in equal], warnings


def _object_rows(base: OpenItem, origins: Mapping[str, str], options: SaveOptions) -> dict[int, ObjectRow]:
    """The objects that can be referenced, by their number in the base, named by their origin."""
    rows = {}
    for number, (row, key) in enumerate(zip(base.manifest.objects, base.object_keys, strict=True)):
        fits = row.digest == options.digest and row.block == options.block_bytes
        if fits and key.split("/", 1)[0] in origins:
            rows[number] = ObjectRow(
                None, key, row.size, row.data_start, row.header_digest, row.digest, row.block
            )
    return rows


def _candidates(
    base: OpenItem, rows: Mapping[int, ObjectRow], slots: Sequence[Slot], shards: Sequence[ShardPlan]
) -> Iterator[_Candidate]:
    tensors, table = base.manifest.tensors, base.manifest.shards
    digests = decoded_digests(table)
    if digests is None or not rows:
        return
    known = [_is_known(chain) for chain in base.manifest.codecs]
    numbers = {tensors.name_of(number): number for number in range(len(tensors))}
    for position, plan in enumerate(shards):
        slot = slots[plan.tensor]
        number = numbers.get(slot.name)
        if number is None or tensors.dtype_of(number) != slot.leaf.dtype:
            continue
        if tensors.shape_of(number) != tuple(slot.leaf.shape):
            continue
        row = _find(table, number, plan.region)
        if row is None or int(table.object[row]) not in rows or not known[table.codec_of(row)]:
            continue
        # Dtype and shape of the header's entry follow from the region; its name has to as well.
        derived = region_entry_name(slot.name, plan.region, slot.leaf.shape, encoded=table.codec_of(row) != 0)
        if table.entry_name(row) != derived:
            continue
        first, count = table.block_range(row)
        yield _Candidate(position, plan, row, digests[first : first + count].tobytes())


def _is_known(chain: Chain) -> bool:
    try:
        check_chain(chain)
    except PyckptError:
        return False
    return True


def _find(table: ShardTable, tensor: int, region: Region) -> int | None:
    """The shard of a tensor that is just this region."""
    own = table.slice_of(tensor)
    if len(own) == 1:
        return own.start if table.region(own.start) == region else None
    same = np.ones(len(own), bool)
    ndim = len(region.box.size)
    if table.box_offset is not None and table.box_size is not None and ndim:
        part = slice(int(table.box_start[own.start]), int(table.box_start[own.stop]))
        same &= (table.box_offset[part].reshape(-1, ndim) == region.box.offset).all(axis=1)
        same &= (table.box_size[part].reshape(-1, ndim) == region.box.size).all(axis=1)
    if table.run_start is not None and table.run_stop is not None:
        same &= table.run_start[own.start : own.stop] == region.start
        same &= table.run_stop[own.start : own.stop] == region.stop
    for at in np.flatnonzero(same).tolist():
        if table.region(own.start + at) == region:
            return own.start + int(at)
    return None


def _present(store: Store, rows: set[ObjectRow], threads: int) -> tuple[set[ObjectRow], list[str]]:
    """Those objects that are there with their size: a damaged base must not damage what comes after it."""
    present: set[ObjectRow] = set()
    warnings: list[str] = []

    def look(row: ObjectRow) -> None:
        key = row.store_key or ""
        try:
            info = store.info(key)
        except PyckptError as error:
            what = f"can't be looked up ({error.message})"
        else:
            if info is not None and info.size == row.size:
                present.add(row)
                return
            what = "is gone" if info is None else f"has {info.size} bytes instead of {row.size}"
        warnings.append(f"the data object {key!r} of an earlier checkpoint {what}: its shards are written anew")

    with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-look") as pool:
        run_all(pool, [partial(look, row) for row in rows])
    return present, sorted(warnings)


def _compare(found: Sequence[_Candidate], options: SaveOptions, threads: int) -> set[int]:
    """Positions of the candidates whose bytes are others."""
    block = options.block_bytes
    step = max(block, CHUNK_BYTES // block * block)
    work = _Comparison(block, digest_function(options.digest))
    with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-compare") as pool:
        work.run(pool, [_Part(each, 0, min(block, each.plan.nbytes)) for each in found if each.plan.nbytes])
        rest = [
            _Part(each, at, min(at + step, each.plan.nbytes))
            for each in found
            if each.position not in work.differs
            for at in range(block, each.plan.nbytes, step)
        ]
        work.run(pool, rest)
    return work.differs


class _Part(NamedTuple):
    """Whole blocks of one candidate."""

    candidate: _Candidate
    start: int
    stop: int


class _Comparison:
    """Digests parts of candidates in several threads, as long as nothing differs."""

    def __init__(self, block: int, digest: Callable[[memoryview], bytes]) -> None:
        self.differs: set[int] = set()
        self._block = block
        self._digest = digest
        self._left: Counter[int] = Counter()
        self._lock = Lock()

    def run(self, pool: Executor, parts: Sequence[_Part]) -> None:
        """Compares all parts; a source is closed after its last one, so that few copies are kept at a time."""
        self._left = Counter(part.candidate.position for part in parts)
        run_all(pool, [partial(self._check, job) for job in _jobs(parts)])

    def _check(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            position = part.candidate.position
            if position not in self.differs and not self._equal(part):
                self.differs.add(position)
            with self._lock:
                self._left[position] -= 1
                last = not self._left[position]
            if last:
                part.candidate.plan.source.close()

    def _equal(self, part: _Part) -> bool:
        plan, start, stop = part.candidate.plan, part.start, part.stop
        view = plan.source.view()
        if view is not None:
            return self._match(part, view[plan.source_start + start : plan.source_start + stop])
        with staging.buffer(stop - start) as buffer:
            plan.source.read_into(plan.source_start + start, buffer[: stop - start])
            return self._match(part, buffer[: stop - start])

    def _match(self, part: _Part, view: memoryview) -> bool:
        block, digest, expected = self._block, self._digest, part.candidate.expected
        at = part.start // block * DIGEST_BYTES
        for first in range(0, len(view), block):
            if digest(view[first : first + block]) != expected[at : at + DIGEST_BYTES]:
                return False
            at += DIGEST_BYTES
        return True


def _jobs(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Parts together, about CHUNK_BYTES in a job."""
    job: list[_Part] = []
    size = 0
    for part in parts:
        job.append(part)
        size += part.stop - part.start
        if size >= CHUNK_BYTES:
            yield job
            job, size = [], 0
    if job:
        yield job


def _reference(base: OpenItem, rows: Mapping[int, ObjectRow], candidate: _Candidate) -> Reference:
    table, row = base.manifest.shards, candidate.row
    first, count = table.block_range(row)
    encoded = table.codec_of(row) != 0
    return Reference(
        candidate.plan,
        rows[int(table.object[row])],
        int(table.offset[row]),
        int(table.stored[row]),
        base.manifest.codecs[table.codec_of(row)],
        table.block_digest[first * DIGEST_BYTES : (first + count) * DIGEST_BYTES],
        tuple(table.stored_sizes(row)) if encoded else (),
        candidate.expected if encoded else b"",
    )
