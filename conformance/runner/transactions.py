"""The last step of a case again and again, with a fault at each call in turn (CASES.md, section "Transactions")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, cast

from ..transactions.killer import Killer, KillerUnavailable
from ..transactions.s3_faults import Fault, FaultKind
from ..transactions.simulator import Simulator
from .client import Broken, CannotStart
from .judge import Moment, moment
from .outcome import Verdict
from .placing import Placed
from .session import Session
from .steps import Trial, broken_verdict
from .transaction_judges import Judge, KeptOrGone, OldOrNew, order_findings

__all__ = ["MOST", "QUICK", "run_transaction", "spread"]

Json = dict[str, Any]

MOST: Final = 60
QUICK: Final = 6
"""At most this many places per fault in a quick run."""
_STALL: Final = 0.3
_ENOUGH: Final = 3


class _Place(Protocol):
    """Where the faults happen."""

    def begin(self, fault: str | None, at: int) -> None:
        """Count from here; let a fault happen at a call if one is given."""

    def end(self) -> None:
        """Let no more faults happen."""

    def count(self) -> int:
        """Calls since ``begin``."""

    def killed(self) -> bool:
        """Whether the process was killed on purpose since ``begin``."""

    def shown(self, at: int) -> str:
        """What the call of a number was."""


@dataclass(frozen=True)
class _Run:
    """What is needed for every run of the last step."""

    trial: Trial
    place: _Place
    last: int
    """The step, from 0."""
    store: str
    settings: Json
    digest: str | None
    """That of the last response before the step."""
    before: Moment

    def now(self) -> Moment:
        """The store as it is now."""
        return moment(self.trial.scene.view(self.store))

    def request(self) -> Placed:
        """The request of the step as it is sent now."""
        self.trial.digest = self.digest
        return self.trial.place(self.last)


def run_transaction(trial: Trial, *, quick: bool) -> Verdict:
    """Run a case with a transaction."""
    settings = trial.case.transaction
    assert settings is not None
    try:
        with ExitStack() as stack:
            over = _over_directory if settings["over"] == "directory" else _over_s3
            session, place = stack.enter_context(over(trial))
            verdict = _all_runs(replace(trial, session=session), place, settings, QUICK if quick else MOST)
            if verdict.outcome == "pass":
                outside = trial.scene.outside_findings()
                if outside:
                    return replace(verdict, outcome="fail", reason=f"outside the stores: {outside[0]}")
            return verdict
    except KillerUnavailable as reason:
        return Verdict("skip", f"processes can't be killed at a call here: {reason}")


def spread(count: int, most: int) -> list[int]:
    """Numbers from 1 to ``count``: all, or ``most`` of them: five near the end, where a commit is, and some before."""
    if count <= most:
        return list(range(1, count + 1))
    last = [count - 2 * step for step in range(min(5, most - 1)) if count - 2 * step > 0]
    left = most - len(last)
    return sorted({1 + step * (last[-1] - 1) // left for step in range(left)} | set(last))


@contextmanager
def _over_directory(trial: Trial) -> Iterator[tuple[Session, _Place]]:
    with Killer.prepare(trial.scene.directory) as killer:
        session = Session(trial.session.command, killer.environment())
        try:
            yield session, _Calls(killer)
        finally:
            session.close()


@contextmanager
def _over_s3(trial: Trial) -> Iterator[tuple[Session, _Place]]:
    store = trial.case.steps[-1]["request"]["store"][1:]
    simulator = trial.scene.simulator(store)
    simulator.on_kill = trial.session.strike
    yield trial.session, _Requests(simulator, trial.scene.faults(store))


class _Calls:
    """System calls that change a directory."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer

    def begin(self, fault: str | None, at: int) -> None:
        self._killer.kill_at(at if fault else 0, "after" if fault == "kill-after" else "before")
        self._killer.arm()

    def end(self) -> None:
        self._killer.disarm()

    def count(self) -> int:
        if not self._killer.attached or not self._killer.count:
            raise KillerUnavailable("the system calls of this implementation are out of reach")
        return self._killer.count

    def killed(self) -> bool:
        return self._killer.killed

    def shown(self, at: int) -> str:
        call = next((each for each in self._killer.calls() if each.number == at), None)
        return f"{call.name} {call.path}" if call is not None else "?"


