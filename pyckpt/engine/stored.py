"""What is known of a data object once it lies in the store."""

from __future__ import annotations

from dataclasses import dataclass

from pyckpt.engine.save_plan import ObjectPlan

__all__ = ["StoredObject"]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A durable data object and what the manifest says of it. Sizes in bytes; sequences follow the plan's shards."""

    plan: ObjectPlan
    size: int
    data_start: int
    header_digest: bytes
    block_digests: bytes
    """32 bytes per block, shard after shard."""
    stored_sizes: tuple[int, ...]
    block_stored_sizes: tuple[int, ...] | None
    """Stored size of each block of the encoded shards; None if nothing is encoded."""
    decoded_digests: bytes | None
    """32 bytes per block of the encoded shards, over the decoded bytes."""
