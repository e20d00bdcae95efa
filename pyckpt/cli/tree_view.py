"""Draws twigs as lines: names on the left, dtype and shape or value in the middle, sizes on the right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyckpt.cli.screen import Cell
from pyckpt.cli.text import TIMES, clip, count, size_text
from pyckpt.cli.twigs import Twig

__all__ = ["ASCII_GUIDES", "TreeStyle", "draw"]

_SIZE_WIDTH = 10
_MIN_DETAIL = 16
_MAX_DETAIL = 80
ASCII_GUIDES = ("|- ", "`- ", "|  ", "   ")
"""Guides for output that can't show box-drawing characters."""


@dataclass(frozen=True, slots=True)
class TreeStyle:
    """How much of a tree is drawn, and with what."""

    width: int = 80
    depth: int | None = None
    """Levels that are drawn; None: all."""
    most: int | None = 40
    """Children of one twig that are drawn; None: all."""
    guides: tuple[str, str, str, str] = ("├─ ", "└─ ", "│  ", "   ")
    """Before a child, the last child, and below each of them."""


@dataclass(frozen=True, slots=True)
class _Row:
    lead: str
    """What continues the lines of the tree."""
    label: str
    type: str
    text: str
    size: str
    below: str
    """What a second line begins with."""


def draw(twig: Twig, style: TreeStyle) -> Iterator[list[Cell]]:
    """The lines below a twig, each as cells with styles; the twig itself is left to the caller."""
    rows = list(_rows(twig, "", style, 1))
    types = max((len(row.type) for row in rows if row.text), default=0)
    sizes = _SIZE_WIDTH if any(row.size for row in rows) else 0
    # values have the rest of the line to themselves; only what stands before a size must be narrow
    details = max((types + 1 + len(row.text) for row in rows if row.size and row.text), default=0)
    details = max(_MIN_DETAIL, min(details, _MAX_DETAIL, style.width // 2 - 4))
    longest = max((len(row.lead) + len(row.label) for row in rows if row.text or row.type), default=0)
    labels = max(12, min(longest, style.width - details - sizes - 4))
    for row in rows:
        yield from _lines(row, labels, details, types, sizes, style.width)


def _rows(twig: Twig, indent: str, style: TreeStyle, level: int) -> Iterator[_Row]:
    children = twig.children
    hidden = 0 if style.most is None else max(0, len(children) - style.most)
    shown = children[: len(children) - hidden]
    for at, child in enumerate(shown):
        last = at == len(shown) - 1 and not hidden
        lead, below = (indent + each for each in (style.guides[1:4:2] if last else style.guides[0:3:2]))
        cut = bool(child.children) and style.depth is not None and level >= style.depth
        yield _row(child, lead, below, cut=cut)
        if not cut:
            yield from _rows(child, below, style, level + 1)
    if hidden:
        rest = children[len(shown) :]
        nbytes = sum(child.times * child.nbytes for child in rest)
        label = f"… {sum(child.times for child in rest):,} more (--all shows them)"
        yield _Row(indent + style.guides[1], label, "", "", size_text(nbytes) if nbytes else "", indent)


def _row(twig: Twig, lead: str, below: str, *, cut: bool) -> _Row:
    if not twig.children:
        size = size_text(twig.nbytes) if twig.tensors else ""
        label = f"{twig.label}  {TIMES}{twig.times:,}" if twig.times > 1 else twig.label
        return _Row(lead, label, twig.type, twig.text, size, below)
    words = [twig.text] if twig.text else []
    if cut:
        words.append(count(twig.tensors, "tensor") if twig.tensors else f"{len(twig.children):,} inside")
    total = size_text(twig.times * twig.nbytes) if twig.nbytes else ""
    if twig.times > 1:
        words.append(f"{TIMES}{twig.times:,}" + (f" of {size_text(twig.nbytes)}" if twig.nbytes else ""))
    return _Row(lead, twig.full_label, "", ", ".join(words), total, below)


def _lines(row: _Row, labels: int, details: int, types: int, sizes: int, width: int) -> Iterator[list[Cell]]:
    taken = len(row.lead) + len(row.label)
    begin: list[Cell] = [(row.lead, "dim"), (row.label, "bold" if not row.type else "")]
    if not row.text and not row.type:
        fill = labels + 2 + details - taken
        if row.size and fill >= 0:
            begin += [" " * fill, (f"{row.size:>{sizes + 2}}", "dim")]
        elif row.size:
            begin += ["  ", (row.size, "dim")]
        yield begin
        return
    if taken > labels:
        yield begin
        begin, taken = [(row.below, "dim")], len(row.below)
    text = f"{row.type:<{types}} {row.text}" if row.type else row.text
    room = details if row.size else max(details, width - labels - 2)
    text = clip(text, max(room, width - labels - 2 - (sizes + 2 if row.size else 0)))
    begin += [" " * (labels + 2 - taken), (text, "cyan" if row.type else "dim")]
    if row.size:
        begin += [" " * max(0, details - len(text)), (f"{row.size:>{sizes + 2}}", "dim")]
    yield begin

