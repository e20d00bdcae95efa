"""``pyckpt diff``: what differs between two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pyckpt.cli.arguments import all_option, json_option, locate
from pyckpt.cli.folding import fold_names
from pyckpt.cli.screen import Screen, print_json, working
from pyckpt.cli.text import TIMES, clean, clip, count
from pyckpt.engine.diff import Difference, DiffReport, diff
from pyckpt.engine.open import open_root

__all__ = ["command"]

_MOST = 60

EPILOG = """\b
Examples:
  pyckpt diff runs/a/step_1000 runs/a/step_1100
  pyckpt diff runs/a/step_1000 s3://bucket/copy/step_1000 --values

Compares items, names, shapes, dtypes, scalars, and the digests of tensors. Tensors that are cut in another
way have other digests and are listed as "unknown" unless --values reads and compares them. Exit status 1 if
anything differs. With --json: a, b, equal, tensors, by_digest and differences (item, path, change, a, b)."""


@click.command("diff", epilog=EPILOG, short_help="Show what differs between two checkpoints.")
@click.argument("a")
@click.argument("b")
@click.option("--values", is_flag=True, help="Read tensors whose digests can't be compared.")
@all_option
@json_option
def command(a: str, b: str, *, values: bool, everything: bool, as_json: bool) -> int:
    """Show what differs between the checkpoints A and B."""
    one, two = open_root(*locate(a)), open_root(*locate(b))
    with working("comparing"):
        report = diff(one, two, values=values)
    if as_json:
        listed = [
            {"item": each.item, "path": each.path, "change": each.change, "a": each.a, "b": each.b}
            for each in report.differences
        ]
        print_json(
            {
                "a": one.url,
                "b": two.url,
                "equal": report.equal,
                "tensors": report.tensors,
                "by_digest": report.by_digest,
                "differences": listed,
            }
        )
    else:
        _print(report, same_root=one.root.digest == two.root.digest, everything=everything)
    return 0 if report.equal else 1


def _print(report: DiffReport, *, same_root: bool, everything: bool) -> None:
    screen = Screen()
    compared = f"{count(report.tensors, 'tensor')} compared, {report.by_digest:,} by digest alone"
    if report.equal:
        screen.line(("equal", "bold green"), f"{', to the root' if same_root else ''}: {compared}")
        return
    lines = _lines(report.differences, folded=not everything)
    shown = lines if everything else lines[:_MOST]
    item = None
    for name, change, path, times, what in shown:
        if name != item:
            screen.line((name, "bold"))
            item = name
        many = f"  {TIMES}{times:,}" if times > 1 else ""
        first, *more = _fitting(what, screen.width - 13, len(path) + len(many))
        screen.line(f"  {change:<9}  ", path, (many, "dim"), "  " if first else "", (first, "dim"))
        for each in more:
            screen.line(" " * 13, (each, "dim"))
    if len(lines) > len(shown):
        screen.line(f"  … {len(lines) - len(shown):,} more (--all lists them)")
    screen.line()
    unknown = sum(each.change == "unknown" for each in report.differences)
    differ = len(report.differences) - unknown
    words = [count(differ, "difference")] if differ or not unknown else []
    if unknown:
        words.append(f"{unknown:,} unknown (--values reads them)")
    screen.line((", ".join(words), "bold red" if differ else "bold yellow"), f"; {compared}")


_What = tuple[str, ...]
"""What A and B have, or what the only one has, or nothing."""
_Line = tuple[str, str, str, int, _What]


def _fitting(what: _What, width: int, taken: int) -> list[str]:
    """What goes on the line of which so much is taken, and what on lines of its own."""
    text = " -> ".join(what)
    if taken + 2 + len(text) <= width:
        return [text]
    return ["", *([text] if len(text) <= width else [clip(each, width) for each in what])]


def _lines(differences: Sequence[Difference], *, folded: bool) -> list[_Line]:
    """Item, change, path or pattern of paths, how many, and what A and B have."""
    groups: dict[tuple[str, str, _What], list[str]] = {}
    for each in differences:
        groups.setdefault((each.item, each.change, _what(each)), []).append(clean(each.path) or "(the item)")
    lines: list[_Line] = []
    for (item, change, what), paths in groups.items():
        names = fold_names(paths) if folded else [(path, 1) for path in paths]
        lines += [(item, change, path, times, what) for path, times in names]
    order = {item: at for at, item in enumerate(dict.fromkeys(each.item for each in differences))}
    return sorted(lines, key=lambda line: order[line[0]])


def _what(difference: Difference) -> _What:
    a, b = clean(difference.a), clean(difference.b)
    if difference.change in ("bytes", "unknown") or not difference.path:
        return (a, b) if difference.change == "kind" else ()
    if difference.change == "only in A":
        return (a,)
    if difference.change == "only in B":
        return (b,)
    return (a, b)
