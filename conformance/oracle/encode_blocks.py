"""Encoding of blocks by the chains of 1.0 (chapter 11), with a real compressor."""

from __future__ import annotations

from collections.abc import Mapping

import zstandard

from .dtypes import DTYPES

Chain = tuple[Mapping[str, str | int], ...]
LEVEL = 3


def chain_for(codec: str, dtype: str) -> Chain:
    """The chain for a codec of the protocol: planes takes the item of the dtype, and is none where there is none."""
    if codec == "zstd":
        return ({"id": "zstd", "level": LEVEL},)
    item = DTYPES[dtype].item
    if codec == "planes" and item > 1:
        return ({"id": "planes", "item": item, "level": LEVEL},)
    return ()


def encode_block(chain: Chain, block: bytes) -> bytes:
    """The stored bytes of one block."""
    if not chain:
        return block
    (codec,) = chain
    return compressed(block) if codec["id"] == "zstd" else _planes(block, int(codec["item"]))


def compressed(data: bytes) -> bytes:
    """One plain frame (section 11.3)."""
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress(data)


def _planes(block: bytes, item: int) -> bytes:
    """The byte planes of section 11.4, each stored in the shorter of its two modes."""
    rows = len(block) // item
    head, body = b"", b""
    for plane in range(item):
        raw = block[plane : rows * item : item]
        frame = compressed(raw) if rows else raw
        mode, data = (1, frame) if len(frame) < len(raw) else (0, raw)
        head += bytes([mode]) + len(data).to_bytes(8, "little")
        body += data
    return head + body + block[rows * item :]