class _Requests:
    """Requests to the simulator."""

    def __init__(self, simulator: Simulator, always: Sequence[Fault]) -> None:
        self._simulator = simulator
        self._always = always

    def begin(self, fault: str | None, at: int) -> None:
        self._simulator.clear()
        self._simulator.plan(*([_fault(fault, at)] if fault else ()), *self._always)

    def end(self) -> None:
        self._simulator.plan(*self._always)

    def count(self) -> int:
        return len(self._simulator.requests)

    def killed(self) -> bool:
        faults = (request.fault for request in self._simulator.requests)
        return any(fault is not None and fault.kind.startswith("kill") for fault in faults)

    def shown(self, at: int) -> str:
        request = next((each for each in self._simulator.requests if each.number == at), None)
        return f"{request.operation} {request.key}" if request is not None else "?"


def _fault(name: str, at: int) -> Fault:
    kind = cast("FaultKind", "fail" if name == "outage" else name.replace("-", "_"))
    return Fault(kind=kind, at=at, persistent=name == "outage", seconds=_STALL)


def _all_runs(trial: Trial, place: _Place, settings: Json, most: int) -> Verdict:
    last = len(trial.case.steps) - 1
    runs = 0
    try:
        for number in range(last):
            verdict = trial.step(number)
            if verdict is not None:
                return verdict
        trial.scene.save()
        store = trial.case.steps[last]["request"]["store"][1:]
        run = _Run(trial, place, last, store, settings, trial.digest, moment(trial.scene.view(store)))
        verdict = _undisturbed(run)
        if verdict is not None:
            return verdict
        count = place.count()
        failures: list[tuple[str, list[str]]] = []
        for fault in settings["faults"]:
            for at in spread(count, most):
                runs += 1
                texts = _disturbed(run, fault, at)
                if texts:
                    failures.append((f"{fault} at call {at} of {count} ({place.shown(at)})", texts))
                if len(failures) == _ENOUGH:
                    return _failed(failures, runs, trial.session.stderr_end())
    except (Broken, CannotStart) as broken:
        return replace(broken_verdict(broken), runs=runs, step=last + 1, stderr=trial.session.stderr_end())
    return _failed(failures, runs, "") if failures else Verdict("pass", runs=runs)


def _failed(failures: Sequence[tuple[str, list[str]]], runs: int, stderr: str) -> Verdict:
    (where, texts), *more = failures
    others = [f"{place}: {found[0]}" for place, found in more]
    return Verdict("fail", f"{where}: {texts[0]}", (*texts[1:], *others), runs=runs, stderr=stderr)


def _undisturbed(run: _Run) -> Verdict | None:
    """The run that counts; it has to be as the case expects."""
    run.trial.session.client()
    run.place.begin(None, 0)
    request = run.request()
    try:
        response = run.trial.ask(request)
    finally:
        run.place.end()
    verdict = run.trial.judge(run.last, request, response, {run.store: run.before})
    if verdict is not None:
        return verdict
    wrong = _order(run, request)
    return Verdict("fail", f"{request.request['op']}: {wrong[0]}", tuple(wrong[1:]), run.last + 1) if wrong else None


def _disturbed(run: _Run, fault: str, at: int) -> list[str]:
    """One run with a fault, and another one without; what is wrong. Broken, CannotStart."""
    trial, scene = run.trial, run.trial.scene
    scene.reset()
    trial.session.client()
    if fault.startswith("kill"):
        trial.session.prepare()
    request = run.request()
    judge: Judge = (OldOrNew if run.settings["judge"] == "old-or-new" else KeptOrGone)(run.before, request.request)
    response: Json | None = None
    run.place.begin(fault, at)
    try:
        response = trial.ask(request)
    except Broken:
        if not run.place.killed():
            raise
    finally:
        run.place.end()
    if response is None and scene.is_s3(run.store):
        scene.simulator(run.store).settle()
    found = _answered(response, trial)
    found += judge.disturbed(run.now(), response)
    found += _order(run, request)
    return found or _repeated(run, judge)


def _repeated(run: _Run, judge: Judge) -> list[str]:
    response = run.trial.ask(run.request())
    return judge.repeated(run.now(), response)


def _answered(response: Json | None, trial: Trial) -> list[str]:
    """A fault of the store is no excuse for an answer that isn't one of the protocol's."""
    if response is None or response["result"] == "ok":
        return []
    if response["result"] != "rejected":
        return [f"the answer was {response['result']}: {response.get('message', response.get('what'))}"]
    code, phase = response["code"], response["phase"]
    return [] if trial.index.allows(code, phase) else [f"the registry does not let {code} arise in the phase {phase}"]


def _order(run: _Run, request: Placed) -> list[str]:
    scene = run.trial.scene
    if run.settings["judge"] != "old-or-new" or not scene.is_s3(run.store):
        return []
    return order_findings(run.now(), request.request, scene.simulator(run.store).requests)
