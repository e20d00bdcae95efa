"""Per-rank values on load (section 16.3), and the refusals of what interprets an item."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import Rejected
from .tree import Flattened, Indexed, ListNode, MapNode, Node, TupleNode

RULES = ("error", "nearest", "reseed")


class Mismatch(Rejected):
    """Checkpoint and target differ: all the ways in which they do, each a text (SCF-READ-011)."""

    def __init__(self, mismatches: list[str]) -> None:
        """Keep every mismatch."""
        self.mismatches = mismatches
        super().__init__("state.mismatch", "; ".join(mismatches), subject=mismatches[0])


@dataclass(frozen=True)
class Loading:
    """The loading process: its index among `size` on the axis, and the rule where the stored size is another."""

    rule: str
    index: int
    size: int

    def chosen(self, stored: int, name: str) -> int:
        """The index whose value is taken (SCF-STATE-008, SCF-STATE-009)."""
        if stored == self.size:
            return self.index
        if self.rule == "nearest":
            return self.index * stored // self.size
        raise Mismatch([f"{name}: stored for {stored} indices, loaded by {self.size}"])

    def resolve(self, node: Node, name: str) -> Node:
        """The node with every indexed value in it replaced by the one of this process."""
        if isinstance(node, Indexed):
            return self.resolve(node.values[self.chosen(len(node.values), name)], name)
        if isinstance(node, (ListNode, TupleNode)):
            return replace(node, items=tuple(self.resolve(child, name) for child in node.items))
        if isinstance(node, MapNode):
            entries = tuple((key, self.resolve(child, f"{name}/{key}")) for key, child in node.entries)
            return MapNode(entries)
        if isinstance(node, Flattened):
            inner = tuple((key, self.resolve(child, f"{name}/{key}")) for key, child in node.inner)
            return Flattened(inner, self.resolve(node.attributes, name))
        return node


def map_of(node: Node, name: str) -> dict[str | int, Node]:
    """The members of a node that has to be a map (SCF-STATE-001)."""
    if not isinstance(node, MapNode):
        raise Mismatch([f"{name} is no map"])
    return dict(node.entries)


def text_map_of(node: Node, name: str) -> dict[str, Node]:
    """The same, with keys that have to be text."""
    members = map_of(node, name)
    found = {key: child for key, child in members.items() if isinstance(key, str)}
    if len(found) != len(members):
        raise Mismatch([f"{name} has a key that is no text"])
    return found
