"""The steps of one case, run on an implementation and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import judge
from .client import Broken, CannotStart
from .judge import Moment
from .match import unexpected
from .materialise import Scene
from .order import order_mistakes
from .outcome import Verdict
from .placing import Placed, placed
from .session import Hello, Session
from .snapshot import Snapshot, after_findings
from .suite import CaseFile, Index

__all__ = ["Trial", "broken_verdict", "run_steps"]

Json = dict[str, Any]


@dataclass
class Trial:
    """One run of a case's steps: what was asked and answered so far."""

    case: CaseFile
    scene: Scene
    session: Session
    hello: Hello
    index: Index
    digest: str | None = None
    """The member ``digest`` of the last response that had one."""
    at: int = 0
    """The step (from 0) that is being run."""
    before: dict[str, Snapshot] = field(default_factory=dict)

    def place(self, number: int) -> Placed:
        """The request of a step (from 0) as it is sent now."""
        return placed(self.case.steps[number]["request"], self.scene, self.digest)

    def ask(self, request: Placed) -> Json:
        """Send a request and remember its digest. Broken, CannotStart."""
        response = self.session.request(request.request, self.case.timeout)
        digest = response.get("digest")
        if response["result"] == "ok" and isinstance(digest, str):
            self.digest = digest
        return response

    def step(self, number: int) -> Verdict | None:
        """Run one step (from 0); None if all is well. Broken, CannotStart."""
        self.at = number
        request = self.place(number)
        audited = {each["audit"] for each in self._expected(number) if "audit" in each}
        moments = {name: judge.moment(self.scene.view(name)) for name in audited}
        return self.judge(number, request, self.ask(request), moments)

    def judge(self, number: int, request: Placed, response: Json, before: Mapping[str, Moment]) -> Verdict | None:
        """Whether a step's response is what is expected, with the stores as they were before; None if all is well."""
        expect = self._expected(number)
        texts = unexpected(expect, response, self.index, request.out)
        if texts and response["result"] == "unsupported":
            return self._unsupported(number, response["what"])
        texts = texts or self._audited(expect, request.request, response, before)
        if not texts:
            return None
        head, *more = texts
        return Verdict("fail", f"{request.request['op']}: {head}", tuple(more), number + 1)

    def _expected(self, number: int) -> Sequence[Json]:
        expect = self.case.steps[number]["expect"]
        return [expect] if isinstance(expect, dict) else expect

    def _audited(
        self, expect: Sequence[Json], request: Json, response: Json, before: Mapping[str, Moment]
    ) -> list[str]:
        found = []
        for name in {each["audit"] for each in expect if "audit" in each and each["result"] == response["result"]}:
            now = judge.moment(self.scene.view(name))
            found += judge.audit(before[name], now, request, response, should=self.index.level(self.case) == "SHOULD")
        return [f"what was written is not right: {found[0]}", *found[1:]] if found else []

    def _unsupported(self, number: int, what: str) -> Verdict:
        if what not in self.case.options:
            return Verdict("fail", f"unsupported ({what}), which is no option of this case", step=number + 1)
        if self.hello.offers(what):
            return Verdict("fail", f"unsupported ({what}), which hello offers", step=number + 1)
        return Verdict("skip", f"unsupported: {what}")


def run_steps(trial: Trial) -> Verdict:
    """Run all steps of a case without a transaction, and look at what they leave."""
    case, scene, session = trial.case, trial.scene, trial.session
    trial.before.update({name: scene.snapshot(name) for name in case.record.get("after", {})})
    memory = None
    try:
        client = session.client()
        client.forget()
        peak = client.peak_memory() if case.memory is not None else None
        for number in range(len(case.steps)):
            verdict = trial.step(number)
            if verdict is not None:
                break
        else:
            verdict = Verdict("pass")
        if peak is not None and client.running:
            memory = peak.growth()
    except (Broken, CannotStart) as broken:
        verdict = replace(broken_verdict(broken), step=trial.at + 1)
    if verdict.outcome == "pass":
        verdict = _left(trial) or _measured(case, memory) or verdict
    return replace(verdict, memory=memory, stderr="" if verdict.outcome in ("pass", "skip") else session.stderr_end())


def broken_verdict(broken: Broken | CannotStart) -> Verdict:
    """A process that was of no use: crash, timeout, or the failure of a malformed response."""
    kind = broken.kind if isinstance(broken, Broken) else "crash"
    return Verdict("fail" if kind == "malformed" else kind, str(broken))


def _left(trial: Trial) -> Verdict | None:
    """What is wrong with the stores after all steps."""
    found = [f"outside the stores: {text}" for text in trial.scene.outside_findings()]
    for name, wanted in trial.case.record.get("after", {}).items():
        texts = after_findings(wanted, trial.before[name], trial.scene.snapshot(name))
        if "order" in wanted:
            texts += order_mistakes(wanted["order"], trial.scene.simulator(name).requests)
        found += [f"store {name}: {text}" for text in texts]
    return Verdict("fail", f"afterwards: {found[0]}", tuple(found[1:])) if found else None


def _measured(case: CaseFile, grown: int | None) -> Verdict | None:
    if case.memory is None or grown is None or grown <= case.memory:
        return None
    return Verdict("fail", f"peak memory grew by {grown / 2**20:.0f} MiB, allowed are {case.memory / 2**20:.0f} MiB")
