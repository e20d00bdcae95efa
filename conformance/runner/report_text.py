"""A run on a terminal, or as lines of a log."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .outcome import OUTCOMES, Outcome, Result
from .run import Run
from .suite import PROFILES

__all__ = ["STYLES", "Reporter", "print_run"]

STYLES: dict[Outcome, str] = {
    "pass": "green", "fail": "bold red", "crash": "bold red", "timeout": "bold red", "xpass": "red",
    "warn": "yellow", "remark": "cyan", "xfail": "magenta", "skip": "dim",
}  # fmt: skip
_DETAILS = 12
_SILENT = frozenset({"pass", "skip"})


class Reporter:
    """Shows results as they come: a bar on a terminal, and what did not pass as lines in any case."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("cases", total=total)
        self._failed = 0

    def __enter__(self) -> Reporter:  # noqa: PYI034  typing.Self needs Python 3.11
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, result: Result) -> None:
        """Show one result."""
        self._failed += result.failed
        description = f"[red]{self._failed} failed[/]" if self._failed else "cases"
        self._progress.update(self._task, advance=1, description=description)
        if result.outcome not in _SILENT:
            style = STYLES[result.outcome]
            self._console.print(
                f"[{style}]{result.outcome:<7}[/] {result.case.id}  {escape(result.reason)}",
                soft_wrap=True,
                highlight=False,
            )


def print_run(console: Console, run: Run) -> None:
    """The failures with all that is known, then the numbers."""
    for result in run.results:
        if result.failed:
            _print_failure(console, result)
    console.print(_table(run))
    for problem in run.problems:
        console.print(f"[bold red]problem[/] {escape(problem)}", soft_wrap=True, highlight=False)
    hello = run.plan.hello
    verdict = "[green]conforms in what it claims[/]" if run.ok else "[bold red]does not conform[/]"
    console.print(f"{escape(hello.name)} {escape(hello.version)} {verdict}; {run.seconds:.1f} s", highlight=False)


def _print_failure(console: Console, result: Result) -> None:
    case, verdict = result.case, result.verdict
    console.rule(f"[bold]{case.id}[/]", align="left", style="dim")
    lines = [case.title, f"{result.outcome} of {', '.join(case.requirements)}", verdict.reason]
    if verdict.step is not None:
        lines.append(f"in step {verdict.step} of {len(case.steps)}")
    lines += [f"  {detail}" for detail in verdict.details[:_DETAILS]]
    if len(verdict.details) > _DETAILS:
        lines.append(f"  and {len(verdict.details) - _DETAILS} more")
    if verdict.stderr.strip():
        lines += ["standard error:", *(f"  {line}" for line in verdict.stderr.strip().splitlines()[-_DETAILS:])]
    console.print("\n".join(escape(line) for line in lines), soft_wrap=True, highlight=False)


def _table(run: Run) -> Table:
    shown = [outcome for outcome in OUTCOMES if run.counts()[outcome]]
    table = Table("profile", "cases", *shown, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for profile in (*(each for each in PROFILES if run.counts(each)), None):
        counts = run.counts(profile)
        cells = [f"[{STYLES[each]}]{counts[each]}[/]" if counts[each] else "" for each in shown]
        table.add_row(profile or "[bold]all[/]", str(counts.total()), *cells)
    return table
