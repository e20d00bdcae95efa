"""Reads the registries of the specification: every Markdown table of ``registries/*.md`` as rows of named cells.

The first column of a table is its key. A cell that has nothing to say holds a dash, so that an empty cell is always a
mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Row", "Table", "load_registries", "load_registry", "parse_tables", "registry_problems"]

_SEPARATOR = re.compile(r"^\|(\s*:?-+:?\s*\|)+$")
_UNESCAPED_BAR = re.compile(r"(?<!\\)\|")

Row = Mapping[str, str]
"""Column name (lower case) -> cell, code ticks taken off where they enclose the whole cell."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a Markdown page."""

    heading: str
    """Text of the heading that it stands under."""
    line: int
    """Line of its header row, from 1."""
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """Line number and cells of each row; a malformed row has more or fewer cells than there are columns."""

    def as_dict(self) -> dict[str, Row]:
        """Key -> row, for a table without problems."""
        return {cells[0]: dict(zip(self.columns, cells, strict=True)) for _, cells in self.rows}


def _cells(line: str) -> tuple[str, ...]:
    return tuple(_plain(cell) for cell in _UNESCAPED_BAR.split(line.strip())[1:-1])


def _plain(cell: str) -> str:
    text = cell.strip().replace("\\|", "|")
    inner = text[1:-1]
    return inner if len(text) > 1 and text[0] == text[-1] == "`" and "`" not in inner else text


def parse_tables(text: str) -> tuple[Table, ...]:
    """All tables of a page, in order; tables in fenced code are text."""
    lines = text.split("\n")
    tables: list[Table] = []
    heading, fenced, at = "", False, 0
    while at < len(lines):
        line = lines[at].strip()
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and line.startswith("#"):
            heading = line.lstrip("#").strip()
        elif not fenced and line.startswith("|") and at + 1 < len(lines) and _SEPARATOR.match(lines[at + 1].strip()):
            start, rows = at, []
            at += 2
            while at < len(lines) and lines[at].strip().startswith("|"):
                rows.append((at + 1, _cells(lines[at])))
                at += 1
            columns = tuple(name.lower() for name in _cells(lines[start]))
            tables.append(Table(heading, start + 1, columns, tuple(rows)))
            continue
        at += 1
    return tuple(tables)


def registry_problems(text: str) -> list[tuple[int, str]]:
    """Line and description of everything that is incomplete: no table, empty or missing cells, keys given twice."""
    tables = parse_tables(text)
    problems = [] if tables else [(1, "a registry has no table")]
    for table in tables:
        seen: set[str] = set()
        if not all(table.columns) or len(set(table.columns)) != len(table.columns):
            problems.append((table.line, "column names are empty or repeated"))
        if not table.rows:
            problems.append((table.line, "a table of a registry has no row"))
        for line, cells in table.rows:
            if len(cells) != len(table.columns):
                problems.append((line, f"{len(cells)} cells where the table has {len(table.columns)} columns"))
            problems += [
                (line, f"empty cell in column {name!r}")
                for name, cell in zip(table.columns, cells, strict=False)
                if not cell
            ]
            if cells and cells[0] in seen:
                problems.append((line, f"the key {cells[0]!r} is given twice"))
            seen.update(cells[:1])
    return problems


def load_registry(path: Path) -> dict[str, Row]:
    """Key -> row over all tables of one registry. Raises ``ValueError`` that lists every problem."""
    text = path.read_text(encoding="utf-8")
    problems = [f"{path.name}:{line}: {message}" for line, message in registry_problems(text)]
    rows: dict[str, Row] = {}
    for table in parse_tables(text) if not problems else ():
        problems += [f"{path.name}:{table.line}: {key!r} is in two tables" for key in table.as_dict().keys() & rows]
        rows.update(table.as_dict())
    if problems:
        raise ValueError("\n".join(problems))
    return rows


def load_registries(folder: Path) -> dict[str, dict[str, Row]]:
    """Name of the registry (its file without ``.md``) -> key -> row."""
    return {path.stem: load_registry(path) for path in sorted(folder.glob("*.md")) if path.stem != "README"}
