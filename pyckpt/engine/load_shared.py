"""A load in which ranks that want the same read it once: parts are read while others are already exchanged."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import Protocol, cast

import numpy as np

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_agree import LiveTargets, Wanted, wants_of
from pyckpt.engine.exchange_moves import ExchangePlan, Route
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.leaves import BoundItem, Sink, StagedSink, Target, TensorRequest
from pyckpt.engine.load_items import StoredItem
from pyckpt.engine.shared_reads import ReadPart, SharedReads, deal_reads
from pyckpt.errors import UsageError
from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import Copy, Region

__all__ = ["Exchanger", "SharedLoad", "is_worth_sharing", "plan_shared_load", "wants_in_short"]

WORTHWHILE_BYTES = 1 << 20
"""Below so many shared bytes ``auto`` lets every rank read for itself."""
BUDGET_BYTES = 32 << 20
"""Memory for messages on each rank."""


class Exchanger(Protocol):
    """A framework's way to pass what has been read into its tensors on to other ranks."""

    def dtype_of(self, sink: Sink) -> str:
        """Registry name of the dtype in a sink's memory."""

    def note(self, bound: Mapping[str, BoundItem]) -> bytes:
        """What the other ranks' exchangers have to know of this one's targets."""

    def machine(self) -> str:
        """Name of the machine that this rank runs on."""

    def can_carry(self, notes: Sequence[bytes]) -> bool:
        """Whether what the ranks noted lets it; the same answer on all of them."""

    def part(self, sink: Sink, rows: tuple[int, int], count: int) -> Sink:
        """A sink for rows ``[first, stop)`` of the ``count`` equal ones that a sink's memory holds in its order."""

    def run(
        self,
        plan: ExchangePlan,
        dtypes: Sequence[str],
        sources: Sequence[Sequence[Sink]],
        targets: Sequence[Sequence[Sink]],
        notes: Sequence[bytes],
        ready: Callable[[int], None],
        coordinator: Coordinator,
    ) -> None:
        """Moves what the memory of ``sources`` holds into that of ``targets`` on all ranks.

        ``ready`` waits until the values of a route have been read. What a rank has itself is where it belongs. Raises
        RankError if another rank is lost.
        """


