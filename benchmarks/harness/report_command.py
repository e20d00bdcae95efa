"""``python -m benchmarks report``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.bars import judge, show
from benchmarks.harness.report import markdown
from benchmarks.harness.results import Run, read

__all__ = ["report"]

HOME = Path(__file__).resolve().parents[1]
INTRODUCTION = """# Results

Made by one command from what `python -m benchmarks run` stored; see [README.md](README.md) for what the columns mean.
Ratios are medians over pairs of one round each, with the smallest and largest; seconds are medians.
"""


def report(argv: Sequence[str]) -> int:
    """Prints runs as Markdown; with --plots draws them, with --bars judges them, with --results writes RESULTS.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description=report.__doc__)
    parser.add_argument("files", nargs="+", help="of python -m benchmarks run --json")
    parser.add_argument("--bars", action="store_true", help="print what is asked of the engine and what was found")
    parser.add_argument("--plots", metavar="DIR", help="write PNG and SVG there")
    parser.add_argument("--results", action="store_true", help=f"write {HOME.name}/RESULTS.md and its plots")
    arguments = parser.parse_args(argv)
    try:
        runs = [read(path) for path in arguments.files]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"cannot read the result: {error}", file=sys.stderr)
        return 1
    if arguments.bars:
        print(show(judge(runs)))
        return 0
    if arguments.results:
        (HOME / "RESULTS.md").write_text(_document(runs, HOME / "plots"))
        print(HOME / "RESULTS.md")
        return 0
    if arguments.plots:
        for path in _draw(runs, arguments.plots):
            print(f"{path}.png {path}.svg")
        return 0
    print(markdown(runs))
    return 0


def _document(runs: Sequence[Run], plots: Path) -> str:
    drawn = _draw(runs, str(plots))
    images = "\n".join(f"![{os.path.basename(path)}](plots/{os.path.basename(path)}.svg)" for path in drawn)
    judged = f"## What is asked of the engine\n\n{show(judge(runs))}\n"
    return f"{INTRODUCTION}\n{judged}\n## Plots\n\n{images}\n\n{markdown(runs)}"


def _draw(runs: Sequence[Run], directory: str) -> list[str]:
    try:
        from benchmarks.harness.plots import draw

        return draw(runs, directory)
    except ImportError as error:
        raise SystemExit(f"plots need matplotlib: pip install '.[bench]' ({error})") from error
