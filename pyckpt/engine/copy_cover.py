"""What manifests say of the bytes of a data object: which ranges have which digests, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyckpt.errors import Corrupt
from pyckpt.format.columns import Int64s
from pyckpt.format.digest import DIGEST_BYTES, DIGESTS
from pyckpt.format.manifest import Manifest
from pyckpt.format.shard_table import ObjectRow, ShardTable

__all__ = ["Cover", "covers_of", "join_covers"]

Digests = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """The digests of one data object: its header's, then those of its blocks, by where they begin; no two overlap."""

    size: int
    """Bytes of the object."""
    algorithm: str
    start: Int64s
    stop: Int64s
    digest: Digests
    """32 bytes each."""
    rows: tuple[tuple[Manifest, int], ...]
    """Manifests that have the object, and its number there: for messages."""

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
        """Start, end and digest of every range in [start, stop), which begins and ends at no range's inside."""
        first, last = np.searchsorted(self.start, (start, stop)).tolist()
        for number in range(first, last):
            yield int(self.start[number]), int(self.stop[number]), self.digest[number].tobytes()

    def uncovered(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The ranges in [start, stop) that no digest covers."""
        at = start
        if self.algorithm in DIGESTS:
            for begin, end, _ in self.within(start, stop):
                if begin > at:
                    yield at, begin
                at = end
        if at < stop:
            yield at, stop

    def block_name(self, start: int) -> str:
        """What to call the block that begins there, in a message."""
        for manifest, number in self.rows:
            shards = manifest.shards
            holds = (shards.object == number) & (shards.offset <= start) & (shards.offset + shards.stored > start)
            for shard in np.flatnonzero(holds).tolist():
                first = int(shards.offset[shard])
                block = int(((self.start >= first) & (self.start < start)).sum())
                return f"block {block} of entry {shards.entry_name(shard)!r} of item {manifest.item!r}"
        return "a block"

    def includes(self, other: Cover) -> bool:
        """Whether everything that the other says is said here too."""
        if (self.size, self.algorithm) != (other.size, other.algorithm):
            return False
        at = np.searchsorted(self.start, other.start)
        if bool((at == len(self.start)).any()):
            return False
        same = (self.start[at] == other.start) & (self.stop[at] == other.stop) & (self.digest[at] == other.digest)
        return bool(same.all())


def covers_of(manifest: Manifest) -> list[Cover]:
    """The cover of each of the manifest's objects, in its order. The manifest has passed ``check_manifest``."""
    shards = manifest.shards
    counts = np.diff(shards.block_start)
    sizes = _stored_sizes(shards, manifest.objects, counts)
    before = np.cumsum(sizes) - sizes
    used = counts > 0
    first = shards.block_start[:-1][used]
    start = before + np.repeat(shards.offset[used].astype(np.int64) - before[first], counts[used])
    owner = np.repeat(shards.object.astype(np.int64), counts)
    digests = np.frombuffer(shards.block_digest, np.dtype((np.void, DIGEST_BYTES)))
    some = np.flatnonzero(sizes > 0)
    order = some[np.lexsort((start[some], owner[some]))]
    bounds = np.searchsorted(owner[order], np.arange(len(manifest.objects) + 1))
    return [
        _cover(manifest, number, start[part], start[part] + sizes[part], digests[part])
        for number, part in enumerate(np.split(order, bounds[1:-1]) if manifest.objects else ())
    ]


def _stored_sizes(shards: ShardTable, objects: Sequence[ObjectRow], counts: Int64s) -> Int64s:
    """Stored bytes of every block."""
    block = np.array([row.block for row in objects] or [1], dtype=np.int64)[shards.object]
    sizes = np.repeat(block, counts)
    used = counts > 0
    last = shards.block_start[1:][used] - 1
    sizes[last] = (shards.decoded - (counts - 1) * block)[used]
    if shards.block_stored_size is not None and shards.codec is not None:
        sizes[np.repeat(np.asarray(shards.codec) != 0, counts)] = shards.block_stored_size
    return sizes


def _cover(manifest: Manifest, number: int, start: Int64s, stop: Int64s, digest: Digests) -> Cover:
    row = manifest.objects[number]
    header = np.frombuffer(row.header_digest, digest.dtype)
    return Cover(
        row.size,
        row.digest,
        np.concatenate(([0], start)).astype(np.int64),
        np.concatenate(([row.data_start], stop)).astype(np.int64),
        np.concatenate((header, digest)),
        ((manifest, number),),
    )


def join_covers(key: str, covers: Sequence[Cover]) -> Cover:
    """What several manifests say of one object. Corrupt ``manifest.schema`` if they contradict each other."""
    first = covers[0]
    if len(covers) == 1:
        return first
    if {(each.size, each.algorithm) for each in covers} != {(first.size, first.algorithm)}:
        raise _contradiction(key)
    start, stop = np.concatenate([each.start for each in covers]), np.concatenate([each.stop for each in covers])
    digest = np.concatenate([each.digest for each in covers])
    order = np.lexsort((stop, start))
    start, stop, digest = start[order], stop[order], digest[order]
    again = (start[1:] == start[:-1]) & (stop[1:] == stop[:-1]) & (digest[1:] == digest[:-1])
    kept = np.concatenate(([True], ~again))
    start, stop, digest = start[kept], stop[kept], digest[kept]
    if bool((start[1:] < stop[:-1]).any()):
        raise _contradiction(key)
    rows = tuple(row for each in covers for row in each.rows)
    return Cover(first.size, first.algorithm, start, stop, digest, rows)


def _contradiction(key: str) -> Corrupt:
    return Corrupt("manifest.schema", "two manifests say different things of one object", key=key)