class SharedLoad:
    """One rank's part of a load that reads shared regions once."""

    def __init__(
        self,
        targets: LiveTargets,
        reads: SharedReads,
        plan: ExchangePlan,
        exchanger: Exchanger,
        coordinator: Coordinator,
    ) -> None:
        self._targets = targets
        self._plan = plan
        self._exchanger = exchanger
        self._coordinator = coordinator
        self._keys = list(targets.wanted)
        self._condition = Condition()
        self._left: Counter[int] = Counter()
        self._failed = False
        self._sources: list[list[Sink]] = []
        self._requests: dict[str, list[TensorRequest]] = {item: [] for item in targets.bound}
        for number, key in enumerate(self._keys):
            own = targets.sinks.get(key, ())
            parts = reads.parts[key][coordinator.rank]
            want = targets.wanted[key][coordinator.rank]
            sinks = [_part_of(exchanger, own[part.piece], part, want[part.piece]) for part in parts]
            self._sources.append(sinks)
            if parts:
                self._add(number, key, parts, sinks)

    def _add(self, number: int, key: Wanted, parts: Sequence[ReadPart], sinks: Sequence[Sink]) -> None:
        self._left[number] = len(parts)
        watched: list[tuple[Region, Sink]] = [
            (part.region, _Watched(sink, number, self._arrived)) for part, sink in zip(parts, sinks, strict=True)
        ]
        self._requests[key.item].append(TensorRequest((), key.tensor, Target(tuple(watched))))

    @property
    def requests(self) -> Mapping[str, list[TensorRequest]]:
        """What this rank reads, by item."""
        return self._requests

    def run(self, read: Callable[[], None]) -> None:
        """Reads in the background while what has arrived is exchanged.

        A rank whose read failed still takes part to the end, so that nobody waits for it in vain; then it raises.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="pyckpt-shared") as pool:
            reading = pool.submit(self._guarded, read)
            dtypes = [key.dtype for key in self._keys]
            targets = [self._targets.sinks.get(key, ()) for key in self._keys]
            self._exchanger.run(
                self._plan, dtypes, self._sources, targets, self._targets.notes, self._ready, self._coordinator
            )
            reading.result()

    def _guarded(self, read: Callable[[], None]) -> None:
        try:
            read()
        except BaseException:
            with self._condition:
                self._failed = True
                self._condition.notify_all()
            raise

    def _arrived(self, number: int) -> None:
        with self._condition:
            self._left[number] -= 1
            if not self._left[number]:
                self._condition.notify_all()

    def _ready(self, number: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._failed or not self._left[number])


def _part_of(exchanger: Exchanger, sink: Sink, part: ReadPart, whole: Region) -> Sink:
    return sink if part.rows is None else exchanger.part(sink, part.rows, whole.box.size[0])


class _Watched:
    """A sink that tells when all of its bytes are in place."""

    __slots__ = ("_arrived", "_number", "_sink")

    def __init__(self, sink: Sink, number: int, arrived: Callable[[int], None]) -> None:
        self._sink, self._number, self._arrived = sink, number, arrived

    @property
    def nbytes(self) -> int:
        return self._sink.nbytes

    def open(self) -> memoryview | None:
        return self._sink.open()

    def take(self, staged: memoryview, copies: Sequence[Copy]) -> Callable[[], None] | None:
        return cast("StagedSink", self._sink).take(staged, copies)

    def close(self) -> None:
        self._sink.close()
        self._arrived(self._number)


_SHORT = np.dtype([("region", "<u8"), ("nbytes", "<i8")])


def wants_in_short(bound: Mapping[str, BoundItem], items: Mapping[str, StoredItem], exchanger: Exchanger) -> bytes:
    """What one rank wants, 16 bytes for each region: enough to tell whether ranks want the same."""
    rows: dict[int, int] = {}
    for key, regions in wants_of(bound, exchanger.dtype_of)[0].items():
        bits = dtype_of(items[key.item].dtype(key.tensor)).bits
        for region in regions:
            if region.start < region.stop:
                text = repr((*key, region.box.offset, region.box.size, region.start, region.stop))
                mark = hashlib.blake2b(text.encode(), digest_size=8, usedforsecurity=False).digest()
                rows[int.from_bytes(mark, "little")] = region.elements * bits // 8
    return np.array(list(rows.items()), _SHORT).tobytes()


def is_worth_sharing(in_short: Sequence[bytes]) -> bool:
    """Whether what several ranks want alike is enough to read it once; from what all of them want in short."""
    rows = np.concatenate([np.frombuffer(each, _SHORT) for each in in_short])
    _, first, counts = np.unique(rows["region"], return_index=True, return_counts=True)
    return int(rows["nbytes"][first[counts > 1]].sum()) >= WORTHWHILE_BYTES


def plan_shared_load(
    targets: LiveTargets,
    items: Mapping[str, StoredItem],
    exchanger: Exchanger,
    coordinator: Coordinator,
    *,
    always: bool,
) -> SharedLoad | None:
    """The shared load of what all ranks want, or None if they had better read for themselves; alike on all ranks.

    Raises UsageError if it is to be shared ``always`` and the exchanger can't.
    """
    if not exchanger.can_carry(targets.notes):
        if always:
            raise UsageError(
                "usage.invalid",
                "the process group has no backend for the device that the targets are on",
                key="replicas",
                hint='init_process_group("cpu:gloo,cuda:nccl") serves both; replicas="read" needs none',
            )
        return None
    bits = {key: dtype_of(items[key.item].dtype(key.tensor)).bits for key in targets.wanted}
    block = max((row.block for item in items.values() for row in item.manifest.objects), default=1)
    reads = deal_reads(targets.wanted, bits, block=block)
    if not reads.shared or (not always and reads.shared < WORTHWHILE_BYTES):
        return None
    routes = []
    for key, want in targets.wanted.items():
        have = tuple(tuple(part.region for part in parts) for parts in reads.parts[key])
        name = f"{key.item}/{items[key.item].manifest.tensors.name_of(key.tensor)}"
        routes.append(Route(name, items[key.item].shape(key.tensor), have, want, dtype_of(key.dtype).bits))
    plan = plan_exchange(routes, nodes=[0] * coordinator.size, budget=BUDGET_BYTES)
    return SharedLoad(targets, reads, plan, exchanger, coordinator)
