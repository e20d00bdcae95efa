"""Why a key of a store goes or stays when garbage is collected. Pure: what was seen in, a judgement out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pyckpt.engine.collect_reach import Tombstone
from pyckpt.format.keys import classify_key
from pyckpt.storage.base import ObjectInfo

__all__ = ["Judged", "Kind", "Reason", "Sight", "judge_key", "judge_tombstone"]

Kind = Literal["marker", "object", "displaced", "asset", "manifest", "tombstone", "foreign"]
Reason = Literal["orphan", "deleted", "spent", "reached", "protected", "young", "standing", "waiting", "foreign"]
"""What goes: ``orphan``, ``deleted``, ``spent``. All else stays. See ``Judged.reason``."""

_GOING: Final = frozenset({"orphan", "deleted", "spent"})
_DISPLACED = re.compile(r"[^/]+/[0-9a-f]{16}\.d/.+\Z")
_ATTEMPT = re.compile(r"(?:\.attempt-|[^/]+/(?:manifest-)?)([0-9a-f]{16})(?:\Z|[-./])")


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of one key."""

    key: str
    bytes: int
    kind: Kind
    reason: Reason
    """Goes: ``orphan``, written by an attempt that no root or tombstone knows; ``deleted``, of a deleted checkpoint;
    ``spent``, a tombstone whose checkpoint has nothing left.

    Stays: ``reached`` by a root; ``protected`` by a young tombstone; ``young``, an attempt that may be in flight, or a
    tombstone; ``standing``, a tombstone whose root is there all the same; ``waiting``, a tombstone of which something
    is left; ``foreign``, not known to be of a checkpoint.
    """
    by: str
    """Name of the checkpoint whose root or tombstone it is, or the attempt; empty where nobody is known."""
    since: float
    """When that happened, in seconds since 1970 by the store's clock: the deletion, else the writing of the key."""
    until: float | None
    """When the grace period ends, for what is kept for it."""

    @property
    def goes(self) -> bool:
        """Whether it is removed."""
        return self.reason in _GOING


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a store, in the order that the specification asks for."""

    now: float
    grace: float
    reached: Mapping[str, str]
    """Key -> name of a checkpoint that reaches it."""
    protected: Mapping[str, Tombstone]
    """Key -> the youngest of the young tombstones that reach it."""
    deleted: Mapping[str, Tombstone]
    """Key -> an old tombstone that reaches it, that of the key's own checkpoint if there is one."""
    standing: Collection[str]
    """Keys that the tombstones of the roots that are there would have."""


def judge_key(info: ObjectInfo, checkpoint: str, sight: Sight) -> Judged | None:
    """What becomes of a key below a checkpoint's name; None for roots."""
    own = info.key[len(checkpoint) + 1 :]
    kind = _kind(own)
    if kind is None:
        return None

    def judged(reason: Reason, by: str, since: float = info.modified, until: float | None = None) -> Judged:
        return Judged(info.key, info.size, kind, reason, by, since, until)

    if info.key in sight.reached:
        return judged("reached", sight.reached[info.key])
    shield, stone = sight.protected.get(info.key), sight.deleted.get(info.key)
    if shield is not None and kind != "foreign":
        return judged("protected", shield.checkpoint, shield.info.modified, shield.info.modified + sight.grace)
    # Anybody may have put a file where an asset would be: only a tombstone of this name says that it was one.
    if kind == "foreign" or (kind == "asset" and (stone is None or stone.checkpoint != checkpoint)):
        return judged("foreign", "")
    if sight.now - info.modified < sight.grace:
        return judged("young", _attempt(own), until=info.modified + sight.grace)
    if stone is not None:
        return judged("deleted", stone.checkpoint, stone.info.modified)
    return judged("orphan", _attempt(own))


def judge_tombstone(stone: Tombstone, sight: Sight, *, empty: bool) -> Judged:
    """What becomes of a tombstone; ``empty`` says that nothing is left that only it knows."""
    since = stone.info.modified
    reason: Reason = "spent" if empty else "waiting"
    until = None
    if sight.now - since < sight.grace:
        reason, until = "young", since + sight.grace
    elif stone.info.key in sight.standing:
        reason = "standing"
    return Judged(stone.info.key, stone.info.size, "tombstone", reason, stone.checkpoint, since, until)


def _kind(own: str) -> Kind | None:
    """What a checkpoint-relative key is for; None for the root."""
    if _DISPLACED.match(own):
        return "displaced"
    kind = classify_key(own)
    return None if kind == "root" else kind


def _attempt(own: str) -> str:
    match = _ATTEMPT.match(own)
    return "" if match is None else match[1]
