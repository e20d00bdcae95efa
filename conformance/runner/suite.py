"""The cases and the index of requirements, as they lie in ``cases/v1`` (CASES.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

__all__ = [
    "CASES",
    "GOLDEN",
    "PROFILES",
    "CaseFile",
    "Index",
    "Level",
    "Requirement",
    "SuiteError",
    "chosen",
    "load_cases",
]

Json = dict[str, Any]
Level = Literal["MUST", "SHOULD", "MAY"]

CASES: Final = Path(__file__).resolve().parent.parent / "cases" / "v1"
GOLDEN: Final = Path(__file__).resolve().parent.parent / "golden"
PROFILES: Final = (
    "inspect", "read", "region-read", "integrity", "write", "sharded-write", "transaction", "lifecycle", "state",
)  # fmt: skip
"""In the order of a report; ``inspect`` and ``read`` are the floor."""
_MAIN_STORE: Final = "main"


class SuiteError(Exception):
    """The suite itself, or how it was called, is wrong: not the implementation."""


@dataclass(frozen=True)
class CaseFile:
    """One case."""

    area: str
    directory: Path
    record: Json
    """The whole of case.json."""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What patterns are compared with, in lower case."""
        return tuple(text.lower() for text in (self.id, self.area, self.title, *self.requirements))

    @property
    def id(self) -> str:
        """Its permanent id."""
        return str(self.record["id"])

    @property
    def title(self) -> str:
        """One line."""
        return str(self.record["title"])

    @property
    def profile(self) -> str:
        """The profile that an implementation has to claim."""
        return str(self.record["profile"])

    @property
    def requirements(self) -> Sequence[str]:
        """Ids; the main one first."""
        return tuple(self.record["requirements"])

    @property
    def steps(self) -> Sequence[Json]:
        """Requests, each with what is expected."""
        return tuple(self.record["steps"])

    @property
    def options(self) -> frozenset[str]:
        """What an implementation may lack."""
        return frozenset(self.record.get("options", ()))

    @property
    def stores(self) -> Mapping[str, Json]:
        """Name to how the store is made; one empty store if the case says nothing."""
        return dict(self.record.get("stores") or {_MAIN_STORE: {}})

    @property
    def timeout(self) -> float:
        """Seconds for one response."""
        return float(self.record.get("timeout", 10))

    @property
    def memory(self) -> int | None:
        """Bytes by which the peak memory may grow."""
        return self.record.get("memory")

    @property
    def transaction(self) -> Json | None:
        """How the last step is run again and again."""
        return self.record.get("transaction")


@dataclass(frozen=True)
class Requirement:
    """A requirement of the specification."""

    id: str
    keyword: str
    text: str
    error: str | None
    verify: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """What the cases need of the specification: requirements, and the phases of each error code."""

    spec: str
    requirements: Mapping[str, Requirement]
    phases: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, cases: Path = CASES) -> Index:
        """Read ``index.json``. SuiteError."""
        record = _read(cases / "index.json")
        try:
            requirements = [
                Requirement(**{**each, "roles": tuple(each["roles"])}) for each in record["requirements"]
            ]
            phases = {code: frozenset(names) for code, names in record["codes"].items()}
            return cls(record["spec"], {each.id: each for each in requirements}, phases)
        except (KeyError, TypeError) as error:
            raise SuiteError(f"{cases / 'index.json'}: {error!r}") from error

    def level(self, case: CaseFile) -> Level:
        """The keyword of the case's first requirement, without NOT."""
        found = self.requirements.get(case.requirements[0])
        if found is None:
            raise SuiteError(f"{case.id}: the specification has no requirement {case.requirements[0]}")
        keyword = found.keyword.split()[0]
        return "MUST" if keyword == "MUST" else "SHOULD" if keyword == "SHOULD" else "MAY"

    def allows(self, code: str, phase: str) -> bool:
        """Whether the registry lets a code arise in a phase."""
        phases = self.phases.get(code, frozenset())
        return phase in phases or "any" in phases


def load_cases(cases: Path = CASES) -> dict[str, CaseFile]:
    """All cases by id, in order of area and id, and the golden files after the suite's own. SuiteError."""
    found: dict[str, CaseFile] = {}
    folders = (cases, GOLDEN) if cases == CASES else (cases,)
    for path in (path for folder in folders for path in sorted(folder.glob("*/*/case.json"))):
        case = CaseFile(path.parent.parent.name, path.parent, _read(path))
        try:
            known = found.setdefault(case.id, case)
        except KeyError as error:
            raise SuiteError(f"{path}: no {error}") from error
        if known is not case:
            raise SuiteError(f"{path}: {case.id} is also the id of {known.directory}")
    if not found:
        raise SuiteError(f"there are no cases in {cases}")
    return found


def chosen(cases: Iterable[CaseFile], patterns: Sequence[str] = (), profiles: Sequence[str] = ()) -> list[CaseFile]:
    """The cases of these profiles that a pattern fits; all, if there are no patterns or profiles."""
    return [
        case
        for case in cases
        if (not profiles or case.profile in profiles) and (not patterns or any(_fits(case, each) for each in patterns))
    ]


def _fits(case: CaseFile, pattern: str) -> bool:
    """With ``*``, ``?`` or ``[`` a pattern fits id, area, title or requirement as a whole, any other a part."""
    texts = case.texts
    if any(sign in pattern for sign in "*?["):
        return any(fnmatchcase(text, pattern.lower()) for text in texts)
    return any(pattern.lower() in text for text in texts)


def _read(path: Path) -> Json:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: {error}") from error
    if not isinstance(record, dict):
        raise SuiteError(f"{path}: not an object")
    return record
