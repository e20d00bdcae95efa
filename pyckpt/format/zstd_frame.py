"""Exactly one Zstandard frame of known size: how manifests and encoded blocks are compressed."""

from __future__ import annotations

from typing import Final

import zstandard

from pyckpt.limits import MAX_ZSTD_WINDOW

__all__ = ["FrameError", "compress_frame", "decompress_frame"]

_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class FrameError(Exception):
    """The bytes are not one frame of the expected size; the caller says which code that is."""


def compress_frame(data: bytes | bytearray | memoryview, level: int) -> bytes:
    """One frame with the content size in its header and no checksum: digests cover the stored bytes."""
    return zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False).compress(data)


def decompress_frame(data: bytes | bytearray | memoryview, size: int) -> bytes:
    """The ``size`` bytes, at least 1, that the frame holds.

    Raises FrameError unless ``data`` is one frame, nothing before or after it, that states this size in its header,
    needs no dictionary, and a window of at most 128 MiB. Nothing is allocated before that.
    """
    if bytes(data[:4]) != _MAGIC:
        # also refuses skippable frames, which get_frame_parameters accepts
        raise FrameError("does not begin with the magic number of a frame")
    try:
        header = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise FrameError(f"has a malformed frame header: {error}") from None
    if header.content_size != size:
        unknown = header.content_size >= 2**64 - 2
        found = "no content size" if unknown else f"a content size of {header.content_size}"
        raise FrameError(f"states {found}, expected {size}")
    if header.dict_id:
        raise FrameError(f"needs dictionary {header.dict_id}")
    if header.window_size > MAX_ZSTD_WINDOW:
        raise FrameError(f"needs a window of {header.window_size} bytes, at most {MAX_ZSTD_WINDOW}")
    if size == 0:
        return _nothing(data)
    try:
        result = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompress(
            data, allow_extra_data=False, read_across_frames=False
        )
    except zstandard.ZstdError as error:
        raise FrameError(f"can't be decompressed, or is followed by something else: {error}") from None
    except MemoryError:
        raise FrameError(f"states a size of {size} bytes, which there is no memory for") from None
    if len(result) != size:
        raise FrameError(f"holds {len(result)} bytes, expected {size}")
    return result


def _nothing(data: bytes | bytearray | memoryview) -> bytes:
    """The content of a frame without any: the one-call decoder stops at the stated size, and looks no further."""
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
    try:
        result = decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise FrameError(f"can't be decompressed: {error}") from None
    if result or not decoder.eof or decoder.unused_data:
        raise FrameError("is not one frame without content")
    return b""
