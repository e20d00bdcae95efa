"""The matrix of writers and readers as a table and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from .matrix import Cell
from .page import page

__all__ = ["print_matrix", "write_matrix"]


def print_matrix(console: Console, cells: Sequence[Cell]) -> None:
    """One row per writer, one column per reader; then what was wrong."""
    readers = list(dict.fromkeys(cell.reader for cell in cells))
    table = Table("writer \\ reader", *readers, box=None, header_style="bold", pad_edge=False)
    for writer in dict.fromkeys(cell.writer for cell in cells):
        row = [cell for cell in cells if cell.writer == writer]
        table.add_row(writer, *(f"[{'red' if cell.failures else 'green'}]{_numbers(cell)}[/]" for cell in row))
    console.print(table)
    for cell in cells:
        for case, text in cell.failures:
            line = f"{cell.writer} -> {cell.reader}  {case}  {text}"
            console.print(plain(line), soft_wrap=True, highlight=False)


def write_matrix(cells: Sequence[Cell], folder: Path) -> None:
    """Write interchange.json and interchange.html."""
    folder.mkdir(parents=True, exist_ok=True)
    record = [
        {
            "writer": cell.writer,
            "reader": cell.reader,
            "same": cell.same,
            "skipped": cell.skipped,
            "failures": [{"case": case, "reason": text} for case, text in cell.failures],
        }
        for cell in cells
    ]
    text = json.dumps({"form": "scf-conformance-interchange/1", "cells": record}, ensure_ascii=False, indent=1) + "\n"
    (folder / "interchange.json").write_text(text, encoding="utf-8")
    (folder / "interchange.html").write_text(_page(cells), encoding="utf-8")


def _numbers(cell: Cell) -> str:
    skipped = f", {len(cell.skipped)} not offered" if cell.skipped else ""
    return f"{cell.same}/{cell.same + len(cell.failures)}{skipped}"


def _page(cells: Sequence[Cell]) -> str:
    title = "SCF: every writer, every reader"
    readers = list(dict.fromkeys(cell.reader for cell in cells))
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in ("writer \\ reader", *readers))
    rows = []
    for writer in dict.fromkeys(cell.writer for cell in cells):
        row = [cell for cell in cells if cell.writer == writer]
        found = "".join(f'<td class="{"fail" if each.failures else "pass"}">{_numbers(each)}</td>' for each in row)
        rows.append(f'<tr><th scope="row">{escape(writer)}</th>{found}</tr>')
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    parts = [
        f"<h1>{title}</h1>",
        "<p>How many of the checkpoints that the one wrote the other gave back bit for bit.</p>",
        f'<div class="wide" role="region" aria-label="Matrix" tabindex="0">{table}</div>',
        *(_failures(cell) for cell in cells if cell.failures),
    ]
    return page(title, "\n".join(parts))


def _failures(cell: Cell) -> str:
    lines = "\n".join(f"{case}: {text}" for case, text in cell.failures)
    title = f"{cell.writer} → {cell.reader}: {len(cell.failures)} not read back"
    return f'<details class="area"><summary>{escape(title)}</summary><pre>{escape(lines)}</pre></details>'
