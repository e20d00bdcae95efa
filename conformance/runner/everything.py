"""Everything at once: the cases as generated, every implementation of a list, the golden files, every mutant."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .execute import Plan
from .report_text import Reporter, print_run
from .reports import write_reports
from .run import Run, greet, read_expected_failures, run
from .session import command_of
from .suite import CASES, CaseFile, Index, SuiteError

__all__ = ["Member", "mutants_survive", "read_members", "run_member", "summary"]


@dataclass(frozen=True)
class Member:
    """One implementation of the list."""

    name: str
    command: str
    expected_failures: Path | None


def read_members(path: Path, node: str | None) -> list[Member]:
    """The implementations in a list; ``{python}`` is this interpreter, ``{node}`` Node.js. SuiteError."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["implementations"]
    except (OSError, ValueError, KeyError) as error:
        raise SuiteError(f"{path}: {error}") from error
    node = node or shutil.which("node")
    members = []
    for row in rows:
        if "{node}" in row["command"] and node is None:
            raise SuiteError(f"{row['name']} needs Node.js, which is not on the PATH; --node says where it is")
        expected = row.get("expected_failures")
        command = row["command"].replace("{python}", sys.executable).replace("{node}", node or "")
        members.append(Member(row["name"], command, Path(expected) if expected else None))
    return members


def run_member(
    member: Member,
    cases: dict[str, CaseFile],
    index: Index,
    console: Console,
    *,
    jobs: int,
    quick: bool,
    out: Path | None,
) -> Run:
    """One implementation through all cases of its profiles."""
    console.rule(member.name)
    words = command_of(member.command)
    expected = read_expected_failures(member.expected_failures, list(cases))
    plan = Plan(words, tuple(cases.values()), cases, index, greet(words), expected, quick)
    with Reporter(console, len(cases)) as reporter:
        done = run(plan, jobs, reporter)
    print_run(console, done)
    if out is not None:
        write_reports(done, out / member.name)
    return done


def mutants_survive(console: Console, jobs: int, suite: Path = CASES) -> list[str]:
    """Names of the mutants that no case catches."""
    from ..mutants.run import run_all

    console.rule("mutants")
    begin = time.monotonic()
    results = run_all(jobs, suite=suite)
    survivors = [each for each in results if each.caught is None]
    table = Table("mutant", "caught by", box=None, header_style="bold", pad_edge=False)
    for each in survivors:
        table.add_row(each.mutant.name, "[red]no case[/red]")
    console.print(f"{len(results) - len(survivors)} of {len(results)} caught in {time.monotonic() - begin:.0f} s")
    if survivors:
        console.print(table)
    return [each.mutant.name for each in survivors]


def summary(runs: Sequence[tuple[str, bool]]) -> str:
    """One line for all."""
    bad = [name for name, ok in runs if not ok]
    return "all is well" if not bad else f"not well: {', '.join(bad)}"
