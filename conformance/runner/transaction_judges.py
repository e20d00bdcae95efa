"""What has to hold of a store after a disturbed save, deletion or collection (CASES.md, section "Transactions")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..transactions.s3_judge import late_keys, rewritten_keys, root_writes, unconditional_writes
from ..transactions.s3_requests import Request
from . import judge
from .judge import Moment

__all__ = ["Judge", "KeptOrGone", "OldOrNew", "order_findings"]

Json = dict[str, Any]


class Judge(Protocol):
    """One of the judges; a response is None if the process was killed."""

    def disturbed(self, now: Moment, response: Json | None) -> list[str]:
        """What is wrong after the disturbed run."""

    def repeated(self, now: Moment, response: Json) -> list[str]:
        """What is wrong after the second run, without faults."""


class OldOrNew:
    """A save: what was there is as it was; the new checkpoint is absent, or whole and right."""

    def __init__(self, before: Moment, request: Json) -> None:
        self._before = before
        self._request = request
        self._name = str(request["checkpoint"])
        self._old = self._name in judge.digests(before)
        self._first: str | None = None

    def disturbed(self, now: Moment, response: Json | None) -> list[str]:
        """The old is kept; the new is there if it was said to be, and right if it is there."""
        found = judge.changed(self._before, now)
        self._first = judge.digests(now).get(self._name)
        if self._first is not None:
            return found + self._wrong(now, response)
        if response is not None and response["result"] == "ok":
            found.append(f"the answer was ok, but {self._name} has no root")
        return found

    def repeated(self, now: Moment, response: Json) -> list[str]:
        """The second run ends with the new one being there, once."""
        code = response.get("code")
        if response["result"] != "ok" and code != "checkpoint.exists":
            return [f"the second run: {response['result']} {code or ''} {response.get('message', '')}"]
        digest = judge.digests(now).get(self._name)
        if digest is None:
            return [f"the second run: {code or 'ok'}, but {self._name} has no root"]
        if self._first not in (None, digest):
            return [f"the second run replaced the root of {self._name}"]
        return [f"after the second run: {text}" for text in self._wrong(now, response)]

    def _wrong(self, now: Moment, response: Json | None) -> list[str]:
        if self._old:
            return []
        said = response if response is not None and response["result"] == "ok" else None
        found = judge.audit(self._before, now, self._request, said)
        return [f"{self._name} is there, but not right: {text}" for text in found]


class KeptOrGone:
    """A deletion or a collection: all else is whole, and what is deleted is whole or has no root."""

    def __init__(self, before: Moment, request: Json) -> None:
        self._before = before
        self._deleted = str(request["checkpoint"]) if request["op"] == "delete" else None
        self._gone = False

    def disturbed(self, now: Moment, response: Json | None) -> list[str]:
        """No other root is gone, no root lacks what it reaches."""
        self._gone = not self._there(now)
        found = self._lost(now)
        if response is not None and response["result"] == "ok" and self._there(now):
            found.append(f"the answer was ok, but {self._deleted} still has its root")
        return found

    def repeated(self, now: Moment, response: Json) -> list[str]:
        """The second run succeeds; it may find that the first one had done it."""
        code = response.get("code")
        done = self._deleted is not None and self._gone and code == "checkpoint.missing"
        if response["result"] != "ok" and not done:
            return [f"the second run: {response['result']} {code or ''} {response.get('message', '')}"]
        found = self._lost(now)
        if self._there(now):
            found.append(f"{self._deleted} still has its root")
        return [f"after the second run: {text}" for text in found]

    def _there(self, now: Moment) -> bool:
        """Whether there is a root that the deletion is to remove."""
        return self._deleted is not None and judge.root_key(self._deleted) in now.objects

    def _lost(self, now: Moment) -> list[str]:
        if self._deleted is None:
            return judge.collected(self._before, now)
        return judge.deleted_or_whole(self._before, now, self._deleted)


def order_findings(now: Moment, request: Json, requests: Sequence[Request]) -> list[str]:
    """What is wrong with the order of the requests of a save that has committed."""
    name = str(request["checkpoint"])
    root = judge.root_key(name)
    written = root_writes(requests, root)
    if not written or root not in now.objects:
        return []
    reached = judge.reached(now, name)
    found = [f"the root was stored {len(written)} times"] if len(written) > 1 else []
    if not request.get("accept_weak"):
        found += [f"request {each.number} writes the root, not by a conditional put: {each.operation}"
                  for each in unconditional_writes(requests, root)]  # fmt: skip
    found += [f"the root was put before {key} was known to be stored" for key in late_keys(requests, root, reached)]
    found += [f"{key} was stored twice, with different bytes" for key in rewritten_keys(requests, reached)]
    return found
