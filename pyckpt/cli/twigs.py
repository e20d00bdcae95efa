"""An item's tree prepared for display: names split at their dots, alike parts folded into one.

A model's tree is one flat map of dotted names, an optimizer's a map of maps. Both become twigs; siblings that differ
only in a number and look alike inside become a single twig with a range for its label, ``{0..31}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pyckpt.cli.folding import NUMBERED, names_text, ranges_text
from pyckpt.cli.text import clean, type_name, value_text
from pyckpt.engine.open import OpenItem
from pyckpt.format.names import escape_component
from pyckpt.format.tree import Flattened, Indexed, Node, TensorRef

__all__ = ["Twig", "fold", "item_twig", "values_twig"]

_MAX_DOTS: Final = 12
"""Parts that a name is split into at most; names are input and must not decide how deep a recursion goes."""
_SPLIT_LEVELS: Final = 4
"""Levels of the tree, from the top, on which names are split."""
_FEW_NUMBERED: Final = 2
"""Alike siblings from which on ``0``, ``1``, … are folded."""
_FEW_NAMED: Final = 4
"""The same for ``w1``, ``w2``, …, which are often different things."""


@dataclass(slots=True)
class Twig:
    """One line of a drawn tree, and what hangs below it."""

    label: str
    type: str
    """Dtype of a tensor, type of a value; empty for a branch."""
    text: str = ""
    """Shape of a tensor, a value, or what a branch is if that isn't plain."""
    nbytes: int = 0
    """Decoded bytes of the tensors here and below, of one where ``times`` is above 1; tied tensors count once."""
    tensors: int = 0
    times: int = 1
    """How many alike twigs this one stands for."""
    joint: str = ""
    """What stands between the label and the labels below; empty for a leaf."""
    children: list[Twig] = field(default_factory=list)
    span: tuple[float, float] | None = None
    """The lowest and highest number that a leaf stands for."""
    shape: int = -1
    """Equal for twigs that look alike inside; given by folding."""

    @property
    def full_label(self) -> str:
        """The label, with the joint if something hangs below."""
        return self.label + self.joint


def item_twig(item: OpenItem) -> Twig:
    """The tree of an item; the result has the item's name and one child per top-level name."""
    return _Planting(item).twig(item.name, item.tree, (), 0)


def values_twig(name: str, values: Mapping[str, Any]) -> Twig:
    """The same for nested values without tensors, such as metadata."""
    return _Planting(None).twig(name, values, (), 0)


class _Planting:
    def __init__(self, item: OpenItem | None) -> None:
        self.item = item
        self.first: dict[int, str] = {}
        """Tensor number -> where it was met first."""

    def twig(self, label: str, node: Node, path: tuple[str, ...], level: int) -> Twig:
        if isinstance(node, TensorRef) and self.item is not None:
            return self.tensor(self.item, label, node.index, path)
        pairs, text = _inside(node)
        if pairs is None:
            return Twig(label, type_name(node), value_text(node), span=_span(node))
        if not pairs:
            return Twig(label, "map" if isinstance(node, Mapping) else type_name(node), "empty")
        children = [(name, self.twig(name, value, (*path, name), level + 1)) for name, value in pairs]
        if level < _SPLIT_LEVELS and isinstance(node, Mapping):
            twigs = _split([(name.split(".", _MAX_DOTS), twig) for name, twig in children])
        else:
            twigs = [twig for _, twig in children]
        return _branch(label, "/", twigs, text)

    def tensor(self, item: OpenItem, label: str, number: int, path: tuple[str, ...]) -> Twig:
        dtype, shape = item.dtype(number), list(item.shape(number))
        if number in self.first:
            return Twig(label, "=", f"{clean(self.first[number])}")
        self.first[number] = "/".join(path)
        return Twig(label, clean(dtype), str(shape), item.manifest.tensors.nbytes_of(number), 1)


def _inside(node: Node) -> tuple[list[tuple[str, Node]] | None, str]:
    """Names and nodes within a container, and what the container is; None for a leaf."""
    if isinstance(node, Mapping):
        return [(clean(escape_component(key)), value) for key, value in node.items()], ""
    if isinstance(node, Indexed):
        pairs = [(f"#{index}", value) for index, value in sorted(node.values.items())]
        return pairs, f"one per {clean(node.axis)}"
    if isinstance(node, Flattened):
        return [("inner", dict(node.inner)), ("attributes", node.attributes)], "subclass"
    if isinstance(node, (list, tuple)) and any(_holds_more(value) for value in node):
        return [(f"#{position}", value) for position, value in enumerate(node)], type_name(node)
    return None, ""


def _holds_more(node: Node) -> bool:
    return isinstance(node, (TensorRef, Mapping, Indexed, Flattened, list, tuple))


def _span(node: Node) -> tuple[float, float] | None:
    if isinstance(node, bool) or not isinstance(node, int | float) or not abs(node) <= 2**53:
        return None
    return node, node


