"""One save, from the state of every rank to a committed checkpoint: two rounds of messages, none of them a plan.

Round ``begin`` opens the attempt and lets every writer know who holds the same plain tensors. Then all write. Round
``commit`` brings the tables together, and the coordinator creates the root last.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack

from pyckpt.engine.commit import Assets, Commit, exists, timestamp
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.fingerprint import Groups, fingerprints, groups_of, structure_of
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.open import root_bytes
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.rounds import Fate, round_trip
from pyckpt.engine.save_plan import ItemPlan, ObjectPlan, plan_item, plan_shards
from pyckpt.engine.slots import Slot, number_leaves
from pyckpt.engine.stages import Stages, in_stages
from pyckpt.engine.stored import StoredObject
from pyckpt.engine.table import WriterTable, item_table, pack_table, unpack_table
from pyckpt.engine.threads import default_threads
from pyckpt.engine.whole_index import INDEX_NAME, whole_index
from pyckpt.engine.write import Meter, write_objects
from pyckpt.errors import NotFound, PyckptError, RankError, SaveAborted, StoreError, UsageError
from pyckpt.format.codecs import Chain
from pyckpt.format.keys import attempt_marker_key, check_asset_names, check_item_name, join, root_key
from pyckpt.format.root import decode_root
from pyckpt.storage.base import AlreadyThere, Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["Program", "Request", "save"]

MARKER_SECONDS = 5.0
"""How long a rank looks for the coordinator's marker: network file systems show new names late."""
STALE_WARNING = (
    "all {count} shards are the same as in the newest checkpoint before: was the state updated since, or is this a "
    "stale snapshot?"
)

_Listed = tuple[ObjectPlan, Sequence[Chain]]
Program = tuple[str, str]
"""Name and version of what writes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one rank asks to be saved."""

    collect: Callable[[], Sequence[ItemState]]
    """Gives this rank's items; called once, its errors are told to all ranks."""
    metadata: Mapping[str, object]
    """The coordinator's counts; ``collect`` may still fill it."""
    assets: Assets
    """The coordinator's count; ``collect`` may still fill it."""
    program: Program
    stages: Stages | None = None
    """What makes the sources readable, where they are not from the beginning."""
    release: Callable[[], None] | None = None
    """Called when the sources of stage 0 are not read any more, where somebody waits to change them."""
    turn: Callable[[], object] | None = None
    """Waits until it is this save's turn to be committed; called by the coordinator."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What every rank knows after the first round."""

    attempt: str
    marker: bytes
    """Content of the attempt marker."""
    groups: Mapping[str, Groups]
    """Item -> who holds the same tensors as this writer."""


def save(
    store: Store, name: str, request: Request, *, options: SaveOptions, coordinator: Coordinator
) -> SaveReport:
    """Saves the items of all ranks as the checkpoint ``name``; all ranks return once the root exists.

    On any error, on any rank, all ranks raise, nothing is committed, and what was written is removed as far as
    possible. Raises AlreadyExists, UnsupportedState, UsageError, StateDiverged, RankError, StoreError.
    """
    clock = _Clock()
    collected: list[tuple[ItemState, tuple[Slot, ...]]] = []

    def collect() -> bytes:
        for item in request.collect():
            check_item_name(item.name)
            collected.append((item, number_leaves(item)))
        clock.lap("collect")
        alone = coordinator.size == 1
        data: bytes = msgpack.packb({item.name: b"" if alone else structure_of(own) for item, own in collected})
        return data

    answer = round_trip(
        coordinator, "begin", collect, lambda structures: _begin(store, name, request, structures, options)
    )
    begun = _parse_begin(answer, coordinator.rank)
    clock.lap("begin")
    keys: list[str] = []
    fate = Fate()
    commit = Commit(
        store, name, begun.attempt, request.program, request.metadata, options.parent, options.after_sequence
    )

    def write() -> bytes:
        try:
            return _write(store, name, collected, begun, options, coordinator, keys, clock, request)
        except BaseException as error:
            if request.stages is not None:
                # The others may wait for tensors from this rank.
                coordinator.abandon(str(error))
            raise

    def decide(tables: Sequence[bytes]) -> bytes:
        if request.turn is not None:
            request.turn()
        return _commit(commit, tables, request.assets, options)

    try:
        answer = round_trip(coordinator, "commit", write, decide, fate)
    except SaveAborted:
        raise
    except BaseException:
        if fate.known:
            _clean_up(store, name, begun.attempt, keys, commit, coordinator)
        raise
    clock.lap("commit")
    if coordinator.rank == 0:
        with suppress(OSError, PyckptError):
            store.delete(join(name, attempt_marker_key(begun.attempt)))
    fields: dict[str, Any] = msgpack.unpackb(answer)
    warnings = tuple(fields.pop("warnings"))
    return SaveReport(
        **fields,
        items=tuple(item.name for item, _ in collected),
        seconds=clock.total(),
        phases=clock.phases,
        warnings=warnings,
        attempt=begun.attempt,
        url=checkpoint_url(store.url, name),
    )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self.phases: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases[phase] = now - self._last
        self._last = now

    def total(self) -> float:
        return time.perf_counter() - self._begin


