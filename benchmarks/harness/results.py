"""What a run found, as values and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Absent", "ArmResult", "CaseResult", "Ratio", "Run", "Sample", "Series", "ratio", "read", "write"]

FORMAT = "pyckpt-benchmarks"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One execution of one step by all ranks. Bytes and CPU seconds are those of all ranks together."""

    round: int
    seconds: float
    """Of the slowest rank; with the fsync that the arm itself left out."""
    cpu: float
    peak: int
    """Of the worst rank: bytes of resident memory above what it held when the arm was opened."""
    calls_read: int
    calls_written: int
    device_read: int
    device_written: int
    stored: int = 0
    """Bytes of the files that a save made."""
    resident: float | None = None
    """Part of the files' pages that was in the page cache before a cold load."""


Series = list[Sample]


@dataclass(slots=True)
class ArmResult:
    """All that one arm did in one case."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    steps: dict[str, dict[str, Series]] = field(default_factory=dict)
    """Step -> way -> samples. Steps: ``save``, ``load``, ``warm load``, ``work``."""
    checked: dict[str, bool] = field(default_factory=dict)
    """Way -> its loads were compared with the state, bit for bit."""

    def series(self, step: str) -> Iterator[tuple[str, Series]]:
        """Names and samples of all ways to do a step."""
        for way, samples in self.steps.get(step, {}).items():
            if samples:
                yield (f"{self.name}, {way}" if way else self.name), samples


@dataclass(frozen=True, slots=True)
class Absent:
    """An arm that could not take part, or fell out."""

    arm: str
    reason: str


@dataclass(slots=True)
class CaseResult:
    """One case: the same bytes for all its arms."""

    name: str
    title: str
    nbytes: int
    tensors: int
    ranks: int
    load_ranks: int
    where: str
    """``disk``, ``memory`` or ``store``."""
    file_system: str
    arms: list[ArmResult] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)

    def named(self, step: str) -> dict[str, tuple[ArmResult, Series]]:
        """Name -> arm and samples, for all that did the step."""
        return {name: (arm, samples) for arm in self.arms for name, samples in arm.series(step)}

    def steps(self) -> list[str]:
        """Steps that any arm did."""
        return list(dict.fromkeys(step for arm in self.arms for step in arm.steps))


@dataclass(slots=True)
class Run:
    """One call of ``python -m benchmarks run``."""

    suite: str
    began: str
    ended: str
    seconds: float
    machine: Mapping[str, Any]
    load_begin: float
    load_end: float
    uncontrolled: Sequence[str]
    cases: list[CaseResult]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast: over pairs of samples from the same round."""

    median: float
    least: float
    most: float
    pairs: int


def ratio(slower: Series, faster: Series) -> Ratio | None:
    """How many times as fast ``faster`` is as ``slower``, in pairs of one round; None without a pair."""
    by_round = {sample.round: sample.seconds for sample in slower}
    values = [by_round[each.round] / each.seconds for each in faster if each.round in by_round and each.seconds > 0]
    if not values:
        return None
    return Ratio(statistics.median(values), min(values), max(values), len(values))


def write(path: str, run: Run) -> None:
    """Stores a run as JSON."""
    Path(path).write_text(json.dumps({"format": FORMAT, "version": VERSION, **asdict(run)}, indent=1) + "\n")


def read(path: str) -> Run:
    """A run from its JSON. Raises ValueError for other files and newer versions."""
    raw = json.loads(Path(path).read_text())
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not a result of python -m benchmarks run")
    version = raw.pop("version")
    if version != VERSION:
        raise ValueError(f"{path} has version {version}, this program reads {VERSION}")
    raw["cases"] = [_case(each) for each in raw["cases"]]
    return Run(**raw)


def _case(raw: dict[str, Any]) -> CaseResult:
    arms = []
    for each in raw["arms"]:
        steps = {
            step: {way: [Sample(**sample) for sample in samples] for way, samples in ways.items()}
            for step, ways in each["steps"].items()
        }
        arms.append(ArmResult(each["name"], each["kind"], each["settings"], steps, each["checked"]))
    absent = [Absent(**each) for each in raw["absent"]]
    return CaseResult(**{**raw, "arms": arms, "absent": absent})
