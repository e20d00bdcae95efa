"""The plain frame of sections 7.1 and 11.3: exactly one Zstandard frame, bounded before it is decompressed."""

from __future__ import annotations

from dataclasses import dataclass

import zstandard

from .limits import MAX_ZSTD_WINDOW

MAGIC = b"\x28\xb5\x2f\xfd"
_MAX_BLOCK = 128 * 1024
_RAW, _RLE, _COMPRESSED = 0, 1, 2


class FrameFault(ValueError):
    """The bytes are not one plain frame for the size that they stand for."""


@dataclass(frozen=True)
class FrameHeader:
    """What the header of a frame says, and where its blocks begin."""

    content_size: int
    window: int
    checksum: bool
    blocks_at: int


def decompress(data: bytes, size: int) -> bytes:
    """The content, of exactly `size` bytes (SCF-MAN-003, SCF-CODEC-007).

    One call into a buffer of `size` bytes: no history is allocated (SCF-CODEC-011), and nothing at all before the
    blocks have been found to be able to give that many bytes.
    """
    check(data, size)
    try:
        content = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameFault(f"the frame is damaged: {error}") from error
    if len(content) != size:
        raise FrameFault(f"{len(content)} bytes of content where {size} are needed")
    return content


def check(data: bytes, size: int) -> None:
    """Refuse what is no plain frame for `size` bytes, as far as headers tell, whatever a decompressor would say."""
    header = read_header(data)
    if header.content_size != size:
        raise FrameFault(f"a content size of {header.content_size} bytes where {size} are needed")
    if header.window > MAX_ZSTD_WINDOW:
        raise FrameFault(f"a window of {header.window} bytes")
    _check_blocks(data, header)


def read_header(data: bytes) -> FrameHeader:
    """The frame header of RFC 8878, section 3.1.1.1: a content size, and no dictionary."""
    if data[:4] != MAGIC:
        raise FrameFault("no Zstandard frame begins here")
    descriptor = _little(data, 4, 1)
    single = bool(descriptor & 0x20)
    if descriptor & 0x08:
        raise FrameFault("the reserved bit is set")
    at = 5
    window = 0
    if not single:
        byte = _little(data, at, 1)
        base = 1 << (10 + (byte >> 3))
        window = base + base // 8 * (byte & 7)
        at += 1
    dictionary = (0, 1, 2, 4)[descriptor & 3]
    if _little(data, at, dictionary):
        raise FrameFault("a dictionary is asked for")
    at += dictionary
    flag = descriptor >> 6
    width = (1 if single else 0, 2, 4, 8)[flag]
    if not width:
        raise FrameFault("the content size is absent")
    content_size = _little(data, at, width) + (256 if flag == 1 else 0)
    return FrameHeader(content_size, content_size if single else window, bool(descriptor & 4), at + width)


def _check_blocks(data: bytes, header: FrameHeader) -> None:
    """The blocks end where the bytes end, and can give the content size (SCF-MAN-002, SCF-CODEC-009)."""
    most = min(header.window, _MAX_BLOCK)
    at = header.blocks_at
    known = open_ended = 0
    last = False
    while not last:
        block = _little(data, at, 3)
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind > _COMPRESSED or size > most:
            raise FrameFault(f"the block at byte {at} is of no known type, or too large")
        at += 3 + (1 if kind == _RLE else size)
        if kind == _COMPRESSED:
            open_ended += most
        else:
            known += size
        if known > header.content_size:
            raise FrameFault("the blocks give more than the content size")
    if known + open_ended < header.content_size:
        raise FrameFault("the blocks give less than the content size")
    end = at + (4 if header.checksum else 0)
    if end != len(data):
        raise FrameFault("the frame is cut off" if end > len(data) else "something follows the frame")


def _little(data: bytes, at: int, width: int) -> int:
    part = data[at : at + width]
    if len(part) != width:
        raise FrameFault("the frame is cut off")
    return int.from_bytes(part, "little")
