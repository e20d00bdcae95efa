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
from pyckpt.errors import Corrupt, Finding, NotFound, PyckptError, RankError
from pyckpt.manager.events import PassedOver, Restored
from pyckpt.manager.names import NamePattern
from pyckpt.manager.stored import DAMAGE, own_checkpoints
from pyckpt.storage.base import Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["OnDamage", "Restoration", "RestoreProof"]

_log = logging.getLogger("pyckpt")

RestoreProof = Literal["load", "deep", "none"]
"""``load``: digests of what is read; ``deep``: rank 0 reads every byte before anything is touched; ``none``."""
OnDamage = Literal["previous", "raise"]

_OK, _DAMAGED, _FAILED = "ok", "damaged", "failed"


@dataclass(frozen=True, slots=True)
class Restoration:
    """One restore. ``step`` asks for that step's checkpoint and no other."""

    store: Store
    pattern: NamePattern
    coordinator: Coordinator
    step: int | None
    verify: RestoreProof
    on_damage: OnDamage
    options: LoadOptions

    def run(self, into: Mapping[str, object]) -> Restored:
        """Fills ``into`` from the newest checkpoint that is sound; without any checkpoint, changes nothing.

        Raises Corrupt, with a finding for each, if there are checkpoints and none of them is sound, or one is damaged
        and ``on_damage`` is ``raise``; NotFound if there is none of ``step``; what a load raises for other reasons.
        """
        names, passed = self._candidates()
        if passed and self.on_damage == "raise":
            raise _refused(passed)
        for name in names:
            trouble = self._proven(name)
            if trouble is None:
                loaded = self._load(name, into)
                if isinstance(loaded, Loaded):
                    return Restored(
                        self.pattern.step_of(name) or 0,
                        loaded.report.url,
                        loaded.root.digest,
                        loaded.root.metadata,
                        loaded.report,
                        tuple(passed),
                    )
                trouble = loaded
            passed.append(trouble)
            if self.on_damage == "raise" or self.step is not None:
                raise _refused(passed)
            if self.coordinator.rank == 0:
                _log.warning("%s is not restored, the one before is tried: %s", name, trouble.why)
        if passed:
            raise _refused(passed)
        return Restored(0, None, None, {}, None)

    def _candidates(self) -> tuple[list[str], list[PassedOver]]:
        """Names to try, first to last, and what is not even tried."""

        def find(_: Sequence[bytes]) -> bytes:
            own = own_checkpoints(self.store, self.pattern)
            names = [each.name for each in own.sound]
            broken = own.broken
            if self.step is not None:
                asked = self.pattern.name_of(self.step)
                names = [name for name in names if name == asked]
                broken = tuple(each for each in broken if each.name == asked)
                if not names and not broken:
                    raise NotFound(
                        "checkpoint.missing",
                        f"there is no checkpoint of step {self.step}",
                        key=checkpoint_url(self.store.url, asked),
                        hint="pyckpt.list(store) shows those that exist",
                    )
            packed: bytes = msgpack.packb([names, [[each.name, each.code, each.why] for each in broken]])
            return packed

        names, broken = msgpack.unpackb(round_trip(self.coordinator, "find", lambda: b"", find))
        passed = [PassedOver(*row) for row in broken]
        if self.coordinator.rank == 0:
            for each in passed:
                _log.warning("%s can't be read and may have been the newest: %s", each.name, each.why)
        return names, passed

    def _proven(self, name: str) -> PassedOver | None:
        """What a deep verification finds, where one is wanted."""
        if self.verify != "deep":
            return None

        def look(_: Sequence[bytes]) -> bytes:
            try:
                findings = facade.verify(checkpoint_url(self.store.url, name)).findings
                found = [[each.code, str(each)] for each in findings[:1]]
            except NotFound as error:
                found = [[error.code, str(error)]]
            packed: bytes = msgpack.packb(found)
            return packed

        found = msgpack.unpackb(round_trip(self.coordinator, "verify", lambda: b"", look))
        return PassedOver(name, *found[0]) if found else None

    def _load(self, name: str, into: Mapping[str, object]) -> Loaded | PassedOver:
        """Loads on all ranks; gives what is wrong if all that any rank met was damage, and raises otherwise."""
        own: Exception | None = None
        loaded: Loaded | None = None
        options = replace(self.options, verify=False) if self.verify == "none" else self.options
        try:
            loaded = facade.load_report(checkpoint_url(self.store.url, name), into=into, options=options)
        except Exception as error:  # noqa: BLE001 - the others have to hear of it, whatever it is
            own = error
        answer = round_trip(self.coordinator, "restored", lambda: msgpack.packb(_codes(own)), _verdict)
        verdict, code, why = msgpack.unpackb(answer)
        if verdict == _OK and loaded is not None:
            return loaded
        if verdict == _DAMAGED:
            return PassedOver(name, code, why)
        if own is not None:
            raise own
        raise RankError("rank.failed", f"{name} could not be loaded on another rank: {why}", key=name)


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
