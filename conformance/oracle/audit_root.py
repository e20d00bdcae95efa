"""The audit of a root: what it says against the request (chapter 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from . import messages
from .errors import Rejected
from .given import GivenWrite
from .given_tree import Branch, Given, Leaf, read_given
from .listing import list_checkpoints
from .messages import Message
from .mpack import Float
from .opening import open_root
from .reach import reached
from .root import Root
from .root_write import SPEC
from .snapshot import Snapshot
from .store import Store


def root_findings(
    store: Store,
    root: Root,
    given: GivenWrite,
    response: Message | None,
    before: Snapshot | None,
) -> Iterator[str]:
    """What is wrong with the members of a root."""
    if response is not None:
        for member, value in (("digest", root.digest), ("attempt", root.attempt)):
            if response.get(member) != value:
                yield f"the response says {member} {response.get(member)}, and the root {value}"
    if root.spec != SPEC:
        yield f"SCF-COMPAT-007: spec is {root.spec}"
    if root.features_read or root.features_write:
        yield f"SCF-COMPAT-003: features are {root.features_read} and {root.features_write}"
    if root.parent != given.parent:
        yield f"parent is {root.parent}, not {given.parent}"
    if not _same(read_given(messages.metadata(dict(root.metadata))), given.metadata):
        yield f"SCF-ROOT-026: metadata is {messages.metadata(dict(root.metadata))}"
    if root.items.keys() != given.items.keys() | given.carry.keys():
        yield f"the items are {sorted(root.items)}"
    yield from _sequence(store if before is None else before, root)
    yield from _external(store, root, before)


def _sequence(others: Store, root: Root) -> Iterator[str]:
    """One more than the highest of the other readable roots (SCF-ROOT-012)."""
    found = [one.root.sequence for one in list_checkpoints(others) if one.root and one.name != root.checkpoint]
    if root.sequence != max(found, default=0) + 1:
        yield f"SCF-ROOT-012: sequence is {root.sequence}, and the highest of the others {max(found, default=0)}"


def _external(store: Store, root: Root, before: Snapshot | None) -> Iterator[str]:
    """Exactly the checkpoints whose objects are used, each with its root digest (section 6.6)."""
    used = {key.partition("/")[0] for key in reached(store, root)} - {root.checkpoint}
    if root.external.keys() != used:
        yield f"SCF-REF-004: external lists {sorted(root.external)}, and used are {sorted(used)}"
    for name, digest in root.external.items():
        try:
            there = open_root(store if before is None else before, name).digest
        except Rejected as refusal:
            yield f"SCF-REF-001: external lists {name}: {refusal}"
        else:
            if there != digest:
                yield f"SCF-REF-007: external has another root digest for {name}"


def _same(one: Given, other: Given) -> bool:
    """Whether two values of metadata are equal; the order of members is free, and a NaN is a NaN."""
    if isinstance(one, Leaf) and isinstance(other, Leaf):
        return (one.kind, _plain(one)) == (other.kind, _plain(other))
    if not isinstance(one, Branch) or not isinstance(other, Branch) or one.kind != other.kind:
        return False
    first, second = dict(one.children), dict(other.children)
    return first.keys() == second.keys() and all(_same(child, second[more]) for more, child in first.items())


def _plain(leaf: Leaf) -> object:
    if isinstance(leaf.value, Float):
        (number,) = struct.unpack(">d", leaf.value.bits.to_bytes(8, "big"))
        return leaf.value.bits if number == number else "nan"  # noqa: PLR0124 - a NaN differs from itself
    return leaf.value
