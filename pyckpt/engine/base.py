"""The earlier checkpoint with which a save compares its shards, and what may be referenced through it.

Rank 0 chooses it and looks whether it and its origins stand; every rank reads the manifests of its own items from the
store, which scales better than passing them on. What can't be used is a reason to write anew, never to fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyckpt.engine.external import NEWEST, Where, lost_externals, name_in, newest_standing, standing_root
from pyckpt.engine.open import OpenItem, load_item, open_root
from pyckpt.errors import PyckptError, UsageError
from pyckpt.format.root import Root
from pyckpt.storage.base import Store

__all__ = ["Base", "choose_base", "read_base"]

ANEW = "everything is written anew"


@dataclass(frozen=True, slots=True)
class Base:
    """A checkpoint that stands."""

    name: str
    digest: str
    """Of its root."""
    origins: Mapping[str, str]
    """Checkpoints whose objects may be referenced, itself included: name -> root digest."""

    def pack(self) -> list[Any]:
        """For the other ranks."""
        return [self.name, self.digest, dict(self.origins)]


def choose_base(store: Store, checkpoint: str, reference: Where | None) -> tuple[Base | None, list[str]]:
    """The base of the new ``checkpoint``, and what the report has to say of what can't be used.

    Raises UsageError for a checkpoint of another store, StoreError.
    """
    if reference is None:
        return None, []
    try:
        if reference == NEWEST:
            found = newest_standing(store)
            if found is None:
                return None, []
            root, name = found
        else:
            name = name_in(store, reference)
            root = standing_root(store, name)
    except UsageError:
        raise
    except PyckptError as error:
        if error.code in ("key.invalid", "store.io", "store.condition"):
            raise
        return None, [f"nothing of {str(reference)!r} can be referenced, {ANEW}: {error}"]
    return _with_origins(store, checkpoint, name, root)


def _with_origins(store: Store, checkpoint: str, name: str, root: Root) -> tuple[Base, list[str]]:
    listed = {each.checkpoint: each.digest for each in root.external}
    lost = lost_externals(store, checkpoint, listed)
    origins = {name: root.digest, **{each: digest for each, digest in listed.items() if each not in lost}}
    warnings = [f"what lies in {each!r} is written anew: {error}" for each, error in lost.items()]
    return Base(name, root.digest, origins), warnings


def read_base(store: Store, base: Base, items: Iterable[str]) -> tuple[dict[str, OpenItem], list[str]]:
    """Those of ``items`` that the base has, and what to say of those that can't be read."""
    try:
        root = open_root(store, base.name, expect=base.digest).root
    except PyckptError as error:
        return {}, [f"the root of {base.name!r} can't be read any more, {ANEW}: {error}"]
    found: dict[str, OpenItem] = {}
    warnings = []
    for item in items:
        if item in root.items:
            try:
                found[item] = load_item(store, base.name, item, root)
            except PyckptError as error:
                warnings.append(f"the item {item!r} of {base.name!r} can't be read, it is written anew: {error}")
    return found, warnings
