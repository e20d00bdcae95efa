"""The checkpoints of several stores at once: which store has which, and in what state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pyckpt.engine.listing import Listed, list_checkpoints
from pyckpt.engine.verify import verify
from pyckpt.errors import NotFound, StoreError
from pyckpt.format.root import Root
from pyckpt.storage.base import Store

__all__ = ["Across", "Held", "State", "list_across"]

State = Literal["complete", "missing objects", "damaged", "damaged root", "copying", "absent", "unknown"]
"""``copying``: there are objects and no root, of a copy that goes on or was broken off. ``unknown``: the store can't be
listed, so nobody knows."""
_LOST = frozenset({"object.missing", "manifest.missing", "asset.missing", "external.missing"})


@dataclass(frozen=True, slots=True)
class Held:
    """What one store has of a checkpoint."""

    state: State
    findings: int = 0
    """Objects that are missing, or what else a look at root, manifests and sizes found."""
    error: str = ""
    """A code of the registry of error codes, where something is wrong."""


@dataclass(frozen=True, slots=True)
class Across:
    """One checkpoint, and what each of the stores has of it."""

    name: str
    root: Root | None
    """None if no store has a readable one."""
    held: tuple[Held, ...]


def list_across(stores: Sequence[Store], *, threads: int = 2) -> list[Across]:
    """All checkpoints of the stores, newest first; one that has the name of another is a row of its own.

    Roots, manifests and the sizes of objects are looked at, not the bytes of tensors. A store that can't be listed is
    ``unknown`` in every row. Raises StoreError if none can be.
    """
    listings: list[list[Listed] | None] = []
    first: StoreError | None = None
    for store in stores:
        try:
            listings.append(list_checkpoints(store))
        except StoreError as error:
            first = first or error
            listings.append(None)
    if first is not None and all(each is None for each in listings):
        raise first
    roots: dict[tuple[str, str], Root] = {}
    broken: set[str] = set()
    for listing in listings:
        for listed in listing or ():
            if listed.root is None:
                broken.add(listed.name)
            else:
                roots[listed.name, listed.root.digest] = listed.root
    order = sorted(roots.items(), key=lambda pair: (pair[1].sequence, pair[1].digest), reverse=True)
    rows: list[tuple[str, Root | None]] = [(name, root) for (name, _), root in order]
    newest = dict(reversed([(name, root) for name, root in rows]))
    rows += [(name, None) for name in sorted(broken - {name for name, _ in roots})]
    return [
        Across(
            name,
            root,
            tuple(
                _held(store, listing, name, root, is_newest=newest.get(name) is root, threads=threads)
                for store, listing in zip(stores, listings, strict=True)
            ),
        )
        for name, root in rows
    ]


def _held(
    store: Store, listing: Sequence[Listed] | None, name: str, root: Root | None, *, is_newest: bool, threads: int
) -> Held:
    """``is_newest``: of the checkpoints of this name; what has no readable root counts as this one's."""
    if listing is None:
        return Held("unknown", error="store.io")
    here = next((each for each in listing if each.name == name), None)
    if here is None:
        begun = is_newest and next(iter(store.list(f"{name}/")), None) is not None
        return Held("copying" if begun else "absent")
    if here.error is not None:
        return Held("damaged root", 1, here.error.code) if is_newest else Held("absent")
    if root is None or here.root is None or here.root.digest != root.digest:
        return Held("absent")
    try:
        findings = verify(store, name, deep=False, threads=threads).findings
    except NotFound:
        return Held("absent")
    if not findings:
        return Held("complete")
    lost = all(each.code in _LOST for each in findings)
    return Held("missing objects" if lost else "damaged", len(findings), findings[0].code)