def _begin(
    store: Store, name: str, request: Request, structures: Sequence[bytes], options: SaveOptions
) -> bytes:
    if store.info(root_key(name)) is not None:
        raise exists(store, name)
    for item, files in request.assets.items():
        check_item_name(item)
        check_asset_names(files)
    if store.conditional_put != "native" and not options.accept_weak_store:
        raise StoreError(
            "store.condition",
            "the store does not honour create-if-absent: two saves of one name could both believe that they won",
            key=store.url,
            hint="SaveOptions(accept_weak_store=True) saves anyway, if you make sure that one process saves a name",
        )
    attempt = secrets.token_hex(8)
    marker = json.dumps({"attempt": attempt, "created": timestamp()}, separators=(",", ":")).encode()
    key = join(name, attempt_marker_key(attempt))
    try:
        store.put_new(key, marker)
    except AlreadyThere as error:
        # A client that repeats a request whose answer was lost is told that its own marker is in the way.
        if store.get(key, limit=len(marker)) != marker:
            raise StoreError("store.io", "another object lies where the attempt's marker goes", key=key) from error
    data: bytes = msgpack.packb([attempt, marker, list(structures)])
    return data


def _parse_begin(answer: bytes, rank: int) -> _Begun:
    attempt, marker, structures = msgpack.unpackb(answer)
    by_rank: list[dict[str, bytes]] = [msgpack.unpackb(each) for each in structures]
    groups = {item: groups_of([each.get(item) for each in by_rank], rank) for item in by_rank[rank]}
    return _Begun(attempt, marker, groups)


def _write(
    store: Store,
    name: str,
    collected: Sequence[tuple[ItemState, tuple[Slot, ...]]],
    begun: _Begun,
    options: SaveOptions,
    coordinator: Coordinator,
    keys: list[str],
    clock: _Clock,
    request: Request,
) -> bytes:
    _check_marker(store, join(name, attempt_marker_key(begun.attempt)), begun.marker, coordinator)
    threads = options.threads or default_threads()
    plans = _plan(collected, begun, options, coordinator, threads)
    keys += [join(name, each.key) for plan in plans for each in plan.objects]
    clock.lap("plan")
    listed = [(each, plan.chains) for plan in plans for each in plan.objects]
    prints: dict[str, bytes] = {}

    def prove() -> None:
        if coordinator.size > 1 and options.replicas in ("sample", "full"):
            for plan in plans:
                item = plan.state.name
                prints[item] = fingerprints(plan.slots, mode=options.replicas, groups=begun.groups[item])

    meter = Meter(sum(each.size for each, _ in listed), options.progress)
    write = partial(write_objects, store, name, threads=threads, options=options, meter=meter)
    if request.stages is not None:
        stored = _write_stages(listed, request.stages, write)
        prove()
    elif request.release is not None:
        stored = _write_live(listed, write, then=(prove, request.release))
    else:
        stored = write(listed)
        prove()
    tables = {}
    at = 0
    for plan in plans:
        own = stored[at : at + len(plan.objects)]
        at += len(own)
        item = plan.state.name
        tables[item] = item_table(plan, own, prints.get(item, b""), begun.groups[item].plain, options)
    data = pack_table(WriterTable(tables, sum(each.size for each in stored)))
    clock.lap("write")
    return data


def _write_stages(
    listed: Sequence[_Listed], stages: Stages, write: Callable[[Sequence[_Listed]], list[StoredObject]]
) -> list[StoredObject]:
    """Writes the objects of each stage once its sources can be read; what is stored, in the order of the plans."""
    parts = in_stages(stages, lambda stage: write([each for each in listed if each[0].stage == stage]))
    stored = {id(each.plan): each for part in parts for each in part}
    return [stored[id(plan)] for plan, _ in listed]


