"""What has to hold of a store after a disturbed save, deletion or collection (CASES.md, section "Transactions")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..transactions.s3_judge import late_keys, rewritten_keys, root_writes, unconditional_writes
from ..transactions.s3_requests import Request
from . import judge
from .snapshot import Snapshot

__all__ = ["Before", "Judge", "KeptOrGone", "OldOrNew", "before", "order_findings"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Before:
    """A store before the step that is disturbed."""

    checkpoints: Mapping[str, str]
    """Name to root digest."""
    damaged: frozenset[str]
    """Those that a deep verification refuses already now."""
    objects: Snapshot


def before(view: Path, objects: Snapshot) -> Before:
    """Look at a store before the step."""
    names = judge.checkpoints(view)
    return Before(names, frozenset(name for name in names if judge.unsound(view, name)), objects)


class Judge(Protocol):
    """One of the judges; a response is None if the process was killed."""

    def disturbed(self, view: Path, objects: Snapshot, response: Json | None) -> list[str]:
        """What is wrong after the disturbed run."""

    def repeated(self, view: Path, response: Json) -> list[str]:
        """What is wrong after the second run, without faults."""


class OldOrNew:
    """A save: the old checkpoints are as they were; the new one is absent, or whole and right."""

    def __init__(self, old: Before, request: Json) -> None:
        self._old = old
        self._request = request
        self._name = str(request["checkpoint"])
        self._first: str | None = None

    def disturbed(self, view: Path, objects: Snapshot, response: Json | None) -> list[str]:
        """The old is kept; the new is there if it was said to be, and right if it is there."""
        found = [text for text in self._old.objects.differences(objects) if not text.endswith(" is new")]
        there = judge.checkpoints(view)
        self._first = there.get(self._name)
        if self._first is not None:
            found += self._wrong(view)
        elif response is not None and response["result"] == "ok":
            found.append(f"the answer was ok, but {self._name} has no root")
        return found

    def repeated(self, view: Path, response: Json) -> list[str]:
        """The second run ends with the new one being there, once."""
        code = response.get("code")
        if response["result"] != "ok" and code != "checkpoint.exists":
            return [f"the second run: {response['result']} {code or ''} {response.get('message', '')}"]
        digest = judge.checkpoints(view).get(self._name)
        if digest is None:
            return [f"the second run: {code or 'ok'}, but {self._name} has no root"]
        if self._first not in (None, digest):
            return [f"the second run replaced the root of {self._name}"]
        return [f"after the second run: {text}" for text in self._wrong(view)]

    def _wrong(self, view: Path) -> list[str]:
        if self._name in self._old.checkpoints:
            return []
        return [f"{self._name} is there, but not right: {text}" for text in judge.audit(view, self._request)]


class KeptOrGone:
    """A deletion or a collection: all else is whole, and what is deleted is whole or has no root."""

    def __init__(self, old: Before, request: Json) -> None:
        self._old = old
        self._deleted = str(request["checkpoint"]) if request["op"] == "delete" else None
        self._gone = False

    def disturbed(
        self,
        view: Path,
        objects: Snapshot,  # noqa: ARG002  judges are asked alike; this one trusts the oracle instead
        response: Json | None,
    ) -> list[str]:
        """No other root is gone, no root lacks what it reaches."""
        there = judge.checkpoints(view)
        self._gone = self._deleted is not None and self._deleted not in there
        found = self._lost(view, there)
        if response is not None and response["result"] == "ok" and self._deleted in there:
            found.append(f"the answer was ok, but {self._deleted} still has its root")
        return found

    def repeated(self, view: Path, response: Json) -> list[str]:
        """The second run succeeds; it may find that the first one had done it."""
        code = response.get("code")
        if response["result"] != "ok" and not (self._gone and code == "checkpoint.missing"):
            return [f"the second run: {response['result']} {code or ''} {response.get('message', '')}"]
        there = judge.checkpoints(view)
        found = self._lost(view, there)
        if self._deleted in there:
            found.append(f"{self._deleted} still has its root")
        return [f"after the second run: {text}" for text in found]

    def _lost(self, view: Path, there: Mapping[str, str]) -> list[str]:
        found = []
        for name, digest in self._old.checkpoints.items():
            if name not in there:
                found += [f"{name} is gone"] if name != self._deleted else []
            elif there[name] != digest:
                found.append(f"{name} has another root")
            elif name not in self._old.damaged:
                found += judge.unsound(view, name)
        return found


def order_findings(view: Path, request: Json, requests: Sequence[Request], prefix: str) -> list[str]:
    """What is wrong with the order of the requests of a save that has committed; keys begin with the prefix there."""
    name = str(request["checkpoint"])
    if name not in judge.checkpoints(view):
        return []
    root = f"{prefix}{name}/checkpoint.json"
    written = root_writes(requests, root)
    if not written:
        return []
    reached = {prefix + key for key in judge.reached(view, name)}
    found = [f"the root was stored {len(written)} times"] if len(written) > 1 else []
    if not request.get("accept_weak"):
        found += [f"request {each.number} writes the root, not by a conditional put: {each.operation}"
                  for each in unconditional_writes(requests, root)]  # fmt: skip
    found += [f"the root was put before {key} was known to be stored" for key in late_keys(requests, root, reached)]
    found += [f"{key} was stored twice, with different bytes" for key in rewritten_keys(requests, reached)]
    return found
