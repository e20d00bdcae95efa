"""One case on one worker: from the fresh stores to the result."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from dataclasses import dataclass

from .client import Broken, CannotStart
from .materialise import Scene
from .outcome import Result, Verdict, judged
from .session import Hello, Session
from .steps import Trial, run_steps
from .suite import CaseFile, Index, SuiteError
from .transactions import run_transaction

__all__ = ["Plan", "execute"]


@dataclass(frozen=True)
class Plan:
    """What a run is to do."""

    command: list[str]
    cases: tuple[CaseFile, ...]
    """In the order of the report."""
    siblings: dict[str, CaseFile]
    """All cases of the suite by id."""
    index: Index
    hello: Hello
    expected_failures: dict[str, str]
    quick: bool = False


def execute(case: CaseFile, session: Session, plan: Plan) -> Result:
    """Run a case. SuiteError."""
    begin = time.monotonic()
    if case.profile not in plan.hello.profiles:
        verdict = Verdict("skip", f"the profile {case.profile} is not claimed")
    else:
        verdict = _run(case, session, plan)
    level, expected = plan.index.level(case), plan.expected_failures.get(case.id)
    return judged(case, level, verdict, expected, time.monotonic() - begin)


def _run(case: CaseFile, session: Session, plan: Plan) -> Verdict:
    try:
        if case.memory is not None:
            _warm_up(case, session, plan)
        with Scene(case) as scene:
            trial = Trial(case, scene, session, plan.hello, plan.index)
            return run_transaction(trial, quick=plan.quick) if case.transaction else run_steps(trial)
    except SuiteError:
        raise
    except Exception:  # noqa: BLE001  whatever a strange implementation makes the judge stumble over fails the case
        lines = traceback.format_exc().strip().splitlines()
        return Verdict("fail", f"the runner stumbled: {lines[-1]}", tuple(lines[-12:-1]))


def _warm_up(case: CaseFile, session: Session, plan: Plan) -> None:
    """Let a new process serve the sibling first: what it loads for its first request is no growth by this case."""
    sibling = plan.siblings.get(str(case.record.get("sibling")))
    if sibling is None or session.served:
        return
    with Scene(sibling) as scene, suppress(Broken, CannotStart):
        for number in range(len(sibling.steps)):
            Trial(sibling, scene, session, plan.hello, plan.index).step(number)
