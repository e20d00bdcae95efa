"""How much of a new checkpoint is what the one before it was: state that never changes is a mistake somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from pyckpt.engine.decoded import decoded_digests
from pyckpt.engine.listing import Listed
from pyckpt.engine.open import load_item
from pyckpt.errors import PyckptError
from pyckpt.format.manifest import Manifest
from pyckpt.storage.base import Store

__all__ = ["Freshness", "compare_shards", "freshness"]


@dataclass(frozen=True, slots=True)
class Freshness:
    """Shards that have bytes, of the items that were saved; items that were carried over don't count."""

    shards: int
    compared: int
    """Those that the checkpoint before has under the same tensor."""
    unchanged: int

    @property
    def stale(self) -> bool:
        """Nothing at all has changed."""
        return self.unchanged == self.shards > 0


def freshness(store: Store, manifests: Mapping[str, Manifest], listed: Sequence[Listed]) -> Freshness:
    """Compares with the newest of the ``listed`` checkpoints.

    Only shards of an unchanged layout are compared; damage to the earlier checkpoint is no reason to fail here.
    """
    shards = compared = unchanged = 0
    before = listed[0] if listed else None
    for name, manifest in manifests.items():
        shards += int((np.diff(manifest.shards.block_start)[: manifest.shards.assigned] > 0).sum())
        if before is None or before.root is None or name not in before.root.items:
            continue
        with suppress(PyckptError, OSError):
            same, total = compare_shards(load_item(store, before.name, name, before.root).manifest, manifest)
            unchanged += same
            compared += total
    return Freshness(shards, compared, unchanged)


def compare_shards(before: Manifest, after: Manifest) -> tuple[int, int]:
    """(shards with equal digests, shards compared) of two manifests of the same tensors and regions."""
    a, b = before.shards, after.shards
    if before.tensors.names != after.tensors.names or not np.array_equal(before.tensors.shape, after.tensors.shape):
        return 0, 0
    count = a.assigned
    if count != b.assigned or not count:
        return 0, 0
    same_rows = np.array_equal(a.tensor[:count], b.tensor[:count])
    if not same_rows or not np.array_equal(a.block_start[: count + 1], b.block_start[: count + 1]):
        return 0, 0
    blocks = int(a.block_start[count])
    one, two = decoded_digests(a), decoded_digests(b)
    if one is None or two is None:
        return 0, 0
    differs = np.zeros(blocks + 1, np.int64)
    np.cumsum(one[:blocks] != two[:blocks], out=differs[1:])
    full = np.flatnonzero(a.block_start[1 : count + 1] > a.block_start[:count])
    changed = differs[a.block_start[1 : count + 1][full]] != differs[a.block_start[:count][full]]
    return int((~changed).sum()), len(full)
