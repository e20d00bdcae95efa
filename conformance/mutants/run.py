"""Runs the suite against every mutant until a case catches it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..runner.client import Broken, CannotStart
from ..runner.execute import Plan, execute
from ..runner.outcome import Result
from ..runner.session import Session
from ..runner.suite import CASES, CaseFile, Index, SuiteError, chosen, load_cases
from .catalogue import MUTANTS
from .mutant import Mutant

__all__ = ["MutantResult", "command_for", "run_all"]

_PACKAGE: Final = str(__package__)
_ABOVE: Final = str(Path(__file__).resolve().parents[_PACKAGE.count(".") + 1])


@dataclass(frozen=True)
class MutantResult:
    """What became of a mutant."""

    mutant: Mutant
    caught: Result | None
    """The first case that failed, or warned of a bug against a SHOULD; None if the mutant survived all."""
    hinted: bool
    """Whether a hint of the mutant led to that case."""
    cases: int
    """How many cases were run."""
    seconds: float


def command_for(*names: str) -> list[str]:
    """The command of mutants, one after the other, from whatever directory it is started."""
    start = f"import sys; sys.path.insert(0, {_ABOVE!r}); from {_PACKAGE}.__main__ import main; sys.exit(main())"
    return [sys.executable, "-c", start, *names]


def run_all(
    jobs: int,
    show: Callable[[MutantResult], None] = lambda _: None,
    mutants: Iterable[Mutant] = MUTANTS.values(),
    suite: Path = CASES,
) -> list[MutantResult]:
    """What became of each mutant, in order; `show` is called with each when it is known. SuiteError.

    One more than `jobs` run at a time, as there is always one that only waits for a time limit. Starting a process
    takes longer than most cases: a process serves many mutants, except where a case is about processes.
    """
    cases = load_cases(suite)
    index = Index.load(suite)
    every = list(mutants)
    workers = max(1, jobs) + 1
    alone = [each for each in every if any(map(_about_processes, in_order(each, cases.values())[0]))]
    together = [each for each in every if each not in alone]
    shares = [together[first::workers] for first in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(_run, each, cases, index, show) for each in alone]
        sharing = [pool.submit(_run_share, share, cases, index, show) for share in shares if share]
        try:
            results = [each.result() for each in running] + [found for each in sharing for found in each.result()]
        finally:
            pool.shutdown(cancel_futures=True)
    return sorted(results, key=lambda found: every.index(found.mutant))


def _about_processes(case: CaseFile) -> bool:
    """Whether a case kills its process, or measures it."""
    return case.transaction is not None or case.memory is not None


def in_order(mutant: Mutant, cases: Iterable[CaseFile]) -> tuple[Sequence[CaseFile], Sequence[CaseFile]]:
    """The cases that a mutant's hints fit, in the order of the hints; and the others, those of its profiles first.

    Transactions take long; they are among the others only where the mutant says that it shows there.
    """
    every = list(cases)
    hinted = {case.id: case for hint in mutant.hints for case in chosen(every, [hint])}
    others = [
        case
        for case in every
        if case.id not in hinted and (case.transaction is None or case.profile in mutant.profiles)
    ]
    return list(hinted.values()), sorted(others, key=lambda case: case.profile not in mutant.profiles)


def _run_share(
    share: Sequence[Mutant], cases: dict[str, CaseFile], index: Index, show: Callable[[MutantResult], None]
) -> list[MutantResult]:
    """What became of some mutants; a process that has broken leaves the rest of them to another one."""
    results: list[MutantResult] = []
    session: Session | None = None
    try:
        for at, mutant in enumerate(share):
            begin = time.monotonic()
            if session is None:
                session = Session(command_for(*(each.name for each in share[at:])))
            found = _caught_by_hint(mutant, session, cases, index, begin)
            if found is None:
                found = _run(mutant, cases, index, lambda _: None)
            show(found)
            results.append(found)
            if session.starts != 1 or not session.next():
                session.close()
                session = None
    finally:
        if session is not None:
            session.close()
    return results


def _caught_by_hint(
    mutant: Mutant, session: Session, cases: dict[str, CaseFile], index: Index, begin: float
) -> MutantResult | None:
    """The result of a mutant that one of its hints leads to; None where that needs a closer look."""
    hinted, _ = in_order(mutant, cases.values())
    try:
        plan = Plan(session.command, (), cases, index, session.hello(), {})
    except (Broken, CannotStart):
        return None
    for count, case in enumerate(hinted, 1):
        result = execute(case, session, plan)
        if result.failed or (result.outcome == "warn" and mutant.level == "SHOULD"):
            return MutantResult(mutant, result, True, count, time.monotonic() - begin)
        if session.starts != 1:
            return None
    return None


def _run(
    mutant: Mutant, cases: dict[str, CaseFile], index: Index, show: Callable[[MutantResult], None]
) -> MutantResult:
    begin = time.monotonic()
    hinted, others = in_order(mutant, cases.values())
    session = Session(command_for(mutant.name))
    try:
        plan = Plan(session.command, (), cases, index, session.hello(), {})
        caught = None
        count = 0
        for case in (*hinted, *others):
            count += 1
            result = execute(case, session, plan)
            if result.failed or (result.outcome == "warn" and mutant.level == "SHOULD"):
                caught = result
                break
    except (Broken, CannotStart) as error:
        raise SuiteError(f"the mutant {mutant.name} does not start: {error}\n{session.stderr_end()}") from error
    finally:
        session.close()
    found = MutantResult(mutant, caught, caught is not None and count <= len(hinted), count, time.monotonic() - begin)
    show(found)
    return found
