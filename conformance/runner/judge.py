"""The oracle as the runner asks it: what is right about a store that an implementation has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..oracle import audit as audit_write
from ..oracle import audit_store
from ..oracle.content import content as formula
from ..oracle.dtypes import DTYPES
from ..oracle.listing import list_checkpoints
from ..oracle.names import ROOT
from ..oracle.reach import reached as reached_by
from ..oracle.snapshot import Snapshot
from ..oracle.store import DirectoryStore

__all__ = [
    "Moment",
    "audit",
    "changed",
    "collected",
    "content",
    "deleted_or_whole",
    "digests",
    "moment",
    "reached",
    "root_key",
]

Json = dict[str, Any]
Moment = Snapshot
"""A store as it was at one moment."""


def moment(view: Path) -> Moment:
    """A store as it is now."""
    return Snapshot.take(DirectoryStore(str(view)))


def audit(before: Moment, now: Moment, request: Json, response: Json | None, *, should: bool = False) -> list[str]:
    """What is wrong with the checkpoint that a request for writing has left, by what is recommended too if wanted.

    The response is None if the process was killed.
    """
    return audit_write.audit(before, now, request, response, should=should)


def digests(store: Moment) -> dict[str, str]:
    """Name to root digest of all checkpoints; a root that is refused has the code in its place."""
    return {
        each.name: each.root.digest if each.root is not None else each.refusal.code if each.refusal is not None else ""
        for each in list_checkpoints(store)
    }


def reached(store: Moment, checkpoint: str) -> set[str]:
    """The keys that a sound root reaches, itself left out."""
    root = next(each.root for each in list_checkpoints(store) if each.name == checkpoint and each.root is not None)
    return reached_by(store, root)


def root_key(checkpoint: str) -> str:
    """Where the root of a checkpoint lies."""
    return f"{checkpoint}/{ROOT}"


def changed(before: Moment, now: Moment) -> list[str]:
    """What is no more as it was, of all that was there."""
    return audit_store.untouched(before, now)


def deleted_or_whole(before: Moment, now: Moment, checkpoint: str) -> list[str]:
    """What is wrong after a deletion, finished or interrupted."""
    return audit_store.deleted_or_whole(before, now, checkpoint)


def collected(before: Moment, now: Moment) -> list[str]:
    """What is wrong after a collection, finished or interrupted."""
    return audit_store.collected(before, now)


def content(tensor: Json) -> bytes:
    """All bytes of a tensor of a request for writing, by the formula."""
    shape = tuple(int(size) for size in tensor["shape"])
    return formula(tensor["fill"], tensor["dtype"], DTYPES[tensor["dtype"]].bits, shape)
