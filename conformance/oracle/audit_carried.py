"""The audit of items that were carried over by reference (section 13.6)."""

from __future__ import annotations

from collections.abc import Iterator

from .given import GivenWrite
from .opening import find_item, open_root
from .root import Descriptor, Root
from .snapshot import Snapshot
from .store import Store


def carried_findings(store: Store, root: Root, given: GivenWrite, before: Snapshot | None) -> Iterator[str]:
    """What is wrong with each carried item: it is the source's, at its origin (SCF-ROOT-021)."""
    for name, (checkpoint, source) in given.carry.items():
        if name not in root.items:
            continue
        item = root.items[name]
        original = find_item(open_root(store if before is None else before, checkpoint), source)
        said = (item.kind, item.raw_size, item.counts)
        if said != (original.kind, original.raw_size, original.counts):
            yield f"the carried item {name} states {said}, not what its original does"
        if _place(item.manifest, root.checkpoint) != _place(original.manifest, checkpoint):
            yield f"SCF-ROOT-021: the manifest of {name} is not that of its origin, by store_key"
        assets = {asset: _place(one, root.checkpoint) for asset, one in item.assets.items()}
        if assets != {asset: _place(one, checkpoint) for asset, one in original.assets.items()}:
            yield f"the assets of the carried item {name} are not those of its origin, by store_key"


def _place(one: Descriptor, checkpoint: str) -> tuple[str, int, str]:
    return one.at(checkpoint), one.size, one.sha256
