"""Garbage collection: removes what no checkpoint reaches, old enough that nobody can still be using it.

The order of the looks matters (specification, section 13.5): the clock, then all roots, then the tombstones, then the
keys. In any other order a checkpoint that is deleted in between would be in neither list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pyckpt.engine.collect_judge import Judged, Sight, judge_key, judge_tombstone
from pyckpt.engine.collect_reach import Tombstone, reached_by, roots_of, tombstones_of
from pyckpt.errors import InvalidKey, StoreError, UsageError
from pyckpt.format.keys import check_checkpoint_name, tombstone_key
from pyckpt.storage.base import ObjectInfo, Store
from pyckpt.storage.local import LocalStore

__all__ = ["GRACE_SECONDS", "Collected", "collect_garbage"]

GRACE_SECONDS = 24 * 3600.0
"""Default grace: longer than any save or load."""

_MANY_FAILURES: Final = 8
"""Then it is the store that fails, not one of its objects."""

_ORDER: Final = {"marker": 0, "object": 1, "displaced": 2, "asset": 3, "manifest": 4, "tombstone": 5}


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed, or would remove."""

    keys: tuple[str, ...]
    bytes: int
    kept_for_grace: int
    """Keys that no root reaches and that are still too young or protected by a young tombstone; tombstones apart."""
    judged: tuple[Judged, ...] = ()
    """Every key that was looked at, with what becomes of it and why: first what goes, in the order of removal."""


def collect_garbage(
    store: Store,
    *,
    grace: float = GRACE_SECONDS,
    only: Callable[[str], bool] | None = None,
    dry_run: bool = False,
) -> Collected:
    """Removes the format's keys that no root reaches and that are at least ``grace`` seconds old by the store's clock.

    ``only`` restricts it to the checkpoint names that it takes. Files of others are never touched. Raises
    UsageError, and removes nothing, while a root or manifest can't be read; Unsupported for features that collectors
    must know; StoreError after all that could be removed is, if something could not.
    """
    if grace < 0:
        raise UsageError("usage.invalid", f"grace is {grace} seconds, expected 0 or more")
    names, stones, sight = _look(store, grace)
    seen = [
        (info, each)
        for name in names
        if only is None or only(name)
        for info in store.list(f"{name}/")
        if (each := judge_key(info, name, sight)) is not None
    ]
    judged = [_looked_at_again(store, info, each) for info, each in seen]
    # A tombstone has not to wait for what only that of another name could remove, and that one may be gone.
    known = {each.key for each in judged if each.goes or each.reason == "foreign"}
    known |= sight.reached.keys() | sight.protected.keys()
    for stone in stones:
        if only is None or only(stone.checkpoint):
            old = sight.now - stone.info.modified >= grace
            empty = old and stone.is_read and all(key in known or _gone(store, key) for key in stone.reaches)
            judged.append(judge_tombstone(stone, sight, empty=empty))
    judged.sort(key=lambda each: (not each.goes, _ORDER.get(each.kind, 9), each.key))
    going = [each for each in judged if each.goes]
    if not dry_run:
        _remove(store, going, {info.key: info for info, _ in seen})
        if isinstance(store, LocalStore):
            store.remove_leftovers(sight.now - grace)
    young = sum(each.until is not None and each.kind != "tombstone" for each in judged)
    return Collected(tuple(each.key for each in going), sum(each.bytes for each in going), young, tuple(judged))


def _remove(store: Store, going: Sequence[Judged], listed: Mapping[str, ObjectInfo]) -> None:
    """Removes keys in this order, and goes on where one can't be removed; the next run finds it again."""
    failed: list[StoreError] = []
    guarded: set[tuple[str, str]] = set()
    for each in going:
        attempt = (each.key.partition("/")[0], each.by)
        # By its marker a save that lasts too long sees that it was collected; tombstones know of assets that are left.
        if (attempt in guarded and each.reason == "orphan") or (failed and each.kind == "tombstone"):
            continue
        try:
            # A copy may just have written it again, under the same key.
            if each.key not in listed or _unchanged(store, listed[each.key]):
                store.delete(each.key)
        except StoreError as error:
            failed.append(error)
            if len(failed) == _MANY_FAILURES:
                break
            if each.kind == "marker":
                guarded.add(attempt)
    if failed:
        raise StoreError(
            "store.io",
            f"{len(failed)} of {len(going)} objects could not be removed: {failed[0].message}",
            key=failed[0].key,
            hint="collect again; what could be removed is gone",
        ) from failed[0]


def _look(store: Store, grace: float) -> tuple[list[str], list[Tombstone], Sight]:
    """Names that may have something below them, all tombstones, and what the roots and tombstones reach."""
    now = store.now()
    names = [name for name in store.list_names("") if _is_name(name)]
    reached: dict[str, str] = {}
    standing = set()
    for name, root in roots_of(store, names):
        standing.add(tombstone_key(name, root.digest))
        for key in reached_by(store, name, root, f"the root of {name!r}"):
            reached.setdefault(key, name)
    stones = sorted(tombstones_of(store, now, grace), key=lambda stone: stone.info.modified)
    protected: dict[str, Tombstone] = {}
    deleted: dict[str, Tombstone] = {}
    for stone in stones:
        for key in stone.reaches:
            if now - stone.info.modified < grace:
                protected[key] = stone
            elif key not in deleted or key.startswith(f"{stone.checkpoint}/"):
                deleted[key] = stone
    return names, stones, Sight(now, grace, reached, protected, deleted, standing)


def _looked_at_again(store: Store, info: ObjectInfo, judged: Judged) -> Judged:
    """A plain asset's key can be created a second time; another save may just have done so."""
    if judged.kind != "asset" or not judged.goes:
        return judged
    return judged if _unchanged(store, info) else replace(judged, reason="young")


def _unchanged(store: Store, info: ObjectInfo) -> bool:
    now = store.info(info.key)
    return now is not None and _same_time(now.modified, info.modified)


def _same_time(one: float, other: float) -> bool:
    """Some object stores list fractions of seconds, and leave them out when they are asked for one object."""
    return one == other or ((one.is_integer() or other.is_integer()) and abs(one - other) < 1)


def _is_name(name: str) -> bool:
    try:
        check_checkpoint_name(name)
    except InvalidKey:
        return False
    return True


def _gone(store: Store, key: str) -> bool:
    return store.info(key) is None
