"""Small blocks that claim or unfold to large ones, within a bound of memory (SCF-CODEC-008)."""

from __future__ import annotations

from collections.abc import Iterator

from ...oracle.encode import Shard, Tensor
from ..case import Case
from ..drafts import ZSTD, B, content, one
from ..forms import accepted, refused
from ..odd_frames import frame, raw, repeated
from .codecs_planes import table
from .codecs_zstd import WINDOW, stored

__all__ = ["cases"]

MEMORY = 64 << 20
BLOCK = 4096
PLANES = ({"id": "planes", "item": 2},)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    data = bytes(BLOCK)
    flood = [repeated(0, 1 << 17)] * 1200
    claims = frame(flood, 1200 << 17)
    least = frame(flood, BLOCK, window=WINDOW)
    faults: dict[str, tuple[str, bytes, str]] = {
        "zstd": ("The frame states 4096 bytes and unfolds to 150 MiB.", least, "zstd"),
        "zstd-honest": ("The frame states 150 MiB and unfolds to them, for a block of 4096 bytes.", claims, "zstd"),
        "zstd-one-segment": (
            "The frame is one segment of 2^40 bytes, says its header.", frame([raw(data)], 1 << 40), "zstd",
        ),
        "zstd-largest": ("The frame states 2^64 - 2 bytes.", frame([raw(data)], 2**64 - 2, window=WINDOW), "zstd"),
        "plane": (
            "The frame of a plane states 2048 bytes and unfolds to 75 MiB.",
            table([(1, frame(flood[:600], 2048, window=WINDOW)), (0, bytes(2048))]), "planes",
        ),
        "plane-honest": (
            "The frame of a plane of 2048 bytes states 75 MiB and unfolds to them.",
            table([(1, frame(flood[:600], 600 << 17)), (0, bytes(2048))]), "planes",
        ),
        "plane-one-segment": (
            "The frame of a plane is one segment of 2^40 bytes, says its header.",
            table([(1, frame([raw(bytes(2048))], 1 << 40)), (0, bytes(2048))]), "planes",
        ),
        "plane-length": (
            "The first plane has 2^40 bytes, says its header.",
            (1).to_bytes(1, "little") + (1 << 40).to_bytes(8, "little") + table([(0, bytes(2048))], bytes(2048)),
            "planes",
        ),
    }  # fmt: skip
    for name, (fault, encoded, codec) in faults.items():
        yield refused(
            f"codecs-bomb-{name}",
            f"A small block that claims a large one: {name}",
            fault,
            "block.codec",
            ["SCF-CODEC-008", "SCF-CODEC-007", "SCF-CONV-004"],
            "codecs-zstd-window-of-2-27",
            stored(data, encoded, chain=(ZSTD,) if codec == "zstd" else PLANES),
            op="read",
            memory=MEMORY,
        )
    windows = Tensor("w", "U8", (16 * BLOCK,), content(16 * BLOCK))
    shards = (Shard(1), Shard(0, codec=1, encode=lambda block: frame([raw(block)], BLOCK, window=WINDOW)))
    yield accepted(
        "codecs-bomb-no-window",
        "16 blocks of 4096 bytes that each ask for a window of 128 MiB, and do not need it",
        ["SCF-CODEC-002"],
        one(windows, B, shards=shards, codecs=((), (ZSTD,))),
        read=True,
        memory=MEMORY,
    )
