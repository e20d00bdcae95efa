"""The coverage on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .coverage import REASONS, Covered

__all__ = ["print_coverage"]

_SHOWN = 3
_STYLE = {"pass": "green", "fail": "bold red", "open": "yellow", "-": "dim"}


def print_coverage(console: Console, found: Sequence[Covered], runs: Sequence[str]) -> None:
    """Requirements that cases test, with their cases and results; then the others, with the reason."""
    table = Table("requirement", *runs, "cases", "", box=None, header_style="bold", pad_edge=False)
    for each in found:
        if each.by_case or each.cases:
            table.add_row(*_row(each))
    console.print(table)
    for verify, reason in REASONS.items():
        others = [each.requirement for each in found if each.requirement.verify == verify]
        console.print(f"\n[bold]{len(others)} requirements: {reason}[/]", highlight=False)
        for requirement in others:
            console.print(f"  {requirement.id}  {requirement.text.replace('**', '')}", markup=False, soft_wrap=True)
    tested = [each for each in found if each.by_case]
    covered = sum(not each.missing for each in tested)
    style = "green" if covered == len(tested) else "bold red"
    console.print(
        f"\n[{style}]{covered} of {len(tested)} requirements that cases can test are tested[/]", highlight=False
    )


def _row(each: Covered) -> list[str]:
    names = [case.id for case in each.cases[:_SHOWN]]
    more = len(each.cases) - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more > 0 else "")
    note = " ".join(text for text in (listed, f"[bold red]{each.missing}[/]" if each.missing else "") if text)
    results = [f"[{_STYLE[verdict]}]{verdict}[/]" for verdict in each.verdicts]
    return [each.requirement.id, *results, str(len(each.cases)), note]