def _branch(label: str, joint: str, children: list[Twig], text: str = "") -> Twig:
    """A branch; one with a single child and nothing to say for itself becomes one twig with it."""
    if len(children) == 1 and not text and label and joint == ".":
        (child,) = children
        child.label = f"{label}.{child.label}"
        return child
    nbytes, tensors = sum(child.nbytes for child in children), sum(child.tensors for child in children)
    return Twig(label, "", text, nbytes, tensors, joint=joint, children=children)


def _split(entries: Sequence[tuple[list[str], Twig]]) -> list[Twig]:
    """Twigs by the parts of their names: those that share a first part hang below it."""
    groups: dict[tuple[str, bool], list[tuple[list[str], Twig]]] = {}
    for parts, twig in entries:
        groups.setdefault((parts[0], len(parts) > 1), []).append((parts, twig))
    twigs = []
    for (first, goes_on), group in groups.items():
        if goes_on:
            twigs.append(_branch(first, ".", _split([(parts[1:], twig) for parts, twig in group])))
        else:
            for _, twig in group:
                twig.label = first
                twigs.append(twig)
    return twigs


def fold(twig: Twig) -> Twig:
    """The same tree with alike siblings folded."""
    return _Folding().fold(twig)


class _Folding:
    """Numbers the shapes of twigs, so that two are alike if and only if they have the same number."""

    def __init__(self) -> None:
        self.shapes: dict[tuple[object, ...], int] = {}

    def fold(self, twig: Twig) -> Twig:
        if twig.children:
            twig = _joined(replace(twig, children=self.siblings([self.fold(child) for child in twig.children])))
        text = twig.text if twig.tensors or twig.children else ""
        inside = tuple([(child.label, child.times, child.shape) for child in twig.children])
        twig.shape = self.shapes.setdefault((twig.type, text, twig.joint, inside), len(self.shapes))
        return twig

    def siblings(self, twigs: Sequence[Twig]) -> list[Twig]:
        groups: dict[tuple[str, int, str], list[tuple[int, Twig]]] = {}
        placed: dict[int, Twig] = {}
        for at, twig in enumerate(twigs):
            mark = "#" if twig.label.startswith("#") else ""
            match = NUMBERED.fullmatch(twig.label.removeprefix("#"))
            if match is None:
                placed[at] = twig
            else:
                groups.setdefault((mark + match[1], twig.shape, match[3]), []).append((at, twig))
        for (before, _, behind), members in groups.items():
            if len(members) < (_FEW_NAMED if before.strip("#") else _FEW_NUMBERED):
                placed |= dict(members)
                continue
            merged = _merge([twig for _, twig in members])
            merged.label = f"{before}{ranges_text([_number_in(twig.label) for _, twig in members])}{behind}"
            merged.times = sum(twig.times for _, twig in members)
            placed[members[0][0]] = merged
        return self.records([placed[at] for at in sorted(placed)])

    def records(self, twigs: Sequence[Twig]) -> list[Twig]:
        """Twigs with alike records, such as an optimizer's state of ``q_proj.weight`` and ``k_proj.weight``, folded."""
        groups: dict[int, list[Twig]] = {}
        for twig in twigs:
            if twig.joint == "/" and twig.times == 1 and not any(child.children for child in twig.children):
                groups.setdefault(twig.shape, []).append(twig)
        folded: dict[int, Twig | None] = {}
        for members in groups.values():
            if len(members) > 1:
                merged = _merge(members)
                merged.label, merged.times = names_text([twig.label for twig in members]), len(members)
                folded |= {id(twig): None for twig in members}
                folded[id(members[0])] = merged
        shown = [folded.get(id(twig), twig) for twig in twigs]
        return [twig for twig in shown if twig is not None]


def _joined(twig: Twig) -> Twig:
    """A branch of which folding has left a single child becomes one twig with it: ``layers.{0..31}``."""
    if len(twig.children) != 1 or twig.joint != "." or twig.text:
        return twig
    (child,) = twig.children
    return replace(child, label=f"{twig.label}.{child.label}")


def _number_in(label: str) -> int:
    match = NUMBERED.fullmatch(label.removeprefix("#"))
    return 0 if match is None else int(match[2])


def _merge(twigs: Sequence[Twig]) -> Twig:
    """One twig for alike ones; values that differ become a range."""
    first = twigs[0]
    merged = replace(first)
    if first.children:
        columns: Iterator[tuple[Twig, ...]] = zip(*[twig.children for twig in twigs], strict=True)
        merged.children = [_merge(column) for column in columns]
    elif any(twig.text != first.text for twig in twigs):
        spans = [twig.span for twig in twigs if twig.span is not None]
        if first.type == "=":
            merged.text = "another tensor each"
        elif len(spans) == len(twigs):
            merged.span = min(low for low, _ in spans), max(high for _, high in spans)
            merged.text = " … ".join(map(value_text, merged.span))
        else:
            merged.text = f"{len({twig.text for twig in twigs}):,} different values"
    return merged
