"""Which cases test a requirement, and how they came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .outcome import FAILURES
from .suite import CaseFile, Index, Requirement

__all__ = ["REASONS", "Covered", "coverage", "coverage_record"]

Json = dict[str, Any]

REASONS: Final = {
    "inspect": "no case can see it from outside: it is shown by reading the implementation",
    "none": "it binds nobody to anything that could be tested",
}
"""Why no case tests a requirement, by what the specification says of how it is shown."""


@dataclass(frozen=True)
class Covered:
    """A requirement, its cases, and what came out of them."""

    requirement: Requirement
    cases: Sequence[CaseFile]
    results: Sequence[Mapping[str, str]]
    """For each run that was given: case id -> outcome, of these cases."""

    @property
    def by_case(self) -> bool:
        """Whether cases have to test it."""
        return self.requirement.verify == "case"

    @property
    def missing(self) -> str:
        """What is missing: a case, an invalid case; empty if nothing is."""
        if not self.by_case:
            return ""
        if not self.cases:
            return "no case"
        if self.requirement.error is not None and not any(_refuses(case) for case in self.cases):
            return "no case in which it is violated"
        return ""

    @property
    def verdicts(self) -> list[str]:
        """One word for each run: pass, fail, open (nothing ran) or - (no cases)."""
        return [_verdict(outcomes) if self.cases else "-" for outcomes in self.results]


def coverage(index: Index, cases: Iterable[CaseFile], runs: Sequence[Json] = ()) -> list[Covered]:
    """All requirements, in order of their ids, with the cases that name them and the outcomes of runs."""
    by_id: dict[str, list[CaseFile]] = {}
    for case in cases:
        for name in case.requirements:
            by_id.setdefault(name, []).append(case)
    outcomes = [{each["id"]: each["outcome"] for each in run["cases"]} for run in runs]
    return [
        Covered(requirement, found, [{case.id: run[case.id] for case in found if case.id in run} for run in outcomes])
        for name, requirement in sorted(index.requirements.items())
        for found in (by_id.get(name, []),)
    ]


def coverage_record(found: Sequence[Covered]) -> Json:
    """The coverage as one JSON object."""
    tested = [each for each in found if each.by_case]
    return {
        "requirements": len(found),
        "by_case": len(tested),
        "covered": sum(not each.missing for each in tested),
        "table": [
            {
                "id": each.requirement.id,
                "keyword": each.requirement.keyword,
                "verify": each.requirement.verify,
                "cases": [case.id for case in each.cases],
                "missing": each.missing,
                "reason": "" if each.by_case else REASONS[each.requirement.verify],
                "verdicts": each.verdicts,
            }
            for each in found
        ],
    }


def _refuses(case: CaseFile) -> bool:
    """Whether a case expects a refusal, or a finding with a code."""
    alternatives = [
        each
        for step in case.steps
        for each in ([step["expect"]] if isinstance(step["expect"], dict) else step["expect"])
    ]
    return any(each["result"] == "rejected" or _has_code(each.get("values")) for each in alternatives)


def _has_code(pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(pattern.get("code"), (str, dict)) or any(map(_has_code, pattern.values()))
    return isinstance(pattern, list) and any(map(_has_code, pattern))


def _verdict(outcomes: Mapping[str, str]) -> str:
    ran = [outcome for outcome in outcomes.values() if outcome != "skip"]
    if any(outcome in FAILURES or outcome == "xfail" for outcome in ran):
        return "fail"
    return "pass" if ran else "open"
