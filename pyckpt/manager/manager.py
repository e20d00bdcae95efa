"""``CheckpointManager``: one object in the training loop that saves, keeps, deletes and resumes."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Literal

from pyckpt import facade
from pyckpt.engine.background import SaveHandle
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.errors import Corrupt, UsageError
from pyckpt.frameworks import framework_for
from pyckpt.manager.arguments import check_policies
from pyckpt.manager.decide import Decider
from pyckpt.manager.events import Preempted, Restored, SaveEvent, TierEvent
from pyckpt.manager.flight import Patience
from pyckpt.manager.keep import KeepLast, KeepPolicy
from pyckpt.manager.log import call
from pyckpt.manager.names import NamePattern
from pyckpt.manager.pace import Pace
from pyckpt.manager.restore import OnDamage, OnOutage, Restoration, RestoreProof
from pyckpt.manager.retention import Keeping, Proof, Retention
from pyckpt.manager.saver import Assets, Saver, Wish
from pyckpt.manager.stored import parse_metrics
from pyckpt.manager.tier import Tier, open_tiers
from pyckpt.manager.tier_nodes import Nodes
from pyckpt.manager.tier_retention import TieredRetention
from pyckpt.manager.when import BeforePreemption, Every, EveryNSteps, SavePolicy
from pyckpt.storage.nodes import NodeStore
from pyckpt.storage.url import open_store

__all__ = ["CheckpointManager"]

_log = logging.getLogger("pyckpt")


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
        async_save: bool = False,
        tolerate_failures: int = 0,
        items: Sequence[str] | None = None,
        pattern: str = "step-{step:08d}",
        metadata: Mapping[str, object] | None = None,
        assets: Assets | Callable[[int], Assets] | None = None,
        options: SaveOptions | None = None,
        slow_factor: float = 3.0,
        on_save: Callable[[SaveEvent], object] | None = None,
        on_restore: Callable[[Restored], object] | None = None,
        on_tier: Callable[[TierEvent], object] | None = None,
    ) -> None:
        """``policies`` say when to save beside the two shorthands, ``keep`` what to keep beside ``keep_last_n``.

        Without any of the latter everything is kept. ``verify_saved`` is what is verified of a new checkpoint before
        older ones are deleted; ``grace`` how long bytes of deleted checkpoints and dead attempts stay, None for ever;
        ``on_exists`` what becomes of an earlier checkpoint of the same step. With ``async_save`` a save only copies the
        state, and all else goes on in the background. ``tolerate_failures`` is how many saves may fail in a row before
        the error is raised; ``items`` the items of the state that are saved and restored, None for all; ``assets`` the
        files that go with each save, ``{item: {name: path or bytes}}``, or what gives them for a step. A save that
        takes ``slow_factor`` times the usual says so. The callbacks are called on every rank, in the thread that calls
        the manager.
        """
        for given, choices in ((verify_saved, ("none", "shallow", "deep")), (on_exists, ("replace", "skip"))):
            if given not in choices:
                raise UsageError("usage.invalid", f"found {given!r}, expected one of {', '.join(choices)}")
        if tolerate_failures < 0:
            raise UsageError("usage.invalid", f"tolerate_failures is {tolerate_failures}, expected 0 or more")
        check_policies("policies", policies, "needs", "should_save")
        check_policies("keep", keep, "keep")
        if not (grace is None or isinstance(grace, timedelta)):
            raise UsageError("usage.invalid", f"found {grace!r}, expected a timedelta or None", key="grace")
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
        kept = (*([] if keep_last_n is None else [KeepLast(keep_last_n)]), *keep)
        seconds = None if grace is None else grace.total_seconds()
        self._retention: Keeping = Retention(self._store, self._pattern, kept, proof=verify_saved, grace=seconds)
        if tiers:
            self._retention = TieredRetention(
                tiers,
                self._stores,
                self._pattern,
                proof=verify_saved,
                grace=seconds,
                options=self._options,
                replace_names=on_exists == "replace",
                wait=tier_wait,
                on_tier=on_tier,
            )
        self._saver = Saver(
            self._store,
            self._pattern,
            self._conversation,
            self._retention,
            options=self._options,
            background=async_save,
            patience=Patience(tolerate_failures),
            pace=Pace(slow_factor),
            replace_existing=on_exists == "replace",
            metadata=metadata or {},
            assets=assets or {},
            on_save=on_save,
        )
        self._on_restore = on_restore
        self._previous: int | None = None
        self._talk: Coordinator | None = None
        self._nodes: Nodes | None = None
        self._closed = False
        self._process = os.getpid()
        asked: tuple[SavePolicy, ...] = (
            *([] if save_every_n_steps is None else [EveryNSteps(save_every_n_steps)]),
            *([] if save_every is None else [Every(save_every)]),
            *policies,
        )
        self._preemption = preemption
        self._decider = Decider(asked, preemption)
        self._idle = not asked and preemption is None

    def step(
        self, step: int, state: Mapping[str, object], metrics: Mapping[str, object] | None = None
    ) -> SaveHandle | None:
        """To be called after every training step, by all ranks; gives a handle if a policy said that it is to be saved.

        Without ``async_save`` the checkpoint exists by then. Metrics are numbers; rank 0's are kept. Raises Preempted
        after the save that a preemption asked for, and the errors of saves, those of the background included.
        """
        self._check_open()
        if self._idle:
            self._idle = False
            _log.warning("nothing says when to save: give the manager save_every_n_steps=, save_every= or policies=")
        self._saver.hear()
        if self._talk is not None and self._talk.size == 1 and self._preemption is None:
            self._saver.raise_due()
        with self._saver.raised_by_all():
            decision = self._decider.decide(step, self._previous, self._conversation, self._saver.raise_due)
        self._previous = step
        if decision.leave:
            self._saver.leave()
        handle = None
        if decision.save:
            asked = bool(decision.signals or decision.files)
            handle = self._saver.save(self._wish(step, state, metrics, last=decision.leave, asked=asked))
            self._decider.done(decision, self._conversation().rank)
        if decision.leave and self._preemption is not None:
            if self._conversation().rank == 0:
                _log.info("preempted after step %d: leaving with exit code %d", step, self._preemption.exit_code)
            self._end()
            raise Preempted(self._preemption.exit_code, step)
        return handle

    def save(
        self,
        step: int,
        state: Mapping[str, object],
        metrics: Mapping[str, object] | None = None,
        *,
        pin: bool = False,
    ) -> SaveHandle | None:
        """Saves now, whatever the policies say; ``pin`` keeps the checkpoint for ever. None if it was skipped."""
        self._check_open()
        self._saver.hear()
        handle = self._saver.save(self._wish(step, state, metrics, pin=pin, asked=True))
        self._decider.rest()
        return handle

    def wait(self) -> None:
        """Waits until all saves have ended and what follows them is done; called by all ranks. Raises their errors."""
        self._check_open()
        self._saver.settle()

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

        Saves in flight are waited for. A damaged checkpoint is passed over for the one before, or refused, as
        ``on_damage`` says. If all are damaged it is an error, never a fresh start. Raises Corrupt, NotFound, and what
        ``pyckpt.load`` raises; after Corrupt the state may hold anything.
        """
        self._check_open()
        for given, choices in ((verify, ("load", "deep", "none")), (on_damage, ("previous", "raise"))):
            if given not in choices:
                raise UsageError("usage.invalid", f"found {given!r}, expected one of {', '.join(choices)}")
        self._saver.settle()
        try:
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
        except Corrupt:
            self._saver.reference.distrust()
            raise
        if self._conversation().rank == 0:
            self._retention.after_restore(found, promote=promote)
        self._decider.rest()
        if found.url is not None:
            self._previous = found.step
            self._saver.parent = found.digest
            self._saver.current = self._pattern.name_of(found.step)
            if found.tier in ("", self._store.url):
                self._saver.reference.restored(self._saver.current)
            else:
                # What the first tier has may be what was passed over.
                self._saver.reference.distrust()
        if self._conversation().rank == 0:
            if found.url is None:
                _log.info("no checkpoint in %s: starting afresh", self._store.url)
            else:
                seconds = 0.0 if found.report is None else found.report.seconds
                _log.info("restored step %d from %s in %.2f s", found.step, found.url, seconds)
        call("on_restore", self._on_restore, found)
        return found

    def close(self) -> None:
        """Waits for saves in flight, gives the signals back and ends the conversation with the other ranks.

        All ranks close, or none. Raises the error of a save that failed, if more did in a row than is tolerated.
        """
        if not self._is_over():
            self._saver.finish()
            self._end()
            self._saver.raise_due()

    def __enter__(self) -> CheckpointManager:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if error is None:
            self.close()
        elif not self._is_over():
            try:
                self._saver.leave()
            finally:
                self._end(together=False)

    def _is_over(self) -> bool:
        """Whether it is closed; in a process that was forked the parent's manager is none."""
        return self._closed or os.getpid() != self._process

    def _end(self, *, together: bool = True) -> None:
        """``together``: all ranks come here, so that they can wait for each other."""
        self._closed = True
        self._decider.close()
        talk, self._talk = self._talk, None
        try:
            # Before the nodes part: what rank 0 still copies may lie on another one.
            self._retention.close()
        finally:
            if self._nodes is not None:
                self._nodes.close(talk if together else None)
            if talk is not None:
                atexit.unregister(self.close)
                talk.close()

    def _wish(
        self,
        step: int,
        state: Mapping[str, object],
        metrics: Mapping[str, object] | None,
        *,
        pin: bool = False,
        last: bool = False,
        asked: bool = False,
    ) -> Wish:
        return Wish(step, self._chosen(state), parse_metrics(metrics), pin, last, asked)

    def _chosen(self, state: Mapping[str, object]) -> Mapping[str, object]:
        if self._items is None:
            return state
        missing = [item for item in self._items if item not in state]
        if missing:
            raise UsageError(
                "usage.invalid",
                f"the state has no item {', '.join(map(repr, missing))}",
                key=missing[0],
                hint=f"items of the state are: {', '.join(state)}; items= of the manager: {', '.join(self._items)}",
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
            talk = framework_for("auto").coordinator(
                f"manage {self._store.url} {self._pattern.text}",
                collective=own.collective,
                timeout=own.timeout,
                silence=own.silence,
            )
            try:
                if isinstance(self._store, NodeStore):
                    self._nodes = Nodes(self._store, talk)
            except BaseException:
                talk.close()
                raise
            self._talk = talk
            atexit.register(self.close)
        return self._talk

    def _check_open(self) -> None:
        if self._is_over():
            why = "this manager is closed" if self._closed else "this manager was made in another process"
            raise UsageError("usage.invalid", why, key="CheckpointManager", hint="make one where it is used")

