"""What has to be copied to which tier, and what may be deleted where: worked out from listings alone.

Nothing here touches a store. The rules that protect the only copy are those of ``plan_deletions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyckpt.manager.keep import Stored, wanted
from pyckpt.manager.tier import Tier

__all__ = ["Blocked", "Copy", "Deletion", "TierView", "age_of", "plan_copies", "plan_deletions"]


@dataclass(frozen=True, slots=True)
class TierView:
    """What one tier holds."""

    held: tuple[Stored, ...] | None
    """Those with a readable root, newest first; None: the tier could not be listed."""
    broken: frozenset[str] = frozenset()
    """Names with a damaged root."""
    damaged: frozenset[str] = frozenset()
    """Digests of checkpoints that were found damaged here."""

    @property
    def sound(self) -> tuple[Stored, ...]:
        """Those that are not known to be damaged."""
        return tuple(each for each in self.held or () if each.digest not in self.damaged)

    def has(self, digest: str) -> bool:
        """Whether a sound copy is here, as far as is known."""
        return any(each.digest == digest for each in self.sound)

    def named(self, name: str) -> Stored | None:
        """What has this name here."""
        return next((each for each in self.held or () if each.name == name), None)

    def with_copy(self, stored: Stored) -> TierView:
        """The same after a copy has arrived."""
        others = [each for each in self.held or () if each.name != stored.name]
        return replace(self, held=tuple(sorted([*others, stored], key=age_of, reverse=True)))

    def without(self, digest: str) -> TierView:
        """The same after a deletion."""
        return replace(self, held=tuple(each for each in self.held or () if each.digest != digest))


@dataclass(frozen=True, slots=True)
class Copy:
    """One checkpoint that a tier should have."""

    stored: Stored
    target: int
    sources: tuple[int, ...]
    """Tiers that have it, nearest first."""
    replaces: Stored | None = None
    """An older checkpoint of the same name, to be deleted first."""
    leaves: tuple[str, ...] = ()
    """Names of those that stay there then, newest first; one of them has to be sound before ``replaces`` goes."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """One checkpoint that a tier should have and can't get for now."""

    stored: Stored
    target: int
    why: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """One checkpoint that a tier need not have any more, once the proof has been looked at."""

    stored: Stored
    tier: int
    proof: tuple[int, Stored]
    """Tier and checkpoint that have to be sound before: the copy on a later tier, or a newer one here."""


def age_of(stored: Stored) -> tuple[int, str]:
    """Order of commits: greater is newer."""
    return stored.sequence, stored.digest


def plan_copies(
    tiers: Sequence[Tier], views: Sequence[TierView], *, replace_names: bool
) -> tuple[list[Copy], list[Blocked]]:
    """What is to be copied, newest first, and what can't be; a tier that could not be listed gets nothing."""
    copies: list[Copy] = []
    blocked: list[Blocked] = []
    for target in range(1, len(tiers)):
        view = views[target]
        if view.held is None:
            continue
        for stored in _coming(tiers, views, target):
            sources = tuple(at for at, each in enumerate(views) if at != target and each.has(stored.digest))
            if any(each.digest == stored.digest for each in view.held) or not sources:
                continue
            there = view.named(stored.name)
            leaves = tuple(each.name for each in view.sound if each.name != stored.name)
            why = _obstacle(there, stored.name in view.broken, leaves, replace_names=replace_names)
            if why:
                blocked.append(Blocked(stored, target, why))
            else:
                copies.append(Copy(stored, target, sources, there, leaves))
    copies.sort(key=lambda each: (age_of(each.stored), -each.target), reverse=True)
    return copies, blocked


def _obstacle(there: Stored | None, broken: bool, leaves: Sequence[str], *, replace_names: bool) -> str:
    if broken:
        return "a checkpoint with a damaged root has its name there, which only a person may remove"
    if there is None:
        return ""
    if there.pinned:
        return "an earlier checkpoint of this name is pinned there"
    if not replace_names:
        return "an earlier checkpoint of this name is there, and on_exists is 'skip'"
    return "" if leaves else "an earlier checkpoint of this name is there, and no other one that is sound"


