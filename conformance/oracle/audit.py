"""The audit of a save: what a request to write asked for against what lies in the store afterwards.

A finding is a text that begins with the requirement that it is about, if there is one. What is only recommended
(SCF-OBJ-004, SCF-OBJ-010, SCF-LAYOUT-011) is looked at on demand.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import names
from .audit_carried import carried_findings
from .audit_item import item_findings
from .audit_names import manifest_names, root_names
from .audit_root import root_findings
from .audit_store import untouched
from .errors import Rejected
from .given import GivenWrite, read_write
from .messages import Message
from .opening import open_item, open_root
from .reach import reached, tombstones
from .root import Root
from .snapshot import Snapshot
from .store import Store
from .verify import verify


def audit(
    before: Snapshot | None,
    store: Store,
    request: Message,
    response: Message | None = None,
    *,
    should: bool = False,
) -> list[str]:
    """What is wrong with the checkpoint that a `write` has left in a store; empty if it is exactly right.

    `before` is the store as it was when the request was sent, `response` the answer; None if that is not known.
    """
    found: list[str] = []
    try:
        given = read_write(request)
        found += [f"{one.code}: {one.subject}: {one.message}" for one in verify(store, given.checkpoint, deep=True)]
        if not found:
            root = open_root(store, given.checkpoint)
            found.extend(_findings(store, root, given, response, before, should=should))
    except Rejected as refusal:
        found.append(str(refusal))
    return found


def _findings(
    store: Store,
    root: Root,
    given: GivenWrite,
    response: Message | None,
    before: Snapshot | None,
    *,
    should: bool,
) -> Iterator[str]:
    yield from root_findings(store, root, given, response, before)
    yield from root_names(store.get(f"{given.checkpoint}/{names.ROOT}"))
    for name in given.items.keys() & root.items.keys():
        opened = open_item(store, root, name)
        yield from manifest_names(opened)
        yield from item_findings(opened, name, given, should=should)
    yield from carried_findings(store, root, given, before)
    if before is not None:
        yield from _changes(store, root, before)
    if should and f"{given.checkpoint}/.attempt-{root.attempt}" in {one.key for one in store.list(given.checkpoint)}:
        yield "SCF-LAYOUT-011: the attempt marker is still there"


def _changes(store: Store, root: Root, before: Snapshot) -> Iterator[str]:
    """What a save may not do to what was there, and where it puts what is new."""
    after = Snapshot.take(store)
    yield from (f"SCF-MODEL-002: {wrong}" for wrong in untouched(before, after))
    reach = reached(store, root)
    for key in sorted(after.objects.keys() - before.objects.keys()):
        checkpoint, _, rest = key.partition("/")
        if checkpoint != root.checkpoint:
            yield f"SCF-LAYOUT-004: the new object {key} is not below the checkpoint"
        data = names.data_object_key(rest)
        if data is not None and data.attempt == root.attempt and key not in reach:
            yield f"SCF-OBJ-009: the new data object {key} is in no manifest"
    for item in root.items.values():
        for name, descriptor in item.assets.items():
            yield from _asset_place(root, before, f"{item.name}/{name}", descriptor.key)


def _asset_place(root: Root, before: Snapshot, plain: str, key: str | None) -> Iterator[str]:
    """The place of an own asset by the three steps of section 5.5."""
    if key is None:
        return
    full = f"{root.checkpoint}/{key}"
    if full in before.objects and tombstones(before, root.checkpoint):
        yield f"SCF-COMMIT-011: {full} was there before, and so was a tombstone of the name"
    taken = f"{root.checkpoint}/{plain}"
    above = [taken[:at] for at, character in enumerate(taken) if character == "/"]
    in_the_way = any(one in before.objects for one in [taken, *above]) or before.list(f"{taken}/")
    if key != plain and not in_the_way:
        yield f"section 5.5: {full} has the attempt in its key, and the plain key was free"
