"""The committer: the procedure of section 13.1, with every writer of the save in this process."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import names
from .asset_write import described, write_asset
from .carry import carry_over, check_external, joined_external
from .encode_blocks import compressed
from .errors import Rejected
from .freshness import unchanged
from .given import GivenWrite
from .limits import MAXJSON
from .listing import list_checkpoints, newest
from .manifest_write import Assigned, assign, manifest_bytes
from .root import Root, root_digest
from .root_write import metadata_json, now, root_bytes
from .union import unite
from .writable import WritableStore, claim, discard, exists, honours_condition
from .writer import Attempt, Table, run_writer


@dataclass(frozen=True)
class Committed:
    """What a save gives when it has succeeded."""

    digest: str
    attempt: str
    weak: bool
    unchanged: bool


def commit(given: GivenWrite, store: WritableStore, stores: Sequence[WritableStore]) -> Committed:
    """Save; `stores` are those of the writers, in order."""
    metadata = metadata_json(given.metadata)
    root_key = f"{given.checkpoint}/{names.ROOT}"
    if exists(store, root_key):  # step 1
        raise _exists(given.checkpoint, "save")
    attempt = _begin(given, store)
    try:
        weak = _is_weak(given, store)
        data, same = _Preparation(given, store, attempt, weak).root(metadata, _collect(given, attempt, stores))
    except BaseException:
        discard(store, attempt.marker_key)  # step 15; SCF-LAYOUT-011
        raise
    # If step 13 fails without a clear outcome, the root may still come to be: nothing is removed (SCF-COMMIT-008).
    outcome = claim(store, root_key, data, weak=weak)
    discard(store, attempt.marker_key)  # step 14
    if outcome == "taken":
        raise _exists(given.checkpoint, "commit")
    return Committed(root_digest(data), attempt.id, weak, same)


def _is_weak(given: GivenWrite, store: WritableStore) -> bool:
    """Whether the store does not honour create-if-absent, and the user accepts that (SCF-STORE-014)."""
    weak = not honours_condition(store, given.checkpoint)
    if weak and not given.accept_weak:
        message = "the store does not honour create-if-absent"
        raise Rejected("store.condition", message, subject=given.checkpoint, phase="commit")
    return weak


def _exists(checkpoint: str, phase: str) -> Rejected:
    return Rejected("checkpoint.exists", f"there is a checkpoint {checkpoint}", subject=checkpoint, phase=phase)


def _begin(given: GivenWrite, store: WritableStore) -> Attempt:
    """Step 2: the attempt and its marker (SCF-LAYOUT-005)."""
    drawn = secrets.token_hex(8)
    marker = json.dumps({"attempt": drawn, "created": now()}, separators=(",", ":")).encode()
    attempt = Attempt(given.checkpoint, drawn, marker, len(given.writers))
    if claim(store, attempt.marker_key, marker) == "taken":
        raise Rejected("store.io", "the attempt marker is taken", subject=attempt.marker_key)
    return attempt


@dataclass
class _Writer:
    """A writer at work, and what has become of it: neither table nor failure while it is silent."""

    table: Table | None = None
    failure: BaseException | None = None


def _collect(given: GivenWrite, attempt: Attempt, stores: Sequence[WritableStore]) -> list[Table]:
    """Steps 3 to 8: the table of each writer, waited for no longer than the deadline (SCF-COMMIT-004).

    Writers run one after the other, so that a save makes the same calls in the same order each time.
    """
    writers = []
    for number, (writer, store) in enumerate(zip(given.writers, stores, strict=True)):
        found = _Writer()
        writers.append(found)
        if writer.fault == "fails":
            who = f"writer {number}"
            found.failure = Rejected("rank.failed", f"{who} failed", subject=who, phase="commit")
        elif writer.fault is None:
            arguments = (found, number, attempt, store, given)
            thread = threading.Thread(target=_run, args=arguments, daemon=True)
            thread.start()
            thread.join(given.deadline)
    failures = [found.failure for found in writers if found.failure is not None]
    if failures:  # SCF-COMMIT-003, SCF-COMMIT-007
        raise _worst(failures)
    silent = [str(number) for number, found in enumerate(writers) if found.table is None]
    if silent:
        who = f"writer {', '.join(silent)}"
        raise Rejected("rank.timeout", f"{who} was silent for {given.deadline} s", subject=who, phase="commit")
    return [found.table for found in writers if found.table is not None]


def _run(found: _Writer, number: int, attempt: Attempt, store: WritableStore, given: GivenWrite) -> None:
    try:
        found.table = run_writer(number, attempt, store, given.items, given.writers[number].trees)
    except BaseException as failure:  # noqa: BLE001 - it is raised again by the committer
        found.failure = failure


def _worst(failures: Sequence[BaseException]) -> BaseException:
    """The first failure; of a refusal that several writers share, the names of all."""
    first = failures[0]
    if not isinstance(first, Rejected):
        return first
    same = [one for one in failures if isinstance(one, Rejected) and one.code == first.code]
    subject = ", ".join(one.subject for one in same)
    return Rejected(first.code, "; ".join(one.message for one in same), subject=subject, phase=first.phase)


@dataclass(frozen=True)
class _Preparation:
    """Steps 9 to 12: everything that the root reaches, and the root's bytes."""

    given: GivenWrite
    store: WritableStore
    attempt: Attempt
    weak: bool
    items: dict[str, Assigned] = field(default_factory=dict)

    def root(self, metadata: Any, tables: Sequence[Table]) -> tuple[bytes, bool]:
        """The root to be created, and whether a model or optimizer is as it was (SCF-COMMIT-012)."""
        given, store = self.given, self.store
        for name in given.items:
            trees = [(place, writer.trees[name]) for place, writer in enumerate(given.writers) if name in writer.trees]
            self.items[name] = assign(name, unite(trees), tables)
        carried = {name: carry_over(store, given.checkpoint, *source) for name, source in given.carry.items()}
        members = {name: self.item(name) for name in given.items}
        last = _newest(store)
        external = joined_external(carried.values())
        data = root_bytes(
            {
                "attempt": self.attempt.id,
                "created": now(),
                "sequence": _sequence(last, given.checkpoint),
                "parent": given.parent,
                "metadata": metadata,
                "items": {**members, **{name: one.member for name, one in carried.items()}},
                "external": external,
            },
            given.checkpoint,
        )
        kinds = {name: item.kind for name, item in given.items.items()}
        same = unchanged(store, last, kinds, self.items)
        self.check(external)
        return data, same

    def item(self, name: str) -> Mapping[str, Any]:
        """Step 10: the assets, then the manifest; gives the item's member of the root."""
        item, assigned = self.given.items[name], self.items[name]
        assets = {
            asset: write_asset(self.store, self.attempt, name, asset, data, weak=self.weak)
            for asset, data in item.assets.items()
        }
        raw = manifest_bytes(name, self.attempt.id, assigned)
        stored = compressed(raw)
        key = f"{name}/manifest-{self.attempt.id}.msgpack.zst"
        self.store.create(f"{self.attempt.checkpoint}/{key}", stored)
        return {
            "kind": item.kind,
            "manifest": described(key, stored),
            "raw_size": len(raw),
            "counts": assigned.counts,
            "assets": assets,
        }

    def check(self, external: Sequence[Mapping[str, str]]) -> None:
        """Step 12: what is referenced and the marker are still there."""
        check_external(self.store, external)
        if not exists(self.store, self.attempt.marker_key):  # SCF-COMMIT-009
            message = "the attempt marker is gone: a collector has judged the attempt dead"
            raise Rejected("save.aborted", message, subject=self.attempt.marker_key, phase="commit")


def _newest(store: WritableStore) -> Root | None:
    """Step 11: of the roots that can be read; a store that fails is no root that can't be read."""
    found = list_checkpoints(store)
    failures = [one.refusal for one in found if one.refusal is not None and one.refusal.code == "store.io"]
    if failures:
        raise failures[0]
    return newest(found)


def _sequence(last: Root | None, checkpoint: str) -> int:
    """One more than the highest of the readable roots (SCF-ROOT-012)."""
    sequence = 1 if last is None else last.sequence + 1
    if sequence > MAXJSON:  # SCF-LIMIT-003
        raise Rejected("limit.exceeded", f"the sequence {sequence}", subject=checkpoint, phase="commit")
    return sequence
