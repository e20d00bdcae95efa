"""One place of several that a run keeps its checkpoints in, and what becomes of them there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from pyckpt.errors import UsageError
from pyckpt.manager.keep import KeepPolicy, KeepYounger, Stored
from pyckpt.manager.tier_nodes import open_node_store
from pyckpt.storage.base import Store
from pyckpt.storage.url import open_store

__all__ = ["Keep", "Tier", "check_tiers", "open_tiers"]

Keep: TypeAlias = timedelta | KeepPolicy | Sequence[KeepPolicy] | None
"""How long, or what policies want; None: everything, for ever."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A store of a run, to be given nearest first. Raises UsageError for values that make no sense."""

    url: str | os.PathLike[str]
    """A directory or URL. Where ``scope`` is ``node``, ``{node}`` in it stands for the node's name."""
    keep: Keep = None
    """What stays here; ages count from the newest checkpoint, as in ``KeepYounger``."""
    every: int = 1
    """Of the checkpoints that reach this tier every so many-th goes in, by sequence; those that are pinned always."""
    scope: Literal["shared", "node"] = "shared"
    """``node``: a directory on each node's own disk; together they are one store. For the first tier."""
    node: Callable[[], str] | None = None
    """Gives the name of this process's node; None: ``GROUP_RANK`` of torchrun, or the name of the host."""

    def __post_init__(self) -> None:
        """Looks at the values."""
        if self.every < 1:
            raise UsageError("usage.invalid", f"every is {self.every}, expected at least 1", key=self.name)
        if self.scope not in ("shared", "node"):
            raise UsageError("usage.invalid", f"scope is {self.scope!r}, expected shared or node", key=self.name)
        if isinstance(self.keep, timedelta) and self.keep <= timedelta(0):
            raise UsageError("usage.invalid", f"keep is {self.keep}, expected more than 0", key=self.name)
        for policy in self.policies:
            if not callable(getattr(policy, "keep", None)):
                raise UsageError(
                    "usage.invalid",
                    f"keep has {policy!r}, expected a timedelta, policies such as KeepLast(3), or None",
                    key=self.name,
                )

    @property
    def name(self) -> str:
        """The URL as text."""
        return os.fspath(self.url)

    @property
    def policies(self) -> tuple[KeepPolicy, ...]:
        """What says which checkpoints stay; none: all do."""
        if self.keep is None:
            return ()
        if isinstance(self.keep, timedelta):
            return (KeepYounger(self.keep),)
        return tuple(self.keep) if isinstance(self.keep, Sequence) else (self.keep,)

    def admits(self, stored: Stored) -> bool:
        """Whether ``every`` lets this checkpoint in."""
        return stored.pinned or stored.sequence % self.every == 0


def check_tiers(tiers: Sequence[Tier]) -> None:
    """Raises UsageError for tiers that can't go together."""
    if not tiers:
        raise UsageError("usage.invalid", "found no tier, expected at least one", key="tiers")
    if tiers[0].every != 1:
        raise UsageError("usage.invalid", "every save commits on the first tier: every= is for later ones", key="every")
    names = [tier.name.rstrip("/") for tier in tiers]
    for name in names:
        if names.count(name) > 1:
            raise UsageError("usage.invalid", "found twice, expected a store for each tier", key=name)
    for tier in tiers[1:]:
        if tier.scope == "node":
            raise UsageError("usage.invalid", "expected scope='node' on the first tier alone", key=tier.name)


def open_tiers(tiers: Sequence[Tier], *, io: str) -> tuple[Store, ...]:
    """The stores of tiers that go together. Raises UsageError."""
    check_tiers(tiers)
    return tuple(
        open_node_store(tier.name, tier.node, io=io) if tier.scope == "node" else open_store(tier.url, io=io)
        for tier in tiers
    )
