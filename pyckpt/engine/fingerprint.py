"""Proof that replicas are replicas: short digests of what every holder has, compared by the coordinator.

Writing a tensor once because several ranks *claim* to hold it would otherwise stitch together a value that never
existed wherever the claim is wrong (batch statistics, experts under equal names, a forgotten broadcast).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from pyckpt.engine.leaves import Source, TensorLeaf
from pyckpt.engine.slots import Slot
from pyckpt.format.geometry import Region

__all__ = ["ROW", "Groups", "fingerprints", "groups_of", "structure_of"]

ROW = np.dtype([("tensor", "<u4"), ("region", "<u8"), ("print", "V16")])
"""One row per claimed piece: local tensor number, hash of the region, fingerprint of its bytes."""

HALF = 16
FULL_BYTES = 1 << 20
"""Up to this size all bytes are taken, whatever the mode."""
SAMPLE_BLOCKS = 8
SAMPLE_BYTES = 64 << 10
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Groups:
    """Writers that hold the same tensors of one item as this one, itself included, ascending."""

    plain: tuple[int, ...]
    """For plain tensors."""
    placed: tuple[int, ...]
    """For tensors with regions of their own that name no replicas: tensor parallel beside hand-made data parallel."""

    def of(self, leaf: TensorLeaf, rank: int) -> tuple[int, ...]:
        """Writers among which the pieces of a leaf are dealt."""
        if leaf.replicas is None:
            return self.plain
        if not leaf.replicas:
            return self.placed if leaf.pieces else (rank,)
        return leaf.replicas


def structure_of(slots: Sequence[Slot]) -> bytes:
    """Two times 16 bytes, equal on two writers if they agree on an item's plain tensors, or on the regions they hold.

    The first half covers path, dtype and shape of plain tensors, the second also the regions of all others that name
    no replicas.
    """
    plain, placed = blake3(), blake3()
    for slot in sorted(slots, key=lambda slot: slot.name):
        leaf = slot.leaf
        if leaf.replicas or not leaf.pieces:
            continue
        row = f"{slot.name}\0{leaf.dtype}\0{leaf.shape}\n"
        if leaf.replicas is None:
            plain.update(row.encode("utf-8", "surrogatepass"))
        else:
            placed.update(row.encode("utf-8", "surrogatepass"))
            for piece in leaf.pieces:
                placed.update(region_hash(piece.region).to_bytes(8, "little"))
    return plain.digest(length=HALF) + placed.digest(length=HALF)


def groups_of(structures: Sequence[bytes | None], rank: int) -> Groups:
    """Groups of ``rank`` from what all writers gave for an item; None for those that don't have it."""
    own = structures[rank]
    if own is None:
        return Groups((rank,), (rank,))
    return Groups(
        tuple(other for other, each in enumerate(structures) if each is not None and each[:HALF] == own[:HALF]),
        tuple(other for other, each in enumerate(structures) if each is not None and each[HALF:] == own[HALF:]),
    )


def region_hash(region: Region) -> int:
    """A 64-bit number that tells regions of one tensor apart."""
    box = region.box
    data = struct.pack(f"<{2 * len(box.size) + 2}q", *box.offset, *box.size, region.start, region.stop)
    return int.from_bytes(blake3(data).digest(length=8), "little")


def fingerprints(slots: Sequence[Slot], *, mode: str, groups: Groups) -> bytes:
    """Rows (see ROW) for all claimed pieces of one item on this writer; ``mode`` is ``sample`` or ``full``."""
    claimed = [slot for slot in slots if _is_claimed(slot, groups)]
    rows = np.zeros(sum(len(slot.leaf.pieces) for slot in claimed), ROW)
    at = 0
    for slot in claimed:
        for piece in slot.leaf.pieces:
            print_ = _fingerprint(piece.source, full=mode == "full")
            rows[at] = (slot.number, region_hash(piece.region), print_)
            at += 1
    return rows.tobytes()


def _is_claimed(slot: Slot, groups: Groups) -> bool:
    """Even a plain tensor that nobody else is known to hold is claimed: another group may have its path too."""
    leaf = slot.leaf
    if leaf.replicas is None:
        return True
    return len(groups.placed) > 1 if not leaf.replicas else leaf.claimed and len(leaf.replicas) > 1


def _fingerprint(source: Source, *, full: bool) -> bytes:
    """16 bytes over the size and all bytes, or the size and 8 blocks of 64 KiB spread evenly, first and last included.

    Which blocks are taken depends on the size alone, so all holders take the same.
    """
    size = source.nbytes
    state = blake3(size.to_bytes(8, "little"))
    if full or size <= FULL_BYTES:
        ranges = [(at, min(at + READ_BYTES, size)) for at in range(0, size, READ_BYTES)]
    else:
        last = size - SAMPLE_BYTES
        starts = [last * number // (SAMPLE_BLOCKS - 1) for number in range(SAMPLE_BLOCKS)]
        ranges = [(start, start + SAMPLE_BYTES) for start in starts]
    view = source.view()
    buffer = bytearray(0)
    for start, stop in ranges:
        if view is not None:
            state.update(view[start:stop])
            continue
        if len(buffer) != stop - start:
            buffer = bytearray(stop - start)
        source.read_into(start, memoryview(buffer))
        state.update(buffer)
    return state.digest(length=16)


