"""``CheckpointManager``: one object in the training loop that saves, keeps, deletes and resumes."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Literal

import msgpack

from pyckpt import facade
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import UsageError
from pyckpt.frameworks import framework_for
from pyckpt.manager.decide import Decider, check_same_step
from pyckpt.manager.events import Preempted, Restored, SaveEvent, TierEvent
from pyckpt.manager.keep import KeepLast, KeepPolicy
from pyckpt.manager.names import NamePattern
from pyckpt.manager.pace import Pace
from pyckpt.manager.restore import OnDamage, OnOutage, Restoration, RestoreProof
from pyckpt.manager.retention import Proof, Retention
from pyckpt.manager.stored import parse_metrics
from pyckpt.manager.tier import Tier, open_tiers
from pyckpt.manager.tier_retention import TieredRetention
from pyckpt.manager.when import BeforePreemption, Every, EveryNSteps, SavePolicy
from pyckpt.storage.url import Place, open_store

__all__ = ["CheckpointManager"]

_log = logging.getLogger("pyckpt")

ALREADY = "this very run has saved or restored it"


class CheckpointManager:
    """Saves when its policies say so, keeps what its policies want, and resumes from the newest sound checkpoint.

    All ranks make one with the same arguments, after the process group, and call it together. It touches only those
    checkpoints of ``store`` whose names are of ``pattern``. Raises UsageError for arguments that make no sense.
    """

    def __init__(
        self,
        store: facade.Url | None = None,
        *,
        tiers: Sequence[Tier] = (),
        tier_wait: timedelta = timedelta(minutes=1),
        save_every_n_steps: int | None = None,
        save_every: timedelta | None = None,
        policies: Sequence[SavePolicy] = (),
        preemption: BeforePreemption | None = None,
        keep_last_n: int | None = None,
        keep: Sequence[KeepPolicy] = (),
        verify_saved: Proof = "none",
        grace: timedelta | None = timedelta(days=1),
        on_exists: Literal["replace", "skip"] = "replace",
        items: Sequence[str] | None = None,
        pattern: str = "step-{step:08d}",
        metadata: Mapping[str, object] | None = None,
        options: SaveOptions | None = None,
        slow_factor: float = 3.0,
        on_save: Callable[[SaveEvent], object] | None = None,
        on_restore: Callable[[Restored], object] | None = None,
        on_tier: Callable[[TierEvent], object] | None = None,
    ) -> None:
        """``policies`` say when to save beside the two shorthands, ``keep`` what to keep beside ``keep_last_n``.

        Without any of the latter everything is kept. ``verify_saved`` is what is verified of a new checkpoint before
        older ones are deleted; ``grace`` how long bytes of deleted checkpoints and dead attempts stay, None for ever;
        ``on_exists`` what becomes of an earlier checkpoint of the same step; ``items`` the items of the state that are
        saved and restored, None for all. A save that takes ``slow_factor`` times the usual says so. The callbacks are
        called on every rank.
        """
        for given, choices in ((verify_saved, ("none", "shallow", "deep")), (on_exists, ("replace", "skip"))):
            if given not in choices:
                raise UsageError("usage.invalid", f"found {given!r}, expected one of {', '.join(choices)}")
        self._options = options or SaveOptions()
        self._pattern = NamePattern(pattern)
        if (store is None) == (not tiers) or (tiers and (keep_last_n is not None or keep)):
            raise UsageError(
                "usage.invalid",
                "expected either a store, or tiers, each of which says itself what it keeps",
                key="CheckpointManager",
            )
        io = self._options.io
        self._stores = open_tiers(tiers, io=io) if store is None else (open_store(store, io=io),)
        self._store = self._stores[0]
        self._items = None if items is None else tuple(items)
        self._metadata = dict(metadata or {})
        self._replace = on_exists == "replace"
        kept = (*([] if keep_last_n is None else [KeepLast(keep_last_n)]), *keep)
        seconds = None if grace is None else grace.total_seconds()
        self._tiers: TieredRetention | None = None
        if tiers:
            self._tiers = TieredRetention(
                tiers,
                self._stores,
                self._pattern,
                proof=verify_saved,
                grace=seconds,
                options=self._options,
                replace_names=on_exists == "replace",
                on_tier=on_tier,
            )
        self._tier_wait = tier_wait
        self._retention = Retention(self._store, self._pattern, kept, proof=verify_saved, grace=seconds)
        self._pace = Pace(slow_factor)
        self._on_save = on_save
        self._on_restore = on_restore
        self._parent = self._options.parent
        self._previous: int | None = None
        self._current: str | None = None
        self._talk: Coordinator | None = None
        self._closed = False
        asked: tuple[SavePolicy, ...] = (
            *([] if save_every_n_steps is None else [EveryNSteps(save_every_n_steps)]),
            *([] if save_every is None else [Every(save_every)]),
            *policies,
        )
        self._preemption = preemption
        self._decider = Decider(asked, preemption)

    def step(
        self, step: int, state: Mapping[str, object], metrics: Mapping[str, object] | None = None
    ) -> SaveReport | None:
        """To be called after every training step, by all ranks; saves if a policy says so, and gives the report then.

        Metrics are numbers; rank 0's are kept. Raises Preempted after the save that a preemption asked for, and what
        ``pyckpt.save`` raises.
        """
        self._check_open()
        decision = self._decider.decide(step, self._previous, self._conversation)
        self._previous = step
        report = None
        if decision.save:
            report = self._save(step, state, metrics, pin=False)
            self._decider.done(decision, self._conversation().rank)
        if decision.leave and self._preemption is not None:
            if self._conversation().rank == 0:
                _log.info("preempted after step %d: leaving with exit code %d", step, self._preemption.exit_code)
            self.close()
            raise Preempted(self._preemption.exit_code, step)
        return report

    def save(
        self,
        step: int,
        state: Mapping[str, object],
        metrics: Mapping[str, object] | None = None,
        *,
        pin: bool = False,
    ) -> SaveReport | None:
        """Saves now, whatever the policies say; ``pin`` keeps the checkpoint for ever. None if it was skipped."""
        self._check_open()
        report = self._save(step, state, metrics, pin=pin)
        self._decider.rest()
        return report

    def restore(
        self,
        state: Mapping[str, object],
        *,
        step: int | None = None,
        verify: RestoreProof = "load",
        on_damage: OnDamage = "previous",
        on_outage: OnOutage = "raise",
        promote: bool = False,
        options: LoadOptions | None = None,
    ) -> Restored:
        """Fills the state from the newest sound checkpoint, or that of ``step``; changes nothing if there is none.

        A damaged checkpoint is passed over for the one before, or refused, as ``on_damage`` says. If all are damaged
        it is an error, never a fresh start. Raises Corrupt, NotFound, and what ``pyckpt.load`` raises; after Corrupt
        the state may hold anything.
        """
        self._check_open()
        for given, choices in ((verify, ("load", "deep", "none")), (on_damage, ("previous", "raise"))):
            if given not in choices:
                raise UsageError("usage.invalid", f"found {given!r}, expected one of {', '.join(choices)}")
        found = Restoration(
            self._stores,
            self._pattern,
            self._conversation(),
            step,
            verify,
            on_damage,
            self._load_options(options),
            on_outage,
        ).run(self._chosen(state))
        if self._tiers is not None and self._conversation().rank == 0:
            self._tiers.after_restore(found, promote=promote)
        self._retention.damaged.update(each.name for each in found.passed)
        self._decider.rest()
        if found.url is not None:
            self._parent = found.digest
            self._previous = found.step
            self._current = self._pattern.name_of(found.step)
        if self._conversation().rank == 0:
            if found.url is None:
                _log.info("no checkpoint in %s: starting afresh", self._store.url)
            else:
                seconds = 0.0 if found.report is None else found.report.seconds
                _log.info("restored step %d from %s in %.2f s", found.step, found.url, seconds)
        if self._on_restore is not None:
            _call("on_restore", self._on_restore, found)
        return found

    def close(self) -> None:
        """Gives the signals back and ends the conversation with the other ranks. All ranks close, or none."""
        self._closed = True
        self._decider.close()
        if self._talk is not None:
            atexit.unregister(self.close)
            self._talk.close()
            self._talk = None
        if self._tiers is not None:
            self._tiers.close(self._tier_wait)

    def __enter__(self) -> CheckpointManager:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _save(
        self, step: int, state: Mapping[str, object], metrics: Mapping[str, object] | None, *, pin: bool
    ) -> SaveReport | None:
        name = self._pattern.name_of(step)
        chosen = self._chosen(state)
        numbers = parse_metrics(metrics)
        skipped = ALREADY if name == self._current else ""
        skipped = skipped or self._admit(step, name)
        if skipped:
            self._tell(SaveEvent(step, name, None, skipped=skipped, metrics=numbers))
            return None
        metadata = {**self._metadata, "step": step, "metrics": numbers, **({"pinned": True} if pin else {})}
        report = facade.save(
            Place(self._store, name),
            chosen,
            metadata=metadata,
            options=replace(self._options, parent=self._parent, after_sequence=self._after_sequence()),
        )
        self._current = name
        slow = self._pace.judge(report)
        retention = (self._tiers or self._retention).after_save(name) if self._conversation().rank == 0 else None
        self._tell(SaveEvent(step, name, report, slow=slow, metrics=numbers, retention=retention))
        return report

    def _admit(self, step: int, name: str) -> str:
        """Why there is no room for this name, decided by rank 0; empty if there is."""

        def decide(told: Sequence[bytes]) -> bytes:
            check_same_step([msgpack.unpackb(each) for each in told])
            return (self._tiers or self._retention).admit(name, replace=self._replace).encode()

        return round_trip(self._conversation(), "admit", lambda: msgpack.packb(step), decide).decode()

    def _after_sequence(self) -> int:
        return self._tiers.after_sequence() if self._tiers is not None and self._conversation().rank == 0 else 0

    def _tell(self, event: SaveEvent) -> None:
        if self._conversation().rank == 0:
            _log_save(event)
        if self._on_save is not None:
            _call("on_save", self._on_save, event)

    def _chosen(self, state: Mapping[str, object]) -> Mapping[str, object]:
        if self._items is None:
            return state
        missing = [item for item in self._items if item not in state]
        if missing:
            raise UsageError(
                "usage.invalid",
                f"the state has no item {', '.join(map(repr, missing))}",
                key=missing[0],
                hint=f"the manager's items are: {', '.join(self._items)}",
            )
        return {item: state[item] for item in self._items}

    def _load_options(self, options: LoadOptions | None) -> LoadOptions:
        """The caller's, or those that go with the manager's options."""
        own = self._options
        return options or LoadOptions(timeout=own.timeout, silence=own.silence, collective=own.collective)

    def _conversation(self) -> Coordinator:
        """With the other ranks, from the first call to ``close``: beginning one anew at every step would cost more."""
        if self._talk is None:
            own = self._options
            self._talk = framework_for("auto").coordinator(
                f"manage {self._store.url} {self._pattern.text}",
                collective=own.collective,
                timeout=own.timeout,
                silence=own.silence,
            )
            atexit.register(self.close)
        return self._talk

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("usage.invalid", "this manager is closed", key="CheckpointManager")


def _log_save(event: SaveEvent) -> None:
    """One line per save, at the level of the worst that it has to say."""
    if event.report is None:
        level = logging.INFO if event.skipped == ALREADY else logging.WARNING
        _log.log(level, "step %d is not saved as %s: %s", event.step, event.name, event.skipped)
        return
    report = event.report
    parts = [f"saved step {event.step} as {report.url}: {report.bytes} bytes in {report.seconds:.2f} s"]
    parts += [event.slow] if event.slow else []
    parts += list(report.warnings)
    kept = event.retention
    if kept is not None:
        parts += [f"deleted {', '.join(kept.deleted)}"] if kept.deleted else []
        parts += [f"collected {kept.collected_bytes} bytes"] if kept.collected else []
        parts += list(kept.problems)
    bad = bool(event.slow or report.warnings or (kept is not None and kept.problems))
    _log.log(logging.WARNING if bad else logging.INFO, "%s", "; ".join(parts))


def _call(name: str, callback: Callable[..., object], event: object) -> None:
    """What a callback raises is logged: it would end training on one rank and leave the others waiting."""
    try:
        callback(event)
    except Exception:  # noqa: BLE001
        _log.exception("%s failed", name)
