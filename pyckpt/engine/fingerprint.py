"""Proof that replicas are replicas: short digests of what every holder has, compared by the coordinator.

Writing a tensor once because several ranks *claim* to hold it would otherwise stitch together a value that never
existed wherever the claim is wrong (batch statistics, experts under equal names, a forgotten broadcast).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from blake3 import blake3

from pyckpt.engine.leaves import Source
from pyckpt.engine.save_plan import Slot
from pyckpt.format.geometry import Region

__all__ = ["ROW", "fingerprints", "structure_of"]

ROW = np.dtype([("tensor", "<u4"), ("region", "<u8"), ("print", "V16")])
"""One row per claimed piece: local tensor number, hash of the region, fingerprint of its bytes."""

FULL_BYTES = 1 << 20
"""Up to this size all bytes are taken, whatever the mode."""
SAMPLE_BLOCKS = 8
SAMPLE_BYTES = 64 << 10
READ_BYTES = 1 << 20


def structure_of(slots: Sequence[tuple[str, Slot]]) -> bytes:
    """16 bytes that are equal on two writers if their plain tensors agree in item, path, dtype and shape."""
    state = blake3()
    rows = [
        f"{item}\0{slot.name}\0{slot.leaf.dtype}\0{slot.leaf.shape}\n"
        for item, slot in slots
        if slot.leaf.replicas is None and slot.leaf.pieces
    ]
    state.update("".join(sorted(rows)).encode("utf-8", "surrogatepass"))
    return state.digest(length=16)


def region_hash(region: Region) -> int:
    """A 64-bit number that tells regions of one tensor apart."""
    box = region.box
    data = struct.pack(f"<{2 * len(box.size) + 2}q", *box.offset, *box.size, region.start, region.stop)
    return int.from_bytes(blake3(data).digest(length=8), "little")


def fingerprints(slots: Sequence[Slot], *, mode: str, plain_group: Sequence[int]) -> bytes:
    """Rows (see ROW) for all claimed pieces of one item on this writer; ``mode`` is ``sample`` or ``full``."""
    rows = np.zeros(sum(len(slot.leaf.pieces) for slot in slots if _is_claimed(slot, plain_group)), ROW)
    at = 0
    for slot in slots:
        if not _is_claimed(slot, plain_group):
            continue
        for piece in slot.leaf.pieces:
            print_ = _fingerprint(piece.source, full=mode == "full")
            rows[at] = (slot.number, region_hash(piece.region), print_)
            at += 1
    return rows.tobytes()


def _is_claimed(slot: Slot, plain_group: Sequence[int]) -> bool:
    """Even a plain tensor that nobody else is known to hold is claimed: another group may have its path too."""
    leaf = slot.leaf
    if leaf.replicas is None:
        return True
    return leaf.claimed and len(leaf.replicas) > 1 and len(plain_group) > 0


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


