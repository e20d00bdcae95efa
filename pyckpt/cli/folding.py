"""Names that differ only in numbers, written as one: ``layers.{0..31}.attn.{k,q}`` where there are 64 of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

__all__ = ["NUMBERED", "fold_names", "names_text", "ranges_text"]

NUMBERED: Final = re.compile(r"([^0-9]*)(0|[1-9][0-9]{0,8})((?:[^0-9].*)?)", re.DOTALL)
"""Text before the first number of a name, that number, and the rest; not for zero-padded or huge ones."""

_NUMBER: Final = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]{0,8})(?![0-9])")
_MAX_RANGES: Final = 6
_MAX_NAMES: Final = 6
_MAX_NUMBERS: Final = 8
"""Names with more numbers than this stay as they are."""


def ranges_text(numbers: Iterable[int]) -> str:
    """Numbers in the notation of shells: ``{0..31}``, ``{1,4,8}``, ``{0..30..2}``; a single one without braces."""
    pending = sorted(set(numbers))
    if len(pending) == 1:
        return str(pending[0])
    parts: list[str] = []
    while pending:
        step, length = _run(pending)
        if length >= 3:
            suffix = "" if step == 1 else f"..{step}"
            parts.append(f"{pending[0]}..{pending[length - 1]}{suffix}")
        else:
            length = 1
            parts.append(str(pending[0]))
        pending = pending[length:]
    if len(parts) > _MAX_RANGES:
        parts = [*parts[: _MAX_RANGES - 1], "…", parts[-1]]
    return f"{{{','.join(parts)}}}"


def _run(numbers: Sequence[int]) -> tuple[int, int]:
    """Step and length of the longest even run at the beginning of ascending numbers."""
    if len(numbers) < 2:
        return 1, len(numbers)
    step = numbers[1] - numbers[0]
    length = 2
    while length < len(numbers) and numbers[length] - numbers[length - 1] == step:
        length += 1
    return step, length


def names_text(names: Sequence[str]) -> str:
    """Distinct names as one, ``{q,k,v}_proj.weight``: what they share up to a dot or underscore stands outside."""
    before = _shared(names)
    behind = _shared([name[len(before) :][::-1] for name in names])[::-1]
    middles = [name[len(before) : len(name) - len(behind)] for name in names]
    if len(middles) > _MAX_NAMES:
        middles = [*middles[: _MAX_NAMES - 1], "…", middles[-1]]
    return f"{before}{{{','.join(middles)}}}{behind}"


def _shared(names: Sequence[str]) -> str:
    """What all names begin with, up to a dot or underscore, and not a whole name."""
    low, high = min(name[:-1] for name in names), max(name[:-1] for name in names)
    begin = low[: next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]
    return begin[: max(begin.rfind("."), begin.rfind("_")) + 1]


def fold_names(names: Sequence[str]) -> list[tuple[str, int]]:
    """Distinct names as patterns with the number of names that each stands for, in order of first appearance.

    A pattern stands for every combination of its ranges, no more and no less; names that leave gaps stay single.
    """
    groups: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for name in names:
        texts, numbers = tuple(_NUMBER.split(name)), tuple(map(int, _NUMBER.findall(name)))
        if len(numbers) > _MAX_NUMBERS:
            texts, numbers = (name,), ()
        groups.setdefault(texts, []).append(numbers)
    folded: list[tuple[str, int]] = []
    for texts, rows in groups.items():
        for axes, size in _grids(rows):
            label = "".join([text + axis for text, axis in zip(texts, (*map(ranges_text, axes), ""), strict=True)])
            folded.append((label, size))
    return folded


def _grids(rows: list[tuple[int, ...]]) -> list[tuple[list[set[int]], int]]:
    """Rows of numbers as full grids: one if they are, else one grid per value of the first column that varies."""
    axes = [set(column) for column in zip(*rows, strict=True)]
    if prod(map(len, axes)) == len(set(rows)):
        return [(axes, len(rows))]
    varying = next(at for at, axis in enumerate(axes) if len(axis) > 1)
    parts: dict[int, list[tuple[int, ...]]] = {}
    for row in rows:
        parts.setdefault(row[varying], []).append(row)
    return [grid for part in parts.values() for grid in _grids(part)]
