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
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgpack

from pyckpt.engine.base import Base, choose_base
from pyckpt.engine.carry import Sources, carry_items
from pyckpt.engine.commit import Assets, Commit, Lost, timestamp
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.fingerprint import groups_of, structure_of
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.name_taken import exists
from pyckpt.engine.open import root_bytes
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.phases import Phases
from pyckpt.engine.report import SaveReport
from pyckpt.engine.rounds import Fate, round_trip
from pyckpt.engine.slots import Slot, number_leaves
from pyckpt.engine.stages import Stages
from pyckpt.engine.table import WriterTable, unpack_tables
from pyckpt.engine.whole_index import INDEX_NAME, whole_index
from pyckpt.engine.writer import Attempt, Writer
from pyckpt.errors import NotFound, PyckptError, RankError, SaveAborted, StoreError, UsageError
from pyckpt.format.keys import attempt_marker_key, check_asset_names, check_item_name, join, root_key
from pyckpt.format.root import decode_root
from pyckpt.storage.base import AlreadyThere, Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["Program", "Request", "SaveSkipped", "save"]

MARKER_SECONDS = 5.0
"""How long a rank looks for the coordinator's marker: network file systems show new names late."""
STALE_WARNING = (
    "all {count} shards are the same as in the newest checkpoint before: was the state updated since, or is this a "
    "stale snapshot?"
)

_SKIP: bytes = msgpack.packb(None)
Program = tuple[str, str]
"""Name and version of what writes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one rank asks to be saved."""

    collect: Callable[[], Sequence[ItemState] | None]
    """Gives this rank's items, or None if it would rather not save; called once, its errors are told to all ranks."""
    metadata: Mapping[str, object]
    """The coordinator's counts; ``collect`` may still fill it."""
    assets: Assets
    """The coordinator's count; ``collect`` may still fill it."""
    program: Program
    stages: Stages | None = None
    """What makes the sources readable, where they are not from the beginning."""
    release: Callable[[], None] | None = None
    """Called when the sources of stage 0 are not read any more, where somebody waits to change them."""
    carry: Sources = field(default_factory=dict)
    """Items that are taken over from other checkpoints; the coordinator's counts."""
    turn: Callable[[], object] | None = None
    """Waits until it is this save's turn to be committed; called by the coordinator."""


class SaveSkipped(SaveAborted):
    """A rank would rather not save, so nobody does."""


def save(
    store: Store, name: str, request: Request, *, options: SaveOptions, coordinator: Coordinator
) -> SaveReport:
    """Saves the items of all ranks as the checkpoint ``name``; all ranks return once the root exists.

    On any error, on any rank, all ranks raise, nothing is committed, and what was written is removed as far as
    possible. SaveSkipped on all ranks if one would rather not save. Raises AlreadyExists, UnsupportedState, UsageError,
    StateDiverged, RankError, StoreError; NotFound, Corrupt or Unsupported for an item that can't be carried over.
    """
    phases = Phases()
    collected: list[tuple[ItemState, tuple[Slot, ...]]] = []
    commit = Commit(store, name, request.program, request.metadata, options.parent, after=options.after_sequence)

    def collect() -> bytes:
        items = request.collect()
        if items is None:
            return _SKIP
        for item in items:
            check_item_name(item.name)
            collected.append((item, number_leaves(item)))
        phases.end("collect")
        alone = coordinator.size == 1
        data: bytes = msgpack.packb({item.name: b"" if alone else structure_of(own) for item, own in collected})
        return data

    answer = round_trip(
        coordinator, "begin", collect, lambda structures: _begin(commit, request, structures, options)
    )
    if answer == _SKIP:
        raise SaveSkipped("save.aborted", "skipped: enough saves are in flight", key=name)
    attempt = _parse_begin(answer, coordinator.rank)
    phases.end("begin")
    writer = Writer(store, name, collected, attempt, options, coordinator, phases)
    fate = Fate()

    def write() -> bytes:
        try:
            _check_marker(store, join(name, attempt_marker_key(attempt.id)), attempt.marker, coordinator)
            return writer.run(request.stages, request.release)
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
        fields = _conclude(coordinator, write, decide, fate)
        while "lost" in fields:
            fields = _conclude(coordinator, partial(writer.write_lost, fields["lost"]), decide, fate)
    except SaveAborted:
        raise
    except BaseException:
        if fate.known:
            _clean_up(store, name, attempt.id, writer.keys, commit, coordinator)
        raise
    phases.end("commit")
    if coordinator.rank == 0:
        with suppress(OSError, PyckptError):
            store.delete(join(name, attempt_marker_key(attempt.id)))
    warnings, external = tuple(fields.pop("warnings")), tuple(fields.pop("external"))
    return SaveReport(
        **fields,
        items=(*(item.name for item, _ in collected), *request.carry),
        seconds=phases.total(),
        phases=phases.seconds,
        warnings=warnings,
        external=external,
        attempt=attempt.id,
        url=checkpoint_url(store.url, name),
    )


