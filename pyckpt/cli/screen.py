"""Where output goes: text for people or one JSON object on standard output, errors and progress on standard error."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TextIO

from pyckpt.cli.text import clean, clip
from pyckpt.errors import PyckptError

if TYPE_CHECKING:
    from rich.console import Console

    from pyckpt.engine.options import Progress

__all__ = ["Cell", "Screen", "error_as_json", "error_block", "print_json", "progress_bar", "working"]

Cell = str | tuple[str, str]
"""Text, or text and the style that it is printed in."""

_PIPE_WIDTH: Final = 4096
_MAX_FINDINGS: Final = 50
_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
"""Words of styles and the terminal's codes for them."""


class Screen:
    """Standard output for people: as wide as the terminal, or as it takes where it is no terminal."""

    def __init__(self) -> None:
        self.width = _width(sys.stdout) or _PIPE_WIDTH
        """Columns."""
        self.draws_lines = (sys.stdout.encoding or "").lower().startswith("utf")
        """Whether box-drawing characters can be printed."""
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line(self, *cells: Cell) -> None:
        """Prints the cells one after the other as one line, however long."""
        _write("".join([self._rendered(cell) for cell in cells]) + "\n")

    def _rendered(self, cell: Cell) -> str:
        if isinstance(cell, str):
            return clean(cell)
        text, style = clean(cell[0]), cell[1]
        if not (self._colours and style and text):
            return text
        return f"\x1b[{';'.join([_CODES[word] for word in style.split()])}m{text}\x1b[0m"

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[str] = ()) -> None:
        """Prints rows in aligned columns; the columns named in ``right`` are aligned to the right."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headers), header_style="bold")
        for header in headers:
            if header in right:
                table.add_column(header, justify="right", no_wrap=True)
            else:
                table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*[Text.assemble(_safe(cell)) for cell in row])
        console = _console(sys.stdout)
        with console.capture() as captured:
            console.print(table)
        _write("".join([f"{each.rstrip()}\n" for each in captured.get().splitlines()]))

    def pairs(self, rows: Sequence[tuple[str, Cell]], *, indent: int = 0) -> None:
        """Prints names and values, the values aligned."""
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self.line(" " * indent, (f"{name:<{width}}", "dim"), "  ", value)


def _width(stream: TextIO) -> int | None:
    """Columns of a terminal, or what the environment says; None where there is no limit."""
    if not stream.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return max(20, shutil.get_terminal_size().columns)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(
        file=stream,
        width=_width(stream) or _PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _safe(cell: Cell) -> Cell:
    return clean(cell) if isinstance(cell, str) else (clean(cell[0]), cell[1])


def _write(text: str) -> None:
    sys.stdout.write(text)


def print_json(value: object) -> None:
    """Prints one JSON object on one line, in ASCII."""
    _write(json.dumps(value, allow_nan=False) + "\n")


def error_as_json(error: PyckptError) -> dict[str, Any]:
    """What ``--json`` prints in the place of a result."""
    findings = [{"code": each.code, "key": each.key, "message": each.message} for each in error.findings]
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "key": error.key,
            "hint": error.hint,
            "findings": findings,
        }
    }


def error_block(error: PyckptError) -> str:
    """An error for people: its code and key, what is wrong, every finding, and what to do."""
    lines = [f"pyckpt: {error.code}{f': {clean(error.key)}' if error.key else ''}", f"  {clean(error.message)}"]
    lines += [f"  - {clip(clean(str(finding)), 1000)}" for finding in error.findings[:_MAX_FINDINGS]]
    if len(error.findings) > _MAX_FINDINGS:
        lines.append(f"  … {len(error.findings) - _MAX_FINDINGS:,} more (--json lists all)")
    if error.hint:
        lines.append(f"  hint: {clean(error.hint)}")
    return "\n".join(lines)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """A bar on standard error that counts bytes; nothing at all where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(sys.stderr), transient=True) as bar:
        task = bar.add_task(clean(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A sign of life on standard error for a command that can't tell how far it is; nothing if it is no terminal."""
    with _console(sys.stderr).status(clean(what)) if sys.stderr.isatty() else nullcontext():
        yield
