"""Finds the newest sound checkpoint and loads it, all ranks the same one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgpack

from pyckpt import facade
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.load import Loaded
from pyckpt.engine.options import LoadOptions
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import Corrupt, Finding, NotFound, PyckptError, RankError, StoreError
from pyckpt.manager.events import PassedOver, Restored
from pyckpt.manager.names import NamePattern
from pyckpt.manager.stored import DAMAGE, own_checkpoints
from pyckpt.storage.base import Store
from pyckpt.storage.url import Place, checkpoint_url

__all__ = ["OnDamage", "OnOutage", "Restoration", "RestoreProof"]

_log = logging.getLogger("pyckpt")

RestoreProof = Literal["load", "deep", "none"]
"""``load``: digests of what is read; ``deep``: rank 0 reads every byte before anything is touched; ``none``."""
OnDamage = Literal["previous", "raise"]
OnOutage = Literal["raise", "pass"]
"""``pass``: go by the tiers that can be listed, though another may have something newer."""

_OK, _DAMAGED, _FAILED = "ok", "damaged", "failed"


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    digest: str
    at: int
    """Number of the store."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """One restore. ``step`` asks for that step's checkpoint and no other."""

    stores: Sequence[Store]
    """Where it may come from, nearest first."""
    pattern: NamePattern
    coordinator: Coordinator
    step: int | None
    verify: RestoreProof
    on_damage: OnDamage
    options: LoadOptions
    on_outage: OnOutage = "raise"

    def run(self, into: Mapping[str, object]) -> Restored:
        """Fills ``into`` from the newest checkpoint that is sound; without any checkpoint, changes nothing.

        Raises Corrupt, with a finding for each, if there are checkpoints and none of them is sound, or one is damaged
        and ``on_damage`` is ``raise``; NotFound if there is none of ``step``; StoreError if a store can't be listed,
        for it may have the newest; what a load raises for other reasons.
        """
        candidates, passed, outage = self._candidates()
        if passed and self.on_damage == "raise":
            raise _refused(passed)
        for at, each in enumerate(candidates):
            trouble = self._proven(each)
            if trouble is None:
                loaded = self._load(each, into)
                if isinstance(loaded, Loaded):
                    return Restored(
                        self.pattern.step_of(each.name) or 0,
                        loaded.report.url,
                        loaded.root.digest,
                        loaded.root.metadata,
                        loaded.report,
                        tuple(passed),
                        self._tier(each),
                    )
                trouble = loaded
            passed.append(trouble)
            another = at + 1 < len(candidates) and candidates[at + 1].digest == each.digest
            if not another and (self.on_damage == "raise" or self.step is not None):
                raise _refused(passed)
            if self.coordinator.rank == 0:
                then = f"its copy in {self._tier(candidates[at + 1])}" if another else "the one before"
                _log.warning("%s is not restored, %s is tried: %s", self._url(each), then, trouble.why)
        if outage:
            raise StoreError("store.io", f"nothing was found, but not all tiers could be listed: {outage}")
        if passed:
            raise _refused(passed)
        return Restored(0, None, None, {}, None)

    def _candidates(self) -> tuple[list[_Candidate], list[PassedOver], str]:
        """What to try, first to last, what is not even tried, and the outage of a store that is passed over."""

        def find(_: Sequence[bytes]) -> bytes:
            asked = None if self.step is None else self.pattern.name_of(self.step)
            found: list[tuple[int, str, int, str]] = []
            broken: list[list[str]] = []
            outages: list[str] = []
            for at, store in enumerate(self.stores):
                try:
                    own = own_checkpoints(store, self.pattern)
                except (PyckptError, OSError) as error:
                    if self.on_outage == "raise":
                        raise
                    outages.append(f"{store.url}: {error}")
                    continue
                found += [(each.sequence, each.digest, -at, each.name) for each in own.sound]
                broken += [[each.name, each.code, each.why, self._tier_at(at)] for each in own.broken]
            if asked is not None:
                found = [each for each in found if each[3] == asked]
                broken = [each for each in broken if each[0] == asked]
                # A copy of an older checkpoint of that name is not what the step is now.
                found = [each for each in found if each[1] == max(found)[1]]
                if not found and not broken and not outages:
                    raise NotFound(
                        "checkpoint.missing",
                        f"there is no checkpoint of step {self.step}",
                        key=checkpoint_url(self.stores[0].url, asked),
                        hint="pyckpt.list(store) shows those that exist",
                    )
            rows = [[name, digest, -at] for _, digest, at, name in sorted(found, reverse=True)]
            packed: bytes = msgpack.packb([rows, broken, "; ".join(outages)])
            return packed

        rows, broken, outage = msgpack.unpackb(round_trip(self.coordinator, "find", lambda: b"", find))
        passed = [PassedOver(*row) for row in broken]
        if self.coordinator.rank == 0:
            for each in passed:
                _log.warning("%s can't be read and may have been the newest: %s", each.name, each.why)
            if outage:
                _log.warning("a tier that can't be listed is passed over, and may have the newest: %s", outage)
        return [_Candidate(*row) for row in rows], passed, outage

    def _tier_at(self, at: int) -> str:
        return self.stores[at].url if len(self.stores) > 1 else ""

    def _tier(self, candidate: _Candidate) -> str:
        return self._tier_at(candidate.at)

    def _place(self, candidate: _Candidate) -> Place:
        return Place(self.stores[candidate.at], candidate.name)

    def _url(self, candidate: _Candidate) -> str:
        return candidate.name if len(self.stores) == 1 else checkpoint_url(self._tier(candidate), candidate.name)

    def _passed(self, candidate: _Candidate, code: str, why: str) -> PassedOver:
        return PassedOver(candidate.name, code, why, self._tier(candidate), candidate.digest)

    def _proven(self, candidate: _Candidate) -> PassedOver | None:
        """What a deep verification finds, where one is wanted."""
        if self.verify != "deep":
            return None

        def look(_: Sequence[bytes]) -> bytes:
            try:
                findings = facade.verify(self._place(candidate)).findings
                found = [[each.code, str(each)] for each in findings[:1]]
            except NotFound as error:
                found = [[error.code, str(error)]]
            packed: bytes = msgpack.packb(found)
            return packed

        found = msgpack.unpackb(round_trip(self.coordinator, "verify", lambda: b"", look))
        return self._passed(candidate, *found[0]) if found else None

    def _load(self, candidate: _Candidate, into: Mapping[str, object]) -> Loaded | PassedOver:
        """Loads on all ranks; gives what is wrong if all that any rank met was damage, and raises otherwise."""
        own: Exception | None = None
        loaded: Loaded | None = None
        options = replace(self.options, verify=False) if self.verify == "none" else self.options
        try:
            loaded = facade.load_report(self._place(candidate), into=into, options=options)
        except Exception as error:  # noqa: BLE001 - the others have to hear of it, whatever it is
            own = error
        answer = round_trip(self.coordinator, "restored", lambda: msgpack.packb(_codes(own)), _verdict)
        verdict, code, why = msgpack.unpackb(answer)
        if verdict == _OK and loaded is not None:
            return loaded
        if verdict == _DAMAGED:
            return self._passed(candidate, code, why)
        if own is not None:
            raise own
        key = candidate.name
        raise RankError("rank.failed", f"{key} could not be loaded on another rank: {why}", key=key)