def _conclude(
    coordinator: Coordinator, write: Callable[[], bytes], decide: Callable[[Sequence[bytes]], bytes], fate: Fate
) -> dict[str, Any]:
    """The last round: fields of the report; or ``lost``, checkpoints whose objects can't be referenced any more."""
    fields: dict[str, Any] = msgpack.unpackb(round_trip(coordinator, "commit", write, decide, fate))
    return fields


def _begin(commit: Commit, request: Request, structures: Sequence[bytes], options: SaveOptions) -> bytes:
    if _SKIP in structures:
        return _SKIP
    store, name = commit.store, commit.checkpoint
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
    saved = {item for each in structures for item in msgpack.unpackb(each)}
    commit.carried = carry_items(store, name, request.carry, saved)
    base, commit.warnings = choose_base(store, name, options.reference)
    commit.origins = {} if base is None else base.origins
    commit.attempt = attempt = secrets.token_hex(8)
    marker = json.dumps({"attempt": attempt, "created": timestamp()}, separators=(",", ":")).encode()
    key = join(name, attempt_marker_key(attempt))
    try:
        store.put_new(key, marker)
    except AlreadyThere as error:
        # A client that repeats a request whose answer was lost is told that its own marker is in the way.
        if store.get(key, limit=len(marker)) != marker:
            raise StoreError("store.io", "another object lies where the attempt's marker goes", key=key) from error
    data: bytes = msgpack.packb([attempt, marker, list(structures), None if base is None else base.pack()])
    return data


def _parse_begin(answer: bytes, rank: int) -> Attempt:
    attempt, marker, structures, base = msgpack.unpackb(answer)
    by_rank: list[dict[str, bytes]] = [msgpack.unpackb(each) for each in structures]
    groups = {item: groups_of([each.get(item) for each in by_rank], rank) for item in by_rank[rank]}
    return Attempt(attempt, marker, groups, None if base is None else Base(*base))


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


def _commit(commit: Commit, packed: Sequence[bytes], assets: Assets, options: SaveOptions) -> bytes:
    tables = unpack_tables(packed)
    assets = _with_indices(tables, assets, options)
    known = {item for table in tables for item in table.items}
    strangers = sorted(set(assets) - known)
    if strangers:
        hint = f"items that are saved: {sorted(known)}; what is carried over keeps the assets that it has"
        raise UsageError("usage.invalid", f"assets of items that are not saved: {strangers}", hint=hint)
    committed = commit.run(tables, assets)
    if isinstance(committed, Lost):
        lost: bytes = msgpack.packb({"lost": list(committed.checkpoints)})
        return lost
    root = committed.root
    warnings = dict.fromkeys([*commit.warnings, *(text for table in tables for text in table.warnings)])
    if committed.fresh.stale:
        warnings[STALE_WARNING.format(count=committed.fresh.shards)] = None
    fields = {
        "digest": root.digest,
        "sequence": root.sequence,
        "tensors": sum(entry.tensors for entry in root.items.values()),
        "shards": sum(entry.shards for entry in root.items.values()),
        "bytes": sum(entry.bytes for entry in root.items.values()),
        "written": committed.written,
        "referenced": committed.referenced,
        "referenced_shards": committed.referenced_shards,
        "carried": sum(each.stored for each in commit.carried.values()),
        "external": [each.checkpoint for each in root.external],
        "unchanged_shards": committed.fresh.unchanged,
        "compared_shards": committed.fresh.compared,
        "warnings": list(warnings),
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
