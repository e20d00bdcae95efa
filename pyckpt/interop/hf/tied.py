"""Tensors that a model ties and a checkpoint holds twice: one of them is enough if they are equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyckpt.engine.buffers import staging
from pyckpt.errors import Finding
from pyckpt.interop.hf.names import Chosen, Leaf
from pyckpt.interop.hf.plan import Weight

__all__ = ["settle_copies"]

PIECE_BYTES = 8 << 20

Read = Callable[[Sequence[tuple[Weight, int, int, memoryview]]], None]
"""Fills memory with elements of tensors."""


def settle_copies(
    chosen: Chosen, weight_of: Callable[[Leaf], Weight], read: Read, item: str
) -> tuple[Chosen, list[Finding]]:
    """Drops every copy whose bytes are those of the tensor that it is tied to; a finding for each that differs."""
    findings = []
    aliases = dict(chosen.aliases)
    dropped: set[Leaf] = set()
    for copy, main in chosen.copies:
        if _equal(weight_of(copy), weight_of(main), read):
            dropped.add(copy)
            aliases[copy.name] = main.name
            continue
        findings.append(
            Finding(
                "state.mismatch",
                f"{item}/{copy.name}",
                f"tied: the config ties it to {main.name!r}, and the checkpoint has other values for each; "
                "a config with tie_word_embeddings=false keeps both",
            )
        )
    kept = tuple(leaf for leaf in chosen.leaves if leaf not in dropped)
    return Chosen(kept, aliases, ()), findings


def _equal(one: Weight, other: Weight, read: Read) -> bool:
    """Whether two tensors have the same stored bytes, read a piece at a time."""
    if one.stored != other.stored or one.shape != other.shape:
        return False
    total = one.stored_bytes
    step = max(8, one.elements * PIECE_BYTES // max(1, total) // 8 * 8)
    with staging.buffer(2 * PIECE_BYTES) as buffer:
        for start in range(0, one.elements, step):
            stop = min(start + step, one.elements)
            size = total * (stop - start) // one.elements
            left, right = buffer[:size], buffer[PIECE_BYTES : PIECE_BYTES + size]
            read([(one, start, stop, left), (other, start, stop, right)])
            if left != right:
                return False
    return True
