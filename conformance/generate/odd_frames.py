"""Zstandard frames by hand, block by block (RFC 8878): valid ones that libraries never make, and broken ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Block", "frame", "literals", "match", "raw", "repeated"]

MAGIC: Final = bytes.fromhex("28b52ffd")


@dataclass(frozen=True)
class Block:
    """A block of a frame: type 0 raw, 1 repeated, 2 compressed, 3 reserved."""

    kind: int
    body: bytes
    size: int
    """Block_Size: of a repeated block the bytes that it decodes to."""


def raw(data: bytes) -> Block:
    """A block of these bytes as they are."""
    return Block(0, data, len(data))


def repeated(byte: int, count: int) -> Block:
    """A block of one byte, repeated."""
    return Block(1, bytes([byte]), count)


def literals(byte: int, count: int) -> Block:
    """A compressed block of literals alone: one byte, repeated up to 4095 times."""
    body = (1 | 1 << 2 | count << 4).to_bytes(2, "little") + bytes([byte, 0])
    return Block(2, body, len(body))


def match(start: bytes, code: int, extra: int, length: int) -> Block:
    """A compressed block of some literals (less than 16) and one match; its offset is 2^code + extra - 3."""
    body = bytes([len(start) << 3]) + start + bytes([1, 0x54, len(start), code, length - 3])
    return Block(2, stream := body + (1 << code | extra).to_bytes(code // 8 + 1, "little"), len(stream))


def frame(
    blocks: Sequence[Block],
    size: int | None,
    *,
    width: int = 8,
    window: int | None = None,
    dictionary: bytes = b"",
    descriptor: int = 0,
    last: bool = True,
) -> bytes:
    """A frame of these blocks: ``size`` its content size, in ``width`` bytes; None: absent.

    ``window`` is the byte of the window descriptor; None: a single segment. ``descriptor`` has further bits of the
    frame header descriptor; ``last`` False leaves the last block without its mark.
    """
    flags = (0 if size is None else {1: 0, 2: 1, 4: 2, 8: 3}[width] << 6) | descriptor
    flags |= (0x20 if window is None else 0) | {0: 0, 1: 1, 2: 2, 4: 3}[len(dictionary)]
    head = bytes([flags]) + (b"" if window is None else bytes([window])) + dictionary
    if size is not None:
        head += (size - 256 if width == 2 else size).to_bytes(width, "little")
    body = b""
    for number, block in enumerate(blocks):
        mark = int(last and number == len(blocks) - 1)
        body += (mark | block.kind << 1 | block.size << 3).to_bytes(3, "little") + block.body
    return MAGIC + head + body
