"""Writes all cases below ``cases/v1`` and compares them with what lies there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .areas import AREAS
from .case import Case
from .index import index

__all__ = ["CASES", "all_cases", "check", "write"]

CASES = Path(__file__).resolve().parent.parent / "cases" / "v1"


def all_cases() -> Iterator[tuple[str, Case]]:
    """Area and case, of all areas in order; ids are unique, siblings exist and are valid."""
    found: dict[str, Case] = {}
    pairs = []
    for area, make in AREAS.items():
        for case in make():
            if case.id in found:
                raise ValueError(f"two cases have the id {case.id}")
            found[case.id] = case
            pairs.append((area, case))
    for _, case in pairs:
        _lint(case, found)
    return iter(pairs)


def _lint(case: Case, found: dict[str, Case]) -> None:
    if case.kind == "invalid" and not (case.fault and case.sibling):
        raise ValueError(f"{case.id}: an invalid case needs its fault and its sibling")
    if case.sibling is not None and (case.sibling not in found or found[case.sibling].kind == "invalid"):
        raise ValueError(f"{case.id}: its sibling {case.sibling} is no case, or an invalid one")


def _files(area: str, case: Case) -> Iterator[tuple[str, bytes]]:
    base = f"{area}/{case.id}"
    stores: dict[str, dict[str, Any]] = {name: dict(members) for name, members in (case.stores or {}).items()}
    if case.files:
        stores.setdefault("main", {})
    for name in case.more_files:
        if name != "outside":
            stores.setdefault(name, {})
    given = {**case.more_files, **({"main": case.files} if case.files else {})}
    for name, files in given.items():
        folder = name if name == "outside" else f"stores/{name}"
        if name != "outside":
            stores[name] = {"from": folder, **stores[name]}
        for key, data in sorted(files.items()):
            yield f"{base}/{folder}/{key}", data
    record: dict[str, Any] = {
        "id": case.id,
        "title": case.title,
        "requirements": list(case.requirements),
        "profile": case.profile,
        "kind": case.kind,
    }
    optional = {
        "fault": case.fault,
        "sibling": case.sibling,
        "options": list(case.options) or None,
        "stores": stores or None,
        "steps": list(case.steps),
        "after": case.after,
        "timeout": case.timeout,
        "memory": case.memory,
        "transaction": case.transaction,
    }
    record.update({key: value for key, value in optional.items() if value is not None})
    yield f"{base}/case.json", (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()


def expected(pairs: Iterable[tuple[str, Case]]) -> dict[str, bytes]:
    """Path below ``cases/v1`` -> bytes."""
    return {"index.json": index(), **dict(entry for area, case in pairs for entry in _files(area, case))}


def write(target: Path = CASES) -> int:
    """Writes all cases anew; gives their number."""
    pairs = list(all_cases())
    files = expected(pairs)
    for area in {area for area, _ in pairs} | {path.name for path in target.glob("*") if path.is_dir()}:
        shutil.rmtree(target / area, ignore_errors=True)
    for path, data in files.items():
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return len(pairs)


def check(target: Path = CASES) -> list[str]:
    """What differs between the generator and what lies there; empty if nothing does."""
    files = expected(all_cases())
    there = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
    findings = [f"missing: {path}" for path in sorted(files.keys() - there.keys())]
    findings += [f"not generated: {path}" for path in sorted(there.keys() - files.keys())]
    both = sorted(files.keys() & there.keys())
    return findings + [f"differs: {path}" for path in both if there[path].read_bytes() != files[path]]
