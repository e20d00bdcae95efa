"""The command line: ``python -m conformance``, or ``scf-conformance`` where the suite is installed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from .runner.client import Broken, CannotStart
from .runner.coverage import coverage, coverage_record
from .runner.coverage_text import print_coverage
from .runner.everything import mutants_survive, read_members, run_member, summary
from .runner.execute import Plan
from .runner.explain import explain
from .runner.lint import suite_findings
from .runner.matrix import Party, matrix
from .runner.matrix_report import print_matrix, write_matrix
from .runner.report_json import read_results
from .runner.report_text import Reporter, print_run
from .runner.reports import write_reports
from .runner.run import greet, read_expected_failures, run
from .runner.session import Session, command_of
from .runner.suite import CASES, PROFILES, CaseFile, Index, SuiteError, chosen, load_cases

__all__ = ["main"]

F = TypeVar("F", bound=Callable[..., Any])
_Existing = click.Path(exists=True, path_type=Path)
_cases = click.option("--cases", "folder", type=_Existing, default=CASES, help="Another folder of cases.")
_COLOURS = {"#": "bold", "+": "green", "-": "red"}


class _Group(click.Group):
    """Commands whose mistakes of use end with status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except SuiteError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


def _selection(command: F) -> F:
    """The options that choose cases."""
    for option in (
        _cases,
        click.option("-k", "patterns", multiple=True, metavar="PATTERN",
                     help="Only cases whose id, area, title or requirement has this part, or fits it (* ? [)."),
        click.option("--profile", "profiles", multiple=True, type=click.Choice(PROFILES), help="Only this profile."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Conformance suite of SCF, the Sharded Checkpoint Format.

    Exit status: 0 all is well, 1 something does not conform, 2 a mistake in the call, or the implementation can't be
    started.
    """


@main.command("run")
@click.option("--impl", "command", required=True, metavar="CMD", help="The implementation, as a command line.")
@_selection
@click.option("--jobs", type=click.IntRange(min=1), help="Processes of the implementation at a time; one per core.")
@click.option("--quick", is_flag=True, help="Transactions: at most 6 places per fault.")
@click.option("--expected-failures", "expected", type=_Existing, metavar="FILE", help="JSON: id to reason; strict.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write results.json, junit.xml, matrix.html and badge.svg there.")  # fmt: skip
@click.pass_context
def run_command(
    ctx: click.Context,
    command: str,
    folder: Path,
    patterns: Sequence[str],
    profiles: Sequence[str],
    jobs: int | None,
    quick: bool,
    expected: Path | None,
    out: Path | None,
) -> None:
    """Run the cases on an implementation, in the profiles that it claims."""
    cases, index = load_cases(folder), Index.load(folder)
    selected = _selected(cases, patterns, profiles)
    failures = read_expected_failures(expected, list(cases))
    words = command_of(command)
    hello = greet(words)
    for profile in profiles:
        if profile not in hello.profiles:
            raise SuiteError(f"{hello.name} does not claim the profile {profile}")
    plan = Plan(words, tuple(selected), cases, index, hello, failures, quick)
    console = _console()
    with Reporter(console, len(selected)) as reporter:
        done = run(plan, jobs or os.cpu_count() or 1, reporter)
    print_run(console, done)
    if out is not None:
        write_reports(done, out)
    if all(result.outcome == "skip" for result in done.results):
        raise SuiteError(f"nothing was tested: {done.results[0].reason}")
    ctx.exit(0 if done.ok else 1)


@main.command("list")
@_selection
def list_command(folder: Path, patterns: Sequence[str], profiles: Sequence[str]) -> None:
    """List the cases."""
    table = Table("case", "profile", "kind", "title", box=None, header_style="bold", pad_edge=False)
    for case in _selected(load_cases(folder), patterns, profiles):
        table.add_row(case.id, case.profile, case.record["kind"], case.title)
    _console().print(table)


@main.command("explain")
@click.argument("case")
@_cases
def explain_command(case: str, folder: Path) -> None:
    """Show a case: requirements, fault, steps, and its difference to the valid sibling."""
    cases = load_cases(folder)
    if case not in cases:
        near = [each for each in cases if case in each][:5]
        raise SuiteError(f"no case has the id {case}" + (f"; there are {', '.join(near)}" if near else ""))
    for line in explain(cases[case], Index.load(folder), cases):
        click.secho(line, fg=None if line[:1] == "#" else _COLOURS.get(line[:1]), bold=line[:1] == "#")


@main.command("coverage")
@click.option("--results", "files", multiple=True, type=_Existing, metavar="FILE", help="results.json of a run.")
@_cases
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def coverage_command(ctx: click.Context, files: Sequence[Path], folder: Path, as_json: bool) -> None:
    """Show which cases test each requirement, and how they came out; status 1 if one that can be tested is not."""
    runs = [read_results(path) for path in files]
    found = coverage(Index.load(folder), load_cases(folder).values(), runs)
    if as_json:
        click.echo(json.dumps(coverage_record(found), ensure_ascii=False, indent=1))
    else:
        print_coverage(_console(), found, [each["implementation"]["name"] for each in runs])
    ctx.exit(1 if any(each.missing for each in found) else 0)


@main.command("matrix")
@click.option("--impl", "commands", required=True, multiple=True, metavar="CMD", help="An implementation; repeat it.")
@_selection
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write interchange.json and interchange.html there.")  # fmt: skip
@click.pass_context
def matrix_command(
    ctx: click.Context,
    commands: Sequence[str],
    folder: Path,
    patterns: Sequence[str],
    profiles: Sequence[str],
    out: Path | None,
) -> None:
    """Let every writer write the cases of write and sharded-write, and every reader read what it wrote."""
    cases = _selected(load_cases(folder), patterns, profiles)
    with ExitStack() as stack:
        parties: list[Party] = []
        for command in commands:
            session = Session(command_of(command))
            stack.callback(session.close)
            try:
                hello = session.hello()
            except (Broken, CannotStart) as error:
                raise SuiteError(f"the implementation can't be started: {error}") from error
            label = f"{hello.name} {hello.version}"
            same = sum(each.label.partition(" #")[0] == label for each in parties)
            parties.append(Party(f"{label} #{same + 1}" if same else label, session, hello))
        if not any(party.writes for party in parties):
            raise SuiteError("none of the implementations claims to write")
        cells = matrix(parties, cases, Index.load(folder))
    print_matrix(_console(), cells)
    if out is not None:
        write_matrix(cells, out)
    ctx.exit(1 if any(cell.failures for cell in cells) else 0)


@main.command("all")
@click.option("--list", "path", type=_Existing, default=Path("implementations/all.json"), show_default=True,
              help="The implementations.")
@click.option("--node", envvar="NODE", help="Node.js, for implementations in JavaScript.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes at a time; one per core.")
@click.option("--thorough", is_flag=True, help="Transactions: every place of every fault.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write reports there.")
@click.pass_context
def all_command(
    ctx: click.Context, path: Path, node: str | None, jobs: int | None, thorough: bool, out: Path | None
) -> None:  # fmt: skip
    """Check the cases, run every implementation of a list, and every mutant, from a checkout."""
    console = _console()
    begin = time.monotonic()
    jobs = jobs or os.cpu_count() or 1
    members = read_members(path, node)
    console.rule("cases")
    done = [("cases", generate_check())]
    cases, index = load_cases(), Index.load()
    for member in members:
        # One more than there are cores: there is often one that waits for a time limit.
        outcome = run_member(member, cases, index, console, jobs=jobs + 1, quick=not thorough, out=out)
        done.append((member.name, outcome.ok))
    done.append(("mutants", not mutants_survive(console, jobs)))
    console.rule()
    console.print(f"{summary(done)}; {time.monotonic() - begin:.0f} s")
    ctx.exit(0 if all(ok for _, ok in done) else 1)


@main.command("generate")
@click.option("--check", is_flag=True, help="Compare with what is there, and check every case; write nothing.")
@click.pass_context
def generate_command(ctx: click.Context, check: bool) -> None:
    """Make all cases anew, from a checkout."""
    if check:
        ctx.exit(0 if generate_check() else 1)
    from .generate import write as generator

    try:
        click.echo(f"{generator.write()} cases written to {generator.CASES}")
    except FileNotFoundError as error:
        raise SuiteError(f"cases are made in a checkout, beside the specification: {error}") from error


def generate_check() -> bool:
    """Whether the cases are as the generator makes them, and each is well made; says what is not."""
    from .generate import write as generator

    try:
        found = generator.check()
    except FileNotFoundError as error:
        raise SuiteError(f"cases are made in a checkout, beside the specification: {error}") from error
    try:
        found += suite_findings(load_cases(), Index.load())
    except SuiteError as error:
        found.append(str(error))
    for text in found:
        click.echo(text)
    click.echo(f"{len(found)} differences and mistakes" if found else f"{generator.CASES}: as generated")
    return not found


def _selected(cases: dict[str, CaseFile], patterns: Sequence[str], profiles: Sequence[str]) -> list[CaseFile]:
    found = chosen(cases.values(), patterns, profiles)
    if not found:
        raise SuiteError("no case is chosen by that")
    return found


def _console() -> Console:
    """A console that breaks no lines where the output goes to a file."""
    return Console() if sys.stdout.isatty() else Console(width=240)
