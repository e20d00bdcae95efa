"""The jobs of the tiers: copy one checkpoint, delete one, collect garbage. Each is done or says why not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pyckpt.engine.collect import collect_garbage
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.threads import default_threads
from pyckpt.engine.verify import verify
from pyckpt.errors import NotFound, PyckptError, SaveAborted
from pyckpt.manager.events import TierEvent
from pyckpt.manager.keep import Stored
from pyckpt.manager.retention import Proof
from pyckpt.manager.stored import DAMAGE
from pyckpt.manager.tier_plan import Copy, Deletion
from pyckpt.manager.tier_set import TierSet

__all__ = ["Stopped", "TierWork"]

_log = logging.getLogger("pyckpt")


class Stopped(Exception):
    """The process is about to end; what was sent of a copy is used by the next one."""


@dataclass(slots=True)
class TierWork:
    """What the thread of the tiers does, one job at a time. ``failed`` are the tiers that gave up in this cycle."""

    known: TierSet
    proof: Proof
    """What is verified of the newest checkpoint of the first tier before others go there; ``shallow`` elsewhere."""
    grace: float | None
    threads: int | None
    accept_weak: bool
    """Copy to stores without create-if-absent, too."""
    tell: Callable[[TierEvent], None]
    stop: Callable[[], bool]
    failed: set[int] = field(default_factory=set)
    youngest: Callable[[], float] = lambda: 0.0
    """Age in seconds below which nothing is collected in the first tier."""
    collected_at: dict[int, float] = field(default_factory=dict)
    stuck: set[tuple[int, str]] = field(default_factory=set)
    """Target and digest of copies that a tier's own content stands in the way of."""

    def copy(self, job: Copy) -> bool:
        """Copies from the nearest tier that can give it; True once the target has it. Raises Stopped."""
        for source in job.sources:
            blocked = (job.target, job.stored.digest) in self.stuck
            if blocked or source in self.failed or job.target in self.failed:
                continue
            try:
                if self._copy_from(source, job):
                    return True
            except Stopped:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a store raises, training goes on
                if not self._explain(source, job, error):
                    return False
        return False

    def _copy_from(self, source: int, job: Copy) -> bool:
        stores, name = self.known.stores, job.stored.name
        if job.replaces is not None and not self._make_room(job, job.replaces):
            return False
        begin = time.perf_counter()
        report = copy_checkpoint(
            stores[source],
            name,
            stores[job.target],
            threads=self.threads or default_threads(),
            progress=self._tick,
            accept_weak_store=self.accept_weak,
        )
        seconds = time.perf_counter() - begin
        self.tell(
            TierEvent("copied", stores[job.target].url, name, stores[source].url, bytes=report.sent, seconds=seconds)
        )
        # The name may have been saved anew since it was listed: then that is what was copied.
        return report.digest == job.stored.digest

    def _explain(self, source: int, job: Copy, error: Exception) -> bool:
        """Puts the blame for a copy that failed; True if another source may do."""
        name = job.stored.name
        if isinstance(error, PyckptError) and error.code in ("checkpoint.missing", "checkpoint.exists"):
            # Deleted, or saved, since it was listed; the next look will tell.
            return False
        if isinstance(error, PyckptError) and error.code in DAMAGE:
            # It may as well be what lies at the target that is wrong.
            if not self._is_sound(source, name, job.stored.digest, "deep"):
                return True
            self._give_up(job, error)
            return False
        if not isinstance(error, OSError | SaveAborted):
            self._give_up(job, error)
            return False
        blamed = job.target if self.known.answers(source) else source
        self.failed.add(blamed)
        self.known.health[blamed].failed(error)
        return blamed == source

    def _give_up(self, job: Copy, error: Exception) -> None:
        """Not tried again by this process: it would fail the same way."""
        self.stuck.add((job.target, job.stored.digest))
        self.tell(TierEvent("blocked", self.known.stores[job.target].url, job.stored.name, why=str(error)))

    def _make_room(self, job: Copy, older: Stored) -> bool:
        """Deletes what has the name of a newer checkpoint, if another one there is sound."""
        if not any(self._is_sound(job.target, name, None, "shallow") for name in job.leaves):
            return False
        self._remove(job.target, older)
        return True

    def delete(self, job: Deletion, proven: set[tuple[int, str]]) -> bool:
        """Deletes a checkpoint once its proof holds; True if it is gone. Raises Stopped."""
        at, witness = job.proof
        if self.stop():
            raise Stopped
        if job.tier in self.failed or at in self.failed:
            return False
        try:
            if (at, witness.digest) not in proven:
                level: Proof = self.proof if at == 0 and self.proof != "none" else "shallow"
                if not self._is_sound(at, witness.name, witness.digest, level):
                    return False
                proven.add((at, witness.digest))
            self._remove(job.tier, job.stored)
        except (PyckptError, OSError) as error:
            if not isinstance(error, OSError):
                self.tell(TierEvent("blocked", self.known.stores[job.tier].url, job.stored.name, why=str(error)))
                return False
            blamed = job.tier if self.known.answers(at) else at
            self.failed.add(blamed)
            self.known.health[blamed].failed(error)
            return False
        return True

    def _is_sound(self, at: int, name: str, digest: str | None, level: Proof) -> bool:
        """Whether a verification finds nothing; what it finds is remembered. Raises StoreError."""
        try:
            report = verify(
                self.known.stores[at], name, deep=level == "deep", threads=self.threads or default_threads()
            )
        except NotFound:
            return False
        if digest is not None and report.digest != digest:
            return False
        if report.findings:
            self.known.damaged[at].add(report.digest)
            self.tell(TierEvent("damaged", self.known.stores[at].url, name, why=str(report.findings[0])))
        return not report.findings

    def _remove(self, at: int, stored: Stored) -> None:
        try:
            self.known.delete(at, stored.name, stored.digest)
        except PyckptError as error:
            # Somebody else deleted it, or has taken the name since.
            if error.code not in ("checkpoint.missing", "root.digest"):
                raise
        else:
            self.tell(TierEvent("deleted", self.known.stores[at].url, stored.name))

    def collect(self, tiers: Iterable[int]) -> None:
        """Collects garbage now and then: each time reads every manifest of a store."""
        if self.grace is None:
            return
        for at in tiers:
            now = time.monotonic()
            if at in self.failed or now - self.collected_at.get(at, -1e9) < self.grace / 24:
                continue
            self.collected_at[at] = now
            try:
                own = lambda name: self.known.pattern.step_of(name) is not None
                grace = max(self.grace, self.youngest() if at == 0 else 0.0)
                collect_garbage(self.known.stores[at], grace=grace, only=own)
            except OSError as error:
                self.failed.add(at)
                self.known.health[at].failed(error)
            except Exception as error:  # noqa: BLE001 - whatever a store raises, training goes on
                _log.warning("garbage could not be collected in %s: %s", self.known.stores[at].url, error)

    def _tick(self, done: int, total: int) -> None:
        del done, total
        if self.stop():
            raise Stopped