def plan_deletions(tiers: Sequence[Tier], views: Sequence[TierView]) -> list[Deletion]:
    """What no policy wants any more, oldest first, and what its deletion depends on.

    Of a tier its newest sound checkpoint stays, and whatever is newer than that. A checkpoint stays as long as a later
    tier that it was meant for has neither it nor, if that tier does not want it any more, a newer one; or could not be
    listed.
    """
    coming = [{each.digest for each in _coming(tiers, views, at)} for at in range(len(tiers))]
    # One bad read may have called a checkpoint damaged that isn't: it waits like the others.
    trusting = [replace(view, damaged=frozenset()) for view in views]
    passes = [_passes(tiers, trusting, at) for at in range(len(tiers))]
    deletions = []
    for at, view in enumerate(views):
        if view.held is None or not view.sound:
            continue
        newest = view.sound[0]
        stay = wanted(tiers[at].policies, view.sound) | wanted(tiers[at].policies, view.held)
        if at == 0:
            # The next save may refer to whatever the newest one does, and must not find it deleted.
            stay |= set(newest.external)
        for stored in reversed(view.held):
            kept = stored.name in stay or stored.pinned or stored.digest in coming[at]
            if kept or age_of(stored) >= age_of(newest):
                continue
            later = range(at + 1, len(tiers))
            if any(views[each].held is None for each in later):
                continue
            bound = [each for each in later if _was_meant_for(tiers[each], views[each], passes[each], stored)]
            if all(_is_served(views[each], stored, wants=stored.digest in coming[each]) for each in bound):
                copy = next(((each, stored) for each in later if views[each].has(stored.digest)), None)
                deletions.append(Deletion(stored, at, copy or (at, newest)))
    return deletions


def _was_meant_for(tier: Tier, view: TierView, passes: Mapping[str, Stored], stored: Stored) -> bool:
    """Whether a tier would take a checkpoint if it were the newest; others push it out at most."""
    if stored.digest not in passes:
        return False
    candidates = {each.digest: each for each in view.sound} | dict(passes)
    older = [each for each in candidates.values() if age_of(each) <= age_of(stored)]
    return stored.name in wanted(tier.policies, sorted(older, key=age_of, reverse=True))


def _is_served(view: TierView, stored: Stored, *, wants: bool) -> bool:
    """Whether a later tier has what it needs, if this checkpoint goes."""
    return view.has(stored.digest) or (not wants and any(age_of(each) > age_of(stored) for each in view.sound))


def _coming(tiers: Sequence[Tier], views: Sequence[TierView], at: int) -> list[Stored]:
    """What a tier should hold of all that may go to it and that it has, newest first, by its policies."""
    candidates = {each.digest: each for each in views[at].sound} if at else {}
    candidates |= {each.digest: each for each in _passes(tiers, views, at).values()}
    ordered = sorted(candidates.values(), key=age_of, reverse=True)
    # Policies choose names; of one name only the newest checkpoint can be meant.
    newest: dict[str, Stored] = {}
    for each in ordered:
        newest.setdefault(each.name, each)
    names = wanted(tiers[at].policies, list(newest.values()))
    return [each for each in newest.values() if each.name in names]


def _passes(tiers: Sequence[Tier], views: Sequence[TierView], at: int) -> Mapping[str, Stored]:
    """Digest -> checkpoints of the nearer tiers that ``every`` lets through to this one; of the first tier, its own."""
    if at == 0:
        return {each.digest: each for each in views[0].sound}
    newest: dict[str, tuple[int, str]] = {}
    for view in views:
        for each in view.held or ():
            newest[each.name] = max(newest.get(each.name, age_of(each)), age_of(each))
    nearer: dict[str, Stored] = {}
    for view in views[:at]:
        for each in view.sound:
            # A checkpoint whose name has been taken by a newer one belongs to a branch that was left.
            if newest[each.name] == age_of(each) and all(tier.admits(each) for tier in tiers[1 : at + 1]):
                nearer.setdefault(each.digest, each)
    return nearer
