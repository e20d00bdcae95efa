"""A run: cases on several processes of an implementation at a time."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from .client import Broken, CannotStart
from .execute import Plan, execute
from .outcome import Outcome, Result
from .session import Hello, Session
from .suite import CaseFile, SuiteError

__all__ = ["Run", "greet", "read_expected_failures", "run"]

FLOOR = frozenset({"inspect", "read"})
"""Whoever claims a profile claims these."""


@dataclass(frozen=True)
class Run:
    """What came out of a run."""

    plan: Plan
    started: datetime
    seconds: float
    results: Sequence[Result]
    problems: Sequence[str]
    """What is wrong with the implementation beyond single cases."""

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems and not any(result.failed for result in self.results)

    def counts(self, profile: str | None = None) -> Counter[Outcome]:
        """How often each outcome was, in all cases or in those of a profile."""
        chosen = (result for result in self.results if profile in (None, result.case.profile))
        return Counter(result.outcome for result in chosen)


def greet(command: list[str]) -> Hello:
    """What the implementation says of itself. SuiteError if it can't be started or says nothing of use."""
    session = Session(command)
    try:
        return session.hello()
    except (Broken, CannotStart) as error:
        said = session.stderr_end().strip()
        raise SuiteError(f"the implementation can't be started: {error}" + (f"\n{said}" if said else "")) from error
    finally:
        session.close()


def read_expected_failures(path: Path | None, known: Sequence[str]) -> dict[str, str]:
    """Case id -> reason. SuiteError for a file of another form, or an id that no case has."""
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(reason, str) and reason for reason in found.values()):
        raise SuiteError(f"{path}: not an object of case ids with a reason each")
    unknown = sorted(found.keys() - set(known))
    if unknown:
        raise SuiteError(f"{path}: no case has the id {', '.join(unknown)}")
    return found


def run(plan: Plan, jobs: int, progress: Callable[[Result], None] = lambda _: None) -> Run:
    """Run all cases of a plan. ``progress`` is called with each result, by one thread at a time. SuiteError."""
    started = datetime.now(timezone.utc)
    work = _Work(plan, progress)
    threads = [threading.Thread(target=work.serve, args=(number,)) for number in range(max(1, jobs))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    except BaseException:
        work.stop.set()
        for session in work.sessions:
            session.strike()
        raise
    if work.error is not None:
        raise work.error
    seconds = (datetime.now(timezone.utc) - started).total_seconds()
    results = [work.results[case.id] for case in plan.cases]
    return Run(plan, started, seconds, results, [*_claims(plan.hello), *dict.fromkeys(work.problems)])


def _claims(hello: Hello) -> list[str]:
    missing = sorted(FLOOR - hello.profiles) if hello.profiles else []
    return [f"it claims {', '.join(sorted(hello.profiles))}, but not {' and '.join(missing)}"] if missing else []


def _longest_first(case: CaseFile) -> tuple[bool, bool]:
    return case.transaction is None, case.memory is None


class _Work:
    """What the workers share."""

    def __init__(self, plan: Plan, progress: Callable[[Result], None]) -> None:
        self._plan = plan
        self._progress = progress
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[CaseFile] = queue.SimpleQueue()
        for case in sorted(plan.cases, key=_longest_first):
            self._queue.put(case)
        self.stop = threading.Event()
        self.sessions: list[Session] = []
        self.results: dict[str, Result] = {}
        self.problems: list[str] = []
        self.error: BaseException | None = None

    def serve(self, number: int) -> None:
        """Run cases until there are none; then one process is told bye, the next one's input ends."""
        session = Session(self._plan.command)
        self.sessions.append(session)
        try:
            while not self.stop.is_set():
                try:
                    case = self._queue.get_nowait()
                except queue.Empty:
                    break
                result = execute(case, session, self._plan)
                with self._lock:
                    self.results[case.id] = result
                    self._progress(result)
            problem = session.farewell(bye=number % 2 == 0)
            if problem:
                self.problems.append(problem)
        except BaseException as error:  # noqa: BLE001  it is raised by the thread that waits
            self.error = self.error or error
            self.stop.set()
        finally:
            session.close()


