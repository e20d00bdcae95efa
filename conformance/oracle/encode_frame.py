"""Zstandard frames of raw and repeated blocks (RFC 8878): the same bytes whatever library is installed."""

from __future__ import annotations

from typing import Final

__all__ = ["plain_frame"]

_MAGIC: Final = bytes.fromhex("28b52ffd")
_BLOCK: Final = 128 * 1024


def plain_frame(data: bytes, *, states: int | None = None) -> bytes:
    """A plain frame (section 11.3) for ``data``: one segment, no compression but of constant blocks.

    ``states`` is a content size other than the right one, for frames that lie.
    """
    size = len(data) if states is None else states
    if size < 256:
        header = bytes([0x20, size])
    elif size < 65536 + 256:
        header = b"\x60" + (size - 256).to_bytes(2, "little")
    elif size < 1 << 32:
        header = b"\xa0" + size.to_bytes(4, "little")
    else:
        header = b"\xe0" + size.to_bytes(8, "little")
    pieces = [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)] or [b""]
    blocks = (_block(piece, last=number == len(pieces) - 1) for number, piece in enumerate(pieces))
    return _MAGIC + header + b"".join(blocks)


def _block(piece: bytes, *, last: bool) -> bytes:
    repeated = len(piece) > 4 and piece.count(piece[0]) == len(piece)
    head = int(last) | (1 if repeated else 0) << 1 | len(piece) << 3
    return head.to_bytes(3, "little") + (piece[:1] if repeated else piece)
