"""The tiers of one manager as rank 0 knows them: their stores, what they were last seen to hold, and how they feel."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from pyckpt.engine.delete import delete
from pyckpt.manager.names import NamePattern
from pyckpt.manager.stored import own_checkpoints
from pyckpt.manager.tier import Tier
from pyckpt.manager.tier_health import Health
from pyckpt.manager.tier_plan import TierView
from pyckpt.storage.base import Store

__all__ = ["NOT_SEEN", "TierSet"]

LOOK_SECONDS = 15.0
"""How long the first save waits for listings of the tiers."""
NOT_SEEN = TierView(None)
"""Of a tier of which nothing is known."""


class TierSet:
    """Shared by the thread that trains and the one that copies."""

    def __init__(self, tiers: Sequence[Tier], stores: Sequence[Store], pattern: NamePattern) -> None:
        self.tiers = tuple(tiers)
        self.stores = tuple(stores)
        self.pattern = pattern
        self.health = tuple(Health(store.url) for store in stores)
        self.damaged: tuple[set[str], ...] = tuple(set() for _ in stores)
        """Digests of checkpoints that were found damaged, by tier."""
        self._last: list[TierView | None] = [None for _ in stores]
        self._highest = 0
        self._looked = False
        self._deleting = threading.Lock()

    def look(self, at: int) -> TierView:
        """Lists one tier now; what can't be listed is unknown, and the tier has an outage."""
        try:
            own = own_checkpoints(self.stores[at], self.pattern)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, training goes on
            self.health[at].failed(error)
            return NOT_SEEN
        view = TierView(own.sound, frozenset(each.name for each in own.broken), frozenset(self.damaged[at]))
        self._last[at] = view
        self._highest = max([self._highest, *(each.sequence for each in own.sound)])
        return view

    def saw(self, at: int, view: TierView) -> None:
        """Remembers what a copy or deletion has made of a tier."""
        self._last[at] = view

    def last(self, at: int) -> TierView:
        """What a tier was last seen to hold; of one that was never seen, nothing is known."""
        return self._last[at] or NOT_SEEN

    def look_once(self) -> None:
        """Lists the tiers that were never listed; not again, for one that hangs must not hold up every save."""
        if self._looked:
            return
        self._looked = True
        unseen = [at for at, view in enumerate(self._last) if view is None and self.health[at].ready()]
        looks = [threading.Thread(target=self.look, args=(at,), name="pyckpt-look", daemon=True) for at in unseen]
        for thread in looks:
            thread.start()
        limit = time.monotonic() + LOOK_SECONDS
        for thread in looks:
            thread.join(max(0.0, limit - time.monotonic()))

    def after_sequence(self) -> int:
        """What the sequence of the next checkpoint has to exceed, so that it is newer than all that any tier holds.

        While a tier was never seen, the clock in milliseconds stands for what it may hold (specification, 6.3).
        """
        return self._highest if all(self._last) else max(self._highest, time.time_ns() // 1_000_000)

    def later(self, name: str, *, replace: bool) -> str:
        """Why no checkpoint of this name may be saved for what later tiers held when last seen; empty if it may."""
        for at, view in enumerate(self._last):
            there = None if at == 0 or view is None else view.named(name)
            if there is not None and (there.pinned or not replace):
                why = "is pinned" if there.pinned else "is there, and on_exists is 'skip'"
                return f"in {self.stores[at].url} a checkpoint of this name {why}"
        return ""

    def delete(self, at: int, name: str, digest: str) -> None:
        """Deletes this checkpoint and no other that has taken its name. Raises Corrupt, NotFound, StoreError."""
        with self._deleting:
            delete(self.stores[at], name, expect=digest)

    @property
    def deleting(self) -> threading.Lock:
        """Held by whoever frees a name of the first tier, so that nobody deletes what takes the name then."""
        return self._deleting

    def answers(self, at: int) -> bool:
        """Whether a tier's store can be asked anything at all."""
        try:
            self.stores[at].list_names("")
        except Exception:  # noqa: BLE001 - that is the answer
            return False
        return True
