"""What a manager with several tiers does before and after a save: the work itself goes on in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from pyckpt.engine.options import SaveOptions
from pyckpt.engine.threads import default_threads
from pyckpt.engine.verify import verify
from pyckpt.manager.events import Restored, RetentionReport, TierEvent
from pyckpt.manager.names import NamePattern
from pyckpt.manager.retention import Proof, Retention
from pyckpt.manager.tier import Tier
from pyckpt.manager.tier_feed import TierFeed
from pyckpt.manager.tier_set import TierSet
from pyckpt.storage.base import Store

__all__ = ["TieredRetention"]


class TieredRetention:
    """Retention of several tiers. Copies are waited for ``wait`` long at the end."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        stores: Sequence[Store],
        pattern: NamePattern,
        *,
        proof: Proof,
        grace: float | None,
        options: SaveOptions,
        replace_names: bool,
        wait: timedelta,
        on_tier: Callable[[TierEvent], object] | None,
    ) -> None:
        self._begun = False
        self._set = TierSet(tiers, stores, pattern)
        self._first = Retention(stores[0], pattern, tiers[0].policies, proof=proof, grace=grace)
        self._feed = TierFeed(
            self._set,
            replace_names=replace_names,
            proof=proof,
            grace=grace,
            threads=options.threads,
            accept_weak=options.accept_weak_store,
            wait=wait.total_seconds(),
            on_event=on_tier,
        )

    def after_sequence(self) -> int:
        """What the next checkpoint's sequence has to exceed."""
        return self._set.after_sequence()

    def admit(self, name: str, *, replace: bool) -> str:
        """Makes room for a checkpoint of this name; says why not, if there is none. Raises StoreError."""
        self._begun = True
        self._set.look_once()
        why = self._set.later(name, replace=replace)
        if why:
            return why
        with self._set.deleting:
            return self._first.admit(name, replace=replace, elsewhere=lambda: self._is_elsewhere(name))

    def _is_elsewhere(self, name: str) -> bool:
        """Whether a later tier has a sound checkpoint of another name."""
        for at, store in enumerate(self._set.stores[1:], 1):
            for each in self._set.last(at).sound:
                if each.name != name and verify(store, each.name, deep=False, threads=default_threads()).ok:
                    return True
        return False

    def after_save(
        self,
        name: str,
        *,
        youngest: Callable[[], float] = lambda: 0.0,
        superseded: Callable[[], bool] = lambda: False,
    ) -> RetentionReport:
        """Lets the copies and deletions begin; what they do is told by ``on_tier``."""
        del name, superseded
        self._feed.ask(saved=True, youngest=youngest)
        return RetentionReport()

    def after_restore(self, found: Restored, *, promote: bool) -> None:
        """Notes damage that a restore met, and lets the copies begin that an earlier process did not finish."""
        self._begun = True
        urls = [store.url for store in self._set.stores]
        for each in found.passed:
            if each.tier in urls and each.digest:
                self._set.damaged[urls.index(each.tier)].add(each.digest)
                if each.tier == urls[0]:
                    self._first.damaged.add(each.name)
        if promote and found.digest is not None and found.tier in urls[1:]:
            self._feed.promote(found.digest, urls.index(found.tier))
        self._feed.ask()

    def is_damaged(self, name: str, digest: str) -> bool:
        """Whether the checkpoint was found damaged on the first tier."""
        return name in self._first.damaged or digest in self._set.damaged[0]

    def close(self) -> None:
        """Waits for copies, but not for ever; then says what is missing where."""
        if self._begun:
            # Of the last saves of a run that leaves in haste nobody has told.
            self._feed.ask()
            self._feed.close()
