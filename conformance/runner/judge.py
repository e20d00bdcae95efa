"""The oracle as the runner asks it: what is right about a store that an implementation has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..oracle.content import content as formula
from ..oracle.dtypes import DTYPES
from ..oracle.listing import list_checkpoints
from ..oracle.manifest import manifest_place
from ..oracle.opening import open_item, open_root
from ..oracle.store import DirectoryStore
from ..oracle.verify import verify
from .suite import SuiteError

__all__ = ["audit", "checkpoints", "content", "reached", "unsound"]

Json = dict[str, Any]


def audit(directory: Path, request: Json) -> list[str]:
    """What is wrong with the checkpoint that this request for writing has left; empty if nothing is."""
    try:
        from ..oracle.audit import audit as audited
    except ModuleNotFoundError as error:
        raise SuiteError(f"this copy of the suite lacks the audit, which judges what is written: {error}") from error
    return list(audited(DirectoryStore(str(directory)), request))


def unsound(directory: Path, checkpoint: str) -> list[str]:
    """What a deep verification finds; empty if the checkpoint is whole."""
    found = verify(DirectoryStore(str(directory)), checkpoint, deep=True)
    return [f"{checkpoint}: {each.code} {each.subject}: {each.message}" for each in found]


def checkpoints(directory: Path) -> dict[str, str]:
    """Name to root digest of all checkpoints; a root that is refused has the code in its place."""
    return {
        each.name: each.root.digest if each.root is not None else each.refusal.code if each.refusal is not None else ""
        for each in list_checkpoints(DirectoryStore(str(directory)))
    }


def reached(directory: Path, checkpoint: str) -> frozenset[str]:
    """The keys, relative to the store, that a sound root reaches, its own among them (section 13.5)."""
    store = DirectoryStore(str(directory))
    root = open_root(store, checkpoint)
    keys = {f"{checkpoint}/checkpoint.json"}
    for item in root.items.values():
        keys.add(manifest_place(root, item).key)
        keys.update(row.key for row in open_item(store, root, item.name).manifest.objects)
        keys.update(descriptor.at(checkpoint) for descriptor in item.assets.values())
    return frozenset(keys)


def content(tensor: Json) -> bytes:
    """All bytes of a tensor of a request for writing, by the formula."""
    shape = tuple(int(size) for size in tensor["shape"])
    return formula(tensor["fill"], tensor["dtype"], DTYPES[tensor["dtype"]].bits, shape)
