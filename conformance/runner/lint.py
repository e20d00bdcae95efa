"""Mistakes in cases that no implementation would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .schemas import findings
from .suite import CaseFile, Index

__all__ = ["case_findings", "suite_findings"]

Json = dict[str, Any]

_DIRECTORY: Final = {"kind": "directory", "path": "/store"}
_S3: Final = {"kind": "s3", "endpoint": "http://127.0.0.1:1", "bucket": "b", "prefix": ""}


def suite_findings(cases: Mapping[str, CaseFile], index: Index) -> list[str]:
    """What is wrong with any of the cases; empty if nothing is."""
    return [f"{case.id}: {text}" for case in cases.values() for text in case_findings(case, cases, index)]


def case_findings(case: CaseFile, cases: Mapping[str, CaseFile], index: Index) -> list[str]:
    """What is wrong with a case: its form, its requests, names that it uses."""
    found = findings("case", case.record)
    if found:
        return found
    if case.directory.name != case.id:
        found.append(f"it lies in {case.directory.name}")
    found += [f"there is no requirement {name}" for name in case.requirements if name not in index.requirements]
    sibling = case.record.get("sibling")
    if sibling is not None and (sibling not in cases or cases[sibling].record.get("kind") == "invalid"):
        found.append(f"its sibling {sibling} is no case, or an invalid one")
    for name, members in case.stores.items():
        if "from" in members and not (case.directory / members["from"]).is_dir():
            found.append(f"store {name}: there is no directory {members['from']}")
    found += [f"after: there is no store {name}" for name in case.record.get("after", {}) if name not in case.stores]
    for number, step in enumerate(case.steps, 1):
        found += [f"step {number}: {text}" for text in _step(case, step, index)]
    if case.transaction is not None:
        found += _transaction(case)
    return found


def _step(case: CaseFile, step: Json, index: Index) -> list[str]:
    request, found = _as_sent(case, step["request"])
    found += findings("request", request)
    for expect in _alternatives(step):
        for code in expect.get("codes", ()):
            if code not in index.phases:
                found.append(f"the registry has no code {code}")
            else:
                found += [
                    f"the registry does not let {code} arise in the phase {phase}"
                    for phase in expect.get("phases", ())
                    if len(expect["codes"]) == 1 and not index.allows(code, phase)
                ]
        if "audit" in expect and (expect["audit"] not in case.stores or request.get("op") not in ("write", "copy")):
            found.append(f"audit {expect['audit']}: no store of the case, or not after write")
    return found


def _as_sent(case: CaseFile, request: Json) -> tuple[Json, list[str]]:
    """A request with stand-ins for the places of a run."""
    found: list[str] = []

    def store(value: Any) -> Any:
        if not isinstance(value, str) or value[:1] != "$" or value[1:] not in case.stores:
            found.append(f"{value!r} is no store of the case")
            return _DIRECTORY
        return _S3 if case.stores[value[1:]].get("kind") == "s3" else _DIRECTORY

    made: Json = {"id": 1, **request}
    for name, value in request.items():
        if name in ("store", "to"):
            made[name] = store(value)
        elif value == "$out":
            made[name] = "/out"
        elif value == "$digest":
            made[name] = "0" * 64
    if "writers" in request:
        made["writers"] = [{**each, **({"store": store(each["store"])} if "store" in each else {})}
                           for each in request["writers"]]  # fmt: skip
    if "target" in request:
        made["target"] = {**request["target"], **({"out": "/out"} if request["target"].get("out") == "$out" else {})}
    return made, found


def _alternatives(step: Json) -> Sequence[Json]:
    return [step["expect"]] if isinstance(step["expect"], dict) else step["expect"]


def _transaction(case: CaseFile) -> list[str]:
    assert case.transaction is not None
    request = case.steps[-1]["request"]
    judge = case.transaction["judge"]
    wanted = ("write",) if judge == "old-or-new" else ("delete", "gc")
    found = [] if request["op"] in wanted else [f"transaction: {request['op']} is not judged by {judge}"]
    kind = case.stores.get(str(request.get("store"))[1:], {}).get("kind", "directory")
    if kind != case.transaction["over"]:
        found.append(f"transaction: over {case.transaction['over']}, but the store is of kind {kind}")
    return found
