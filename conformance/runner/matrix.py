"""Every writer against every reader: what one writes, the others read back bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .client import Broken, CannotStart
from .match import unexpected
from .materialise import Scene
from .placing import placed
from .session import Hello, Session
from .steps import Trial
from .suite import CaseFile, Index
from .written import WRITE_PROFILES, expected_read, writing_steps

__all__ = ["Cell", "Party", "matrix"]

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Party:
    """An implementation that takes part."""

    label: str
    """What tables call it; no two are called the same."""
    session: Session
    hello: Hello

    @property
    def writes(self) -> bool:
        """Whether it claims to write at all."""
        return bool(WRITE_PROFILES & self.hello.profiles)


@dataclass
class Cell:
    """One writer and one reader."""

    writer: str
    reader: str
    same: int = 0
    """Checkpoints that the reader gave back as they were to be."""
    skipped: list[str] = field(default_factory=list)
    """Cases that one of the two does not offer."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Case id and what was wrong."""


def matrix(
    parties: Sequence[Party], cases: Iterable[CaseFile], index: Index, progress: Callable[[], None] = lambda: None
) -> list[Cell]:
    """A cell for each writer and reader, writer by writer."""
    chosen = [case for case in cases if writing_steps(case)]
    cells = []
    for writer in parties:
        if not writer.writes:
            continue
        row = [Cell(writer.label, reader.label) for reader in parties]
        for case in chosen:
            if case.profile in writer.hello.profiles:
                _one(case, writer, list(zip(parties, row, strict=True)), index)
            progress()
        cells += row
    return cells


def _one(case: CaseFile, writer: Party, readers: Sequence[tuple[Party, Cell]], index: Index) -> None:
    """Let one writer write a case, and all readers read it."""
    with Scene(case) as scene:
        trial = Trial(case, scene, writer.session, writer.hello, index)
        problem, skipped = "", False
        try:
            for number in range(len(case.steps)):
                request = trial.place(number)
                response = trial.ask(request)
                skipped = response["result"] == "unsupported" and response["what"] in case.options
                if skipped or response["result"] != "ok":
                    problem = f"not written: {response.get('code', response.get('what', response['result']))}"
                    break
        except (Broken, CannotStart) as broken:
            problem = f"not written: {broken}"
        for reader, cell in readers:
            if skipped:
                cell.skipped.append(case.id)
                continue
            wrong = problem or _read_back(case, scene, reader, index)
            if wrong is None:
                cell.skipped.append(case.id)
            elif wrong:
                cell.failures.append((case.id, wrong))
            else:
                cell.same += 1


def _read_back(case: CaseFile, scene: Scene, reader: Party, index: Index) -> str | None:
    """What is wrong with what a reader finds; empty if nothing is, None if it does not offer something of it."""
    for number in writing_steps(case):
        request = case.steps[number]["request"]
        for item in request["items"]:
            if item in request.get("carry", {}):
                continue
            wanted = expected_read(request, item)
            message = {
                "op": "read",
                "store": request["store"],
                "checkpoint": request["checkpoint"],
                "expect": None,
                "item": item,
                "paths": None,
                "assets": list(request["items"][item]["assets"]),
                "out": "$out",
                "verify": True,
            }
            asked = placed(message, scene, None)
            try:
                response = reader.session.request(asked.request, _TIMEOUT)
            except (Broken, CannotStart) as broken:
                return str(broken)
            if response["result"] == "unsupported" and not reader.hello.offers(response["what"]):
                return None
            wrong = unexpected({"result": "ok", "values": wanted}, response, index, asked.out)
            if wrong:
                return f"{request['checkpoint']} {item}: {wrong[0]}"
    return ""