def _codes(error: Exception | None) -> list[list[str]]:
    """Code and text of what a rank met; several where it tells of other ranks."""
    if error is None:
        return []
    if not isinstance(error, PyckptError):
        return [["", f"{type(error).__name__}: {error}"]]
    if error.code == "rank.failed" and error.findings:
        return [[finding.code, str(finding)] for finding in error.findings]
    return [[error.code, str(error)]]


def _verdict(told: Sequence[bytes]) -> bytes:
    """Damage only if that is all that any rank met; that other ranks failed, as some ranks say, adds nothing."""
    met = [(code, text) for each in told for code, text in msgpack.unpackb(each)]
    causes = [(code, text) for code, text in met if code != "rank.failed"] or met
    foreign = [(code, text) for code, text in causes if code not in DAMAGE]
    verdict = _OK if not met else _FAILED if foreign else _DAMAGED
    packed: bytes = msgpack.packb([verdict, *(foreign or causes or [("", "")])[0]])
    return packed


def _refused(passed: Sequence[PassedOver]) -> Corrupt | NotFound:
    findings = [Finding(each.code, each.name, each.why) for each in passed]
    names = ", ".join(each.name for each in passed)
    code = next((each.code for each in passed if each.code in Corrupt.codes), None)
    hint = "pyckpt.verify says more of each; a run never starts afresh over damaged checkpoints by itself"
    if code is None:
        return NotFound("checkpoint.missing", f"gone while they were restored: {names}", findings=findings)
    return Corrupt(code, f"not restored, because of damage: {names}", key=names, hint=hint, findings=findings)
