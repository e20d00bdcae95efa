"""``results.json``: a run for machines (protocol/results.schema.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .outcome import OUTCOMES, Result
from .run import Run
from .session import PROTOCOL_VERSION
from .suite import PROFILES, SuiteError

__all__ = ["FORM", "read_results", "results"]

Json = dict[str, Any]

FORM = "scf-conformance-results/1"


def results(run: Run) -> Json:
    """The run as one JSON object."""
    plan = run.plan
    return {
        "form": FORM,
        "spec": plan.index.spec,
        "protocol": PROTOCOL_VERSION,
        "implementation": {"command": plan.command, **plan.hello.record},
        "started": run.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(run.seconds, 3),
        "quick": plan.quick,
        "ok": run.ok,
        "problems": list(run.problems),
        "summary": _counts(run, None),
        "profiles": {
            profile: {"claimed": profile in plan.hello.profiles, **_counts(run, profile)} for profile in PROFILES
        },
        "cases": [_case(result) for result in run.results],
    }


def read_results(path: Path) -> Json:
    """A file of results. SuiteError."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: {error}") from error
    if not isinstance(record, dict) or record.get("form") != FORM:
        raise SuiteError(f"{path}: not of the form {FORM}")
    return record


def _counts(run: Run, profile: str | None) -> Json:
    counts = run.counts(profile)
    return {"total": counts.total(), **{outcome: counts[outcome] for outcome in OUTCOMES}}


def _case(result: Result) -> Json:
    case, verdict = result.case, result.verdict
    return {
        "id": case.id,
        "area": case.area,
        "title": case.title,
        "profile": case.profile,
        "kind": case.record["kind"],
        "level": result.level,
        "requirements": list(case.requirements),
        "outcome": result.outcome,
        "seconds": round(result.seconds, 3),
        "reason": verdict.reason,
        "details": list(verdict.details),
        "step": verdict.step,
        "memory": verdict.memory,
        "runs": verdict.runs,
        "stderr": verdict.stderr,
    }
