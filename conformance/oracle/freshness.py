"""Whether a save has the same bytes as the newest earlier checkpoint (SCF-COMMIT-012)."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import Rejected
from .manifest_write import Assigned
from .opening import OpenItem, open_item
from .regions import Region
from .root import Root
from .shards import Shard
from .store import Store
from .union import UnitedTensor

WATCHED = {"model", "optimizer"}


def unchanged(store: Store, newest: Root | None, kinds: Mapping[str, str], items: Mapping[str, Assigned]) -> bool:
    """Whether a model or optimizer has shards, and all of them have the digests that the newest checkpoint has."""
    if newest is None:
        return False
    return any(
        kinds[name] in WATCHED and name in newest.items and _is_same(_opened(store, newest, name), assigned)
        for name, assigned in items.items()
    )


def _opened(store: Store, root: Root, name: str) -> OpenItem | None:
    try:
        return open_item(store, root, name)
    except Rejected:
        return None


def _is_same(earlier: OpenItem | None, assigned: Assigned) -> bool:
    rows = [(row, row.tensor) for row in assigned.rows if row.tensor is not None]
    if earlier is None or not rows:
        return False
    known: dict[int, dict[Region, Shard]] = {}
    for row, tensor in rows:
        number = _number(earlier, tensor)
        if number is None:
            return False
        if number not in known:
            known[number] = {shard.region: shard for shard in earlier.manifest.shards.of(number)}
        shard = known[number].get(row.shard.region)
        described = assigned.objects[row.object]
        if shard is None or _digests(earlier, shard) != (described.digest, described.block, row.shard.decoded_digests):
            return False
    return True


def _number(earlier: OpenItem, tensor: UnitedTensor) -> int | None:
    """The earlier tensor at the first path, if it has this dtype and shape."""
    number = earlier.numbers.get(tensor.paths[0])
    if number is None:
        return None
    row = earlier.manifest.tensors[number]
    return number if (row.dtype.name, row.shape) == (tensor.dtype, tensor.shape) else None


def _digests(earlier: OpenItem, shard: Shard) -> tuple[str, int, tuple[bytes | None, ...]]:
    """Algorithm, block size, and the digests of the decoded blocks."""
    row = earlier.manifest.objects[shard.object]
    blocks = earlier.manifest.shards.blocks(shard)
    return row.digest, row.block, tuple(one.decoded_digest if shard.codec else one.digest for one in blocks)
