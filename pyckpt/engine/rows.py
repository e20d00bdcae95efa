"""Shard tables while they are being put together: dense columns that can be concatenated, reordered and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pyckpt.engine.compare import Reference
from pyckpt.engine.stored import StoredObject

__all__ = ["Int64s", "Rows", "concat", "ragged_take", "reference_rows", "rows_of", "take"]

Int64s = npt.NDArray[np.int64]
DIGEST = np.dtype("V32")


@dataclass(frozen=True, slots=True)
class Rows:
    """One row per shard; ragged columns lie flat, their lengths are ``ndim``, ``blocks`` or ``coded``."""

    tensor: Int64s
    object: Int64s
    ndim: Int64s
    box_offset: Int64s
    box_size: Int64s
    run_start: Int64s
    run_stop: Int64s
    offset: Int64s
    stored: Int64s
    chain: Int64s
    blocks: Int64s
    """Blocks of each shard."""
    digests: npt.NDArray[np.void]
    """One per block."""
    coded: Int64s
    """Blocks of each encoded shard, 0 for the others."""
    coded_sizes: Int64s
    decoded: npt.NDArray[np.void]
    """Digest of the decoded bytes, one per block of the encoded shards."""

    def __len__(self) -> int:
        return len(self.tensor)

    def pack(self) -> dict[str, bytes]:
        """The columns as bytes, for another rank."""
        return {field.name: getattr(self, field.name).tobytes() for field in fields(self)}

    @classmethod
    def unpack(cls, columns: dict[str, bytes]) -> Rows:
        """What ``pack`` gave."""
        dtype = {"digests": DIGEST, "decoded": DIGEST}
        return cls(**{name: np.frombuffer(data, dtype.get(name, np.dtype("<i8"))) for name, data in columns.items()})


def rows_of(objects: Sequence[StoredObject], block: int) -> Rows:
    """The rows of objects that were just written, in their order."""
    shards = [(number, shard) for number, stored in enumerate(objects) for shard in stored.plan.shards]
    offsets: list[int] = []
    for stored in objects:
        at = stored.data_start
        for size in stored.stored_sizes:
            offsets.append(at)
            at += size
    blocks = [-(-shard.nbytes // block) for _, shard in shards]
    chain = [shard.chain for _, shard in shards]
    return Rows(
        tensor=_ints([shard.tensor for _, shard in shards]),
        object=_ints([number for number, _ in shards]),
        ndim=_ints([len(shard.region.box.size) for _, shard in shards]),
        box_offset=_ints([value for _, shard in shards for value in shard.region.box.offset]),
        box_size=_ints([value for _, shard in shards for value in shard.region.box.size]),
        run_start=_ints([shard.region.start for _, shard in shards]),
        run_stop=_ints([shard.region.stop for _, shard in shards]),
        offset=_ints(offsets),
        stored=_ints([size for stored in objects for size in stored.stored_sizes]),
        chain=_ints(chain),
        blocks=_ints(blocks),
        digests=np.frombuffer(b"".join(stored.block_digests for stored in objects), DIGEST),
        coded=_ints([count if code else 0 for count, code in zip(blocks, chain, strict=True)]),
        coded_sizes=_ints([size for stored in objects for size in stored.block_stored_sizes or ()]),
        decoded=np.frombuffer(b"".join(stored.decoded_digests or b"" for stored in objects), DIGEST),
    )


def reference_rows(references: Sequence[Reference], objects: Sequence[int], chains: Sequence[int]) -> Rows:
    """The rows of shards that are stored elsewhere, with the numbers of their objects and codec chains."""
    regions = [each.plan.region for each in references]
    blocks = [len(each.digests) // DIGEST.itemsize for each in references]
    return Rows(
        tensor=_ints([each.plan.tensor for each in references]),
        object=_ints(objects),
        ndim=_ints([len(region.box.size) for region in regions]),
        box_offset=_ints([value for region in regions for value in region.box.offset]),
        box_size=_ints([value for region in regions for value in region.box.size]),
        run_start=_ints([region.start for region in regions]),
        run_stop=_ints([region.stop for region in regions]),
        offset=_ints([each.offset for each in references]),
        stored=_ints([each.stored for each in references]),
        chain=_ints(chains),
        blocks=_ints(blocks),
        digests=np.frombuffer(b"".join(each.digests for each in references), DIGEST),
        coded=_ints([count if each.decoded else 0 for count, each in zip(blocks, references, strict=True)]),
        coded_sizes=_ints([size for each in references for size in each.block_sizes]),
        decoded=np.frombuffer(b"".join(each.decoded for each in references), DIGEST),
    )


def _ints(values: Sequence[int]) -> Int64s:
    return np.array(values, np.int64)


def concat(parts: Sequence[Rows]) -> Rows:
    """All rows one after the other."""
    return Rows(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)})


def ragged_take(
    flat: npt.NDArray[np.generic], lengths: Int64s, order: npt.NDArray[np.intp]
) -> npt.NDArray[np.generic]:
    """The pieces of ``flat``, whose lengths are given, in another order."""
    if len(lengths) and lengths.min() == lengths.max():
        return flat.reshape(len(lengths), int(lengths[0]))[order].reshape(-1)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    picked = lengths[order]
    total = int(picked.sum())
    before = np.cumsum(picked) - picked
    index = np.repeat(starts[order] - before, picked) + np.arange(total)
    return flat[index]


def take(rows: Rows, order: npt.NDArray[np.intp]) -> Rows:
    """The rows in another order; also a selection of them."""
    ragged = {
        "box_offset": rows.ndim,
        "box_size": rows.ndim,
        "digests": rows.blocks,
        "coded_sizes": rows.coded,
        "decoded": rows.coded,
    }
    columns: dict[str, Any] = {}
    for field in fields(Rows):
        values = getattr(rows, field.name)
        if field.name in ragged:
            columns[field.name] = ragged_take(values, ragged[field.name], order)
        else:
            columns[field.name] = values[order]
    return Rows(**columns)
