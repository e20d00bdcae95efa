"""The thread that brings checkpoints from tier to tier, on rank 0, while training goes on.

There is no queue that a dead process could take with it: what is missing where is found by comparing listings.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - its hook for the interpreter's end has to be set before ours
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from pyckpt.engine.background import step_back
from pyckpt.manager.events import TierEvent
from pyckpt.manager.retention import Proof
from pyckpt.manager.tier_plan import Blocked, Copy, TierView, plan_copies, plan_deletions
from pyckpt.manager.tier_set import NOT_SEEN, TierSet
from pyckpt.manager.tier_work import Stopped, TierWork

__all__ = ["TierFeed"]

_log = logging.getLogger("pyckpt")

UNKNOWN_SECONDS = 10.0
"""Pause after an error that no tier is to blame for."""
ABANDON_SECONDS = 5.0
"""How long the end of a copy in flight is waited for once it was told to stop."""


class TierFeed:
    """Copies, and deletes what no tier's policy wants. Begins with the first call of ``ask``."""

    def __init__(
        self,
        tiers: TierSet,
        *,
        replace_names: bool,
        proof: Proof,
        grace: float | None,
        threads: int | None,
        accept_weak: bool,
        wait: float,
        on_event: Callable[[TierEvent], object] | None,
    ) -> None:
        """``wait`` is how many seconds the end waits for copies."""
        self._wait = wait
        self._set = tiers
        self._replace_names = replace_names
        self._on_event = on_event
        self._work = TierWork(tiers, proof, grace, threads, accept_weak, self._tell, lambda: self._stopped)
        self._said: set[tuple[str, str, str]] = set()
        self._promotions: list[tuple[str, int]] = []
        self._may_delete = False
        self._missing: list[str] = []
        self._changed = threading.Condition()
        self._asked = False
        self._closing = False
        self._hurry = False
        self._stopped = False
        self._settled = True
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def ask(self, *, saved: bool = False, youngest: Callable[[], float] | None = None) -> None:
        """There may be something to do; ``saved`` once this process has committed a checkpoint: now old ones may go.

        ``youngest`` gives the age in seconds below which nothing is collected where saves are in flight.
        """
        with self._changed:
            self._work.youngest = youngest or self._work.youngest
            self._may_delete |= saved
            self._asked, self._settled = True, False
            self._changed.notify_all()
            if self._thread is None and len(self._set.stores) > 0 and not self._closing:
                # A daemon, because an interrupt while the interpreter waits for it at its end must be able to end it.
                self._thread = threading.Thread(target=self._run, name="pyckpt-tiers", daemon=True)
                self._thread.start()
                _open.add(self)

    def promote(self, digest: str, source: int) -> None:
        """Copies a checkpoint back to the nearest tier that takes it."""
        with self._changed:
            self._promotions.append((digest, source))
        self.ask()

    def close(self) -> list[str]:
        """Waits a while for what is still to be copied; then ends, and gives and logs what is missing where."""
        if self._thread is None or self._process != os.getpid():
            return []
        with self._changed:
            self._closing = self._hurry = True
            self._settled &= not self._missing
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._settled or not self._is_alive(), self._wait)
            finally:
                self._stopped = True
                self._changed.notify_all()
        self._thread.join(ABANDON_SECONDS)
        self._thread = None
        _open.discard(self)
        if self._missing:
            _log.warning("closed with copies missing, which are made at the next start: %s", "; ".join(self._missing))
        return list(self._missing)

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        step_back()
        while not self._stopped:
            with self._changed:
                hurried, self._asked, self._hurry = self._hurry, False, False
            pause: float | None = UNKNOWN_SECONDS
            done = False
            try:
                done = self._cycle(hurried=hurried)
                pause = min((each.wait_seconds() for each in self._set.health if each.down), default=None)
            except Stopped:
                return
            except Exception:  # noqa: BLE001
                _log.exception("the copying between tiers met an error that it doesn't know; it goes on")
            with self._changed:
                self._settled = done and not self._asked
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopped or self._asked or self._hurry, pause)

    def _cycle(self, *, hurried: bool) -> bool:
        """Looks at all tiers and does what there is to do; True if nothing is left that could be done now."""
        failed = self._work.failed = set()
        views: list[TierView] = []
        for at, health in enumerate(self._set.health):
            asked = hurried or health.ready()
            views.append(self._set.look(at) if asked else NOT_SEEN)
            if views[at].held is None:
                failed.add(at)
        self._promote(views)
        self._missing = self._list_missing(views)
        # What has arrived may make room for what could not be copied before.
        while (arrived := self._copy_all(self._plan(views), views)) > 0:
            pass
        if self._may_delete:
            self._delete_all(views)
            self._work.collect(range(len(views)))
        for at, health in enumerate(self._set.health):
            if at not in failed:
                health.worked()
        self._missing = self._list_missing(views)
        return not failed and arrived == 0

    def _plan(self, views: Sequence[TierView]) -> list[Copy]:
        copies, blocked = plan_copies(self._set.tiers, views, replace_names=self._replace_names)
        for each in blocked:
            self._tell(TierEvent("blocked", self._set.stores[each.target].url, each.stored.name, why=each.why))
        return copies

    def _copy_all(self, copies: Sequence[Copy], views: list[TierView]) -> int:
        """How many arrived; -1 if it was broken off because there is something new, which goes first."""
        arrived = 0
        for job in copies:
            if self._stopped:
                raise Stopped
            if self._asked:
                arrived = -1
                break
            if self._work.copy(job):
                arrived += 1
                views[job.target] = views[job.target].with_copy(job.stored)
                self._set.saw(job.target, views[job.target])
                self._missing = self._list_missing(views)
        for at, view in enumerate(views):
            views[at] = replace(view, damaged=frozenset(self._set.damaged[at]))
        return arrived

    def _delete_all(self, views: list[TierView]) -> None:
        proven: set[tuple[int, str]] = set()
        for job in plan_deletions(self._set.tiers, views):
            self._work.delete(job, proven)

    def _promote(self, views: list[TierView]) -> None:
        with self._changed:
            asked, self._promotions = self._promotions, []
        for digest, source in asked:
            stored = next((each for each in views[source].sound if each.digest == digest), None)
            for target in range(source):
                view = views[target]
                if stored is None or view.has(digest):
                    break
                taken = view.named(stored.name) is not None or stored.name in view.broken
                if view.held is not None and not taken and self._work.copy(Copy(stored, target, (source,))):
                    views[target] = view.with_copy(stored)
                    break

    def _list_missing(self, views: Sequence[TierView]) -> list[str]:
        """What is missing where, one text for each tier; of one that does not answer, as far as it was last seen."""
        seen = [view if view.held is not None else self._set.last(at) for at, view in enumerate(views)]
        copies, blocked = plan_copies(self._set.tiers, seen, replace_names=self._replace_names)
        said = []
        for at, store in enumerate(self._set.stores):
            lacking: list[Copy | Blocked] = [*copies, *blocked]
            names = [each.stored.name for each in lacking if each.target == at]
            error = self._set.health[at].error
            if names:
                said.append(f"{store.url} lacks {', '.join(names)}" + (f" ({error})" if error else ""))
            elif error:
                said.append(f"{store.url} does not answer ({error})")
        return said

    def _tell(self, event: TierEvent) -> None:
        if event.what == "blocked":
            key = (event.tier, event.name, event.why)
            if key in self._said:
                return
            self._said.add(key)
        if event.what == "copied":
            way = f"{event.name} from {event.source} to {event.tier}"
            _log.info("copied %s: %d bytes in %.2f s", way, event.bytes, event.seconds)
        elif event.what == "deleted":
            _log.info("deleted %s in %s", event.name, event.tier)
        else:
            _log.warning("%s in %s: %s: %s", event.name, event.tier, event.what, event.why)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001
                _log.exception("on_tier failed")


_open: weakref.WeakSet[TierFeed] = weakref.WeakSet()
"""Those whose threads run."""

def _finish() -> None:
    for feed in list(_open):
        with suppress(Exception):
            feed.close()


# Before the pools of ``concurrent.futures`` are closed, which ``atexit`` is too late for.
threading._register_atexit(_finish)  # type: ignore[attr-defined]
