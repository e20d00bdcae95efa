"""Opening a checkpoint and its items (section 13.2); no listing, no lock, no other item's objects are needed.

Nothing is looked for but what the root reaches (SCF-LAYOUT-012), and no root of `external` is (SCF-OPEN-003). What is
refused gives no value at all (SCF-CONV-002).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from . import names
from .errors import Rejected
from .limits import DEFAULT, MAX_ROOT_BYTES, Limits
from .manifest import Manifest, fetch, manifest_place, read_manifest
from .regions import Numbers
from .root import Item, Root, read_root, too_large
from .store import NoSuchKey, Store, TooLarge
from .tiling import tiles
from .tree import Path, tensor_leaves


@dataclass(frozen=True)
class OpenItem:
    """An item whose manifest has been fetched and checked."""

    store: Store
    root: Root
    item: Item
    manifest: Manifest
    limits: Limits
    tiled: dict[int, bool] = field(default_factory=dict)

    @cached_property
    def numbers(self) -> dict[Path, int]:
        """Path of every tensor leaf, in tree order, to its tensor number; names take no part (SCF-OBJ-011)."""
        return dict(tensor_leaves(self.manifest.tree))

    def number(self, path: Path) -> int:
        """The tensor number at a path (SCF-READ-012)."""
        if path not in self.numbers:
            message = f"the item {self.item.name} has no tensor at {list(path)!r}; it has {self.near(path)}"
            raise Rejected("tensor.missing", message, subject="/".join(str(component) for component in path))
        return self.numbers[path]

    def near(self, path: Path) -> str:
        """The paths that share most of their beginning with this one, as text."""

        def common(other: Path) -> int:
            return next((at for at, (a, b) in enumerate(zip(path, other, strict=False)) if a != b), len(other))

        return ", ".join(repr(list(other)) for other in sorted(self.numbers, key=common, reverse=True)[:5]) or "none"

    def is_tiled(self, tensor: int) -> bool:
        """Whether the shards of a tensor tile it exactly."""
        if tensor not in self.tiled:
            shape: Numbers = self.manifest.tensors[tensor].shape
            regions = [shard.region for shard in self.manifest.shards.of(tensor)]
            self.tiled[tensor] = tiles(shape, regions, self.limits)
        return self.tiled[tensor]


def check_checkpoint_name(checkpoint: str) -> None:
    """Refuse a name outside the grammar before it becomes a key (SCF-LAYOUT-001, SCF-STORE-012)."""
    if not names.is_checkpoint(checkpoint):
        raise Rejected("key.invalid", f"{checkpoint!r} is no checkpoint name", subject=checkpoint, phase="open")


def open_root(store: Store, checkpoint: str, *, expect: str | None = None, writing: bool = False) -> Root:
    """The checked root of a checkpoint (SCF-MODEL-001); `expect` is its root digest, if the caller knows it."""
    check_checkpoint_name(checkpoint)
    try:
        data = store.get(f"{checkpoint}/{names.ROOT}", MAX_ROOT_BYTES)
    except NoSuchKey:  # SCF-ROOT-001
        raise Rejected("checkpoint.missing", f"there is no checkpoint {checkpoint}", subject=checkpoint) from None
    except TooLarge as large:  # SCF-ROOT-002
        raise too_large(checkpoint, large.size) from None
    return read_root(data, checkpoint, expect=expect, writing=writing)


def open_item(store: Store, root: Root, name: str, limits: Limits = DEFAULT) -> OpenItem:
    """An item, with its manifest checked but for tiling, which is checked tensor by tensor (SCF-OPEN-001)."""
    item = find_item(root, name)
    raw = fetch(store, root, item, limits)
    return OpenItem(store, root, item, read_manifest(raw, manifest_place(root, item), limits), limits)


def find_item(root: Root, name: str) -> Item:
    """The item of this name in a root (SCF-OPEN-004)."""
    if not names.is_item(name):
        raise Rejected("key.invalid", f"{name!r} is no item name", subject=name, phase="open")
    if name not in root.items:
        there = ", ".join(root.items) or "none"
        raise Rejected("item.missing", f"{root.checkpoint} has no item {name}; it has {there}", subject=name)
    return root.items[name]