def _write_live(
    listed: Sequence[_Listed],
    write: Callable[[Sequence[_Listed]], list[StoredObject]],
    *,
    then: Sequence[Callable[[], None]],
) -> list[StoredObject]:
    """Writes the objects of stage 0, whose sources may change after ``then``, before all others."""
    parts = write([each for each in listed if each[0].stage == 0])
    for step in then:
        step()
    parts += write([each for each in listed if each[0].stage != 0])
    stored = {id(each.plan): each for each in parts}
    return [stored[id(plan)] for plan, _ in listed]


def _check_marker(store: Store, key: str, marker: bytes, coordinator: Coordinator) -> None:
    """Proves that this rank sees the coordinator's store, and not a directory of the same name on another node."""
    if coordinator.rank == 0:
        return
    limit = time.monotonic() + MARKER_SECONDS
    while True:
        with suppress(FileNotFoundError):
            if store.get(key, limit=len(marker)) == marker:
                return
        if time.monotonic() > limit:
            raise RankError(
                "store.split",
                f"rank {coordinator.rank} does not see what rank 0 wrote to {store.url!r}",
                key=f"rank {coordinator.rank}",
                hint="all ranks must save to one shared store; a directory on each node's own disk is not one",
            )
        time.sleep(0.05)


def _plan(
    collected: Sequence[tuple[ItemState, tuple[Slot, ...]]],
    begun: _Begun,
    options: SaveOptions,
    coordinator: Coordinator,
    threads: int,
) -> list[ItemPlan]:
    shards = plan_shards(collected, rank=coordinator.rank, groups=begun.groups, options=options)
    return [
        plan_item(
            item,
            slots,
            shards[item.name],
            attempt=begun.attempt,
            rank=coordinator.rank,
            size=coordinator.size,
            threads=threads,
            options=options,
        )
        for item, slots in collected
    ]


def _commit(commit: Commit, packed: Sequence[bytes], assets: Assets, options: SaveOptions) -> bytes:
    tables = [unpack_table(data) for data in packed]
    assets = _with_indices(tables, assets, options)
    known = {item for table in tables for item in table.items}
    strangers = sorted(set(assets) - known)
    if strangers:
        raise UsageError(
            "usage.invalid", f"assets of items that are not saved: {strangers}", hint=f"items: {sorted(known)}"
        )
    committed = commit.run(tables, assets)
    root = committed.root
    warnings = []
    if committed.compared_shards and committed.unchanged_shards == committed.compared_shards:
        warnings.append(STALE_WARNING.format(count=committed.compared_shards))
    fields = {
        "digest": root.digest,
        "sequence": root.sequence,
        "tensors": sum(entry.tensors for entry in root.items.values()),
        "shards": sum(entry.shards for entry in root.items.values()),
        "bytes": sum(entry.bytes for entry in root.items.values()),
        "written": committed.written,
        "unchanged_shards": committed.unchanged_shards,
        "compared_shards": committed.compared_shards,
        "warnings": warnings,
        "weak": commit.store.conditional_put != "native",
    }
    data: bytes = msgpack.packb(fields)
    return data


def _with_indices(tables: Sequence[WriterTable], assets: Assets, options: SaveOptions) -> Assets:
    """The assets, and the index of every model whose tensors lie whole; one that the caller gave is kept."""
    out = {item: dict(files) for item, files in assets.items()}
    models = {name for table in tables for name, item in table.items.items() if item.kind == "model"}
    for item in sorted(models):
        index = whole_index(tables, item) if options.is_whole(item) else None
        if index is not None:
            out.setdefault(item, {}).setdefault(INDEX_NAME, index)
    return out


def _clean_up(
    store: Store, name: str, attempt: str, keys: Sequence[str], commit: Commit, coordinator: Coordinator
) -> None:
    """Removes what this rank wrote under names of the attempt, unless the attempt was committed after all."""
    with suppress(OSError, PyckptError):
        if _is_committed(store, name, attempt):
            return
        for key in keys:
            store.delete(key)
        if coordinator.rank == 0:
            commit.clean_up()
            store.delete(join(name, attempt_marker_key(attempt)))


def _is_committed(store: Store, name: str, attempt: str) -> bool:
    """True if the root is this attempt's, or can't be read and so may be."""
    try:
        return decode_root(root_bytes(store, name), checkpoint=name).attempt == attempt
    except NotFound:
        return False
    except PyckptError:
        return True
