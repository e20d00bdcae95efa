"""Which requirements have no case, and which cases name a requirement that no case can test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .case import Case
from .index import SPEC

__all__ = ["gaps", "requirements"]


def requirements() -> list[dict[str, Any]]:
    """The requirements of the specification."""
    found: list[dict[str, Any]] = json.loads((SPEC / "requirements.json").read_text(encoding="utf-8"))
    return found


def gaps(cases: Iterable[Case], requirements: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is missing: cases of requirements, invalid cases with their codes, requirements of cases."""
    cases = list(cases)
    known = {each["id"]: each for each in requirements}
    tested = {name for case in cases for name in case.requirements}
    refused = {
        (name, code) for case in cases if case.kind == "invalid" for name in case.requirements for code in codes(case)
    }
    found = []
    for name, each in known.items():
        if each["verify"] != "case":
            continue
        if name not in tested:
            found.append(f"{name}: no case")
        elif each["error"] and (name, each["error"]) not in refused:
            found.append(f"{name}: no invalid case that expects {each['error']}")
    for case in cases:
        for name in case.requirements:
            if name not in known:
                found.append(f"{case.id}: {name} is no requirement")
            elif known[name]["verify"] != "case":
                found.append(f"{case.id}: {name} is not shown by cases (verify={known[name]['verify']})")
    return found


def codes(case: Case) -> set[str]:
    """Every error code that a case expects: of refusals, and of findings of a verification."""
    return {code for step in case.steps for code in _codes(step["expect"])}


def _codes(expect: Any) -> Iterator[str]:
    if isinstance(expect, Mapping):
        yield from expect.get("codes", ())
        if isinstance(expect.get("code"), str):
            yield expect["code"]
        for value in expect.values():
            yield from _codes(value)
    elif isinstance(expect, (list, tuple)):
        for value in expect:
            yield from _codes(value)
