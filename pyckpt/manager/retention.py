"""Deletes what no policy wants, once something newer is safe. Runs on rank 0 alone, and never raises for the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal, Protocol

from pyckpt.engine.collect import Collected, collect_garbage
from pyckpt.engine.delete import delete
from pyckpt.engine.threads import default_threads
from pyckpt.engine.verify import verify
from pyckpt.format.keys import root_key
from pyckpt.manager.events import Restored, RetentionReport
from pyckpt.manager.keep import KeepNamed, KeepPolicy, wanted
from pyckpt.manager.names import NamePattern
from pyckpt.manager.stored import own_checkpoints
from pyckpt.storage.base import Store

__all__ = ["Keeping", "Proof", "Retention"]

Proof = Literal["none", "shallow", "deep"]
"""What has to be verified of a checkpoint before another one may go."""


class Keeping(Protocol):
    """What a manager asks before and after a save, on rank 0 alone; ``close`` everywhere."""

    def after_sequence(self) -> int:
        """What the sequence of the next checkpoint has to exceed, whatever its store holds."""

    def admit(self, name: str, *, replace: bool) -> str:
        """Makes room for a checkpoint of this name; says why not, if there is none. Raises StoreError."""

    def after_save(
        self, name: str, *, youngest: Callable[[], float] = ..., superseded: Callable[[], bool] = ...
    ) -> RetentionReport | None:
        """What is to be done once a checkpoint has been committed."""

    def after_restore(self, found: Restored, *, promote: bool) -> None:
        """What is to be done once one has been restored, or none was found."""

    def is_damaged(self, name: str, digest: str) -> bool:
        """Whether this checkpoint of the first store was found damaged."""

    def close(self) -> None:
        """The end of the manager."""


class Retention:
    """What one manager keeps of its checkpoints in a store. ``grace`` in seconds; None: nothing is ever collected."""

    def __init__(
        self, store: Store, pattern: NamePattern, keep: Sequence[KeepPolicy], *, proof: Proof, grace: float | None
    ) -> None:
        self._store = store
        self._pattern = pattern
        self._keep = tuple(keep)
        self._proof = proof
        self._grace = grace
        self._collected_at: float | None = None
        self._lock = Lock()
        self.damaged: set[str] = set()
        """Names that were found damaged; they don't count as kept."""

    def after_sequence(self) -> int:
        """Nothing but what the one store holds counts."""
        return 0

    def after_restore(self, found: Restored, *, promote: bool) -> None:
        """Remembers what was found damaged."""
        del promote
        self.damaged.update(each.name for each in found.passed)

    def is_damaged(self, name: str, digest: str) -> bool:
        """Whether the checkpoint was found damaged."""
        del digest
        return name in self.damaged

    def close(self) -> None:
        """Nothing goes on in the background."""

    def admit(self, name: str, *, replace: bool, elsewhere: Callable[[], bool] = lambda: False) -> str:
        """Makes room for a checkpoint of this name; says why not, if there is none. Raises StoreError.

        An earlier one is deleted only if another is left that is sound, as far as is to be proved, here or
        ``elsewhere``.
        """
        if self._store.info(root_key(name)) is None:
            return ""
        if not replace:
            return "there is a checkpoint of this name, and on_exists is 'skip'"
        # What else is left must not go meanwhile.
        with self._lock:
            return self._make_room(name, elsewhere)

    def _make_room(self, name: str, elsewhere: Callable[[], bool]) -> str:
        if self._store.info(root_key(name)) is None:
            return ""
        own = own_checkpoints(self._store, self._pattern)
        here = next((each for each in own.sound if each.name == name), None)
        if here is None:
            return "there is a checkpoint of this name with a damaged root, which only a person may remove"
        if here.pinned or any(isinstance(policy, KeepNamed) and name in policy.names for policy in self._keep):
            return "there is a checkpoint of this name that is pinned"
        others = [each for each in own.sound if each.name != name and each.name not in self.damaged]
        if not any(not self._flaw(each.name) for each in others) and not elsewhere():
            return "there is a checkpoint of this name, and no other one that is sound"
        delete(self._store, name)
        self.damaged.discard(name)
        return ""

    def after_save(
        self,
        name: str,
        *,
        youngest: Callable[[], float] = lambda: 0.0,
        superseded: Callable[[], bool] = lambda: False,
    ) -> RetentionReport | None:
        """Deletes what nobody wants beside the checkpoint that has just been committed, and collects garbage.

        ``youngest`` gives the age in seconds below which nothing is collected, however short the grace: no root reaches
        what a save in flight has written. None if a newer one is to be looked at instead by the time that others are
        done: where verification takes longer than the time between saves, not each of them can have one.
        """
        with self._lock:
            return None if superseded() else self._after_save(name, youngest)

    def _after_save(self, name: str, youngest: Callable[[], float]) -> RetentionReport:
        deleted: list[str] = []
        problems: list[str] = []
        # A name may come back: what is damaged is the checkpoint, not the name.
        self.damaged.discard(name)
        try:
            flaw = self._flaw(name)
            unwanted = [] if flaw else self._unwanted(name)
            if flaw:
                self.damaged.add(name)
                problems.append(f"{name} was committed and is damaged, so nothing was deleted: {flaw}")
        except Exception as error:  # noqa: BLE001 - whatever a store or a policy raises, training goes on
            return RetentionReport(problems=(f"nothing was deleted: {error}",))
        for each in unwanted:
            try:
                delete(self._store, each)
                deleted.append(each)
                self.damaged.discard(each)
            except Exception as error:  # noqa: BLE001 - whatever a store or a policy raises, training goes on
                problems.append(f"{each} could not be deleted: {error}")
        collected = Collected((), 0, 0)
        try:
            collected = self._collect(youngest)
        except Exception as error:  # noqa: BLE001 - whatever a store or a policy raises, training goes on
            problems.append(f"garbage could not be collected: {error}")
        return RetentionReport(tuple(deleted), len(collected.keys), collected.bytes, tuple(problems))

    def _flaw(self, name: str) -> str:
        """What is wrong with a checkpoint, as far as is to be proved; empty for nothing. Raises StoreError."""
        if self._proof == "none":
            return ""
        report = verify(self._store, name, deep=self._proof == "deep", threads=default_threads())
        return "; ".join(str(finding) for finding in report.findings[:3])

    def _unwanted(self, name: str) -> list[str]:
        """Names to delete, oldest first; none unless ``name`` is listed."""
        stored = own_checkpoints(self._store, self._pattern).sound
        if name not in {each.name for each in stored}:
            return []
        sound = [each for each in stored if each.name not in self.damaged]
        # The next save may refer to whatever the newest one does, and must not find it deleted.
        stay = wanted(self._keep, sound) | {name, stored[0].name, *stored[0].external}
        if not self._keep:
            return []
        stay |= {each.name for each in stored if each.pinned}
        return [each.name for each in reversed(stored) if each.name not in stay]

    def _collect(self, youngest: Callable[[], float]) -> Collected:
        """Collects now and then: each time reads every manifest of the store."""
        now = time.monotonic()
        if self._grace is None:
            return Collected((), 0, 0)
        if self._collected_at is not None and now - self._collected_at < self._grace / 24:
            return Collected((), 0, 0)
        self._collected_at = now
        own = lambda name: self._pattern.step_of(name) is not None
        return collect_garbage(self._store, grace=max(self._grace, youngest()), only=own)
