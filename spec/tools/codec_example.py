"""Computes the worked example of chapter 11 from the chapter's own definition, and keeps the chapter's copy current.

    python spec/tools/codec_example.py           # rewrite the example in 11-codecs.md
    python spec/tools/codec_example.py --check   # fail if the example there is another

The zstd frames are put together here by hand from RFC 8878 (one run-length block each), so that the bytes do not depend
on the version of a compression library.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DECODED", "ENCODED", "example_text", "main"]

CHAPTER = Path(__file__).resolve().parent.parent / "11-codecs.md"
BEGIN, END = "<!-- computed: planes example -->\n", "<!-- end of computed -->\n"
ITEM = 4
DECODED = b"".join(struct.pack("<f", 1 + i / 32) for i in range(32)) + b"\xaa\xbb"
"""32 numbers of F32 and two bytes more, as the last block of a shard can end within an item."""


def run_length_frame(value: int, count: int) -> bytes:
    """A zstd frame of ``count`` (below 256) equal bytes: magic, single-segment descriptor, content size, one block."""
    descriptor = 0x20  # single segment, one byte of content size, no checksum, no dictionary
    block = count << 3 | 1 << 1 | 1  # block size, type 1 = run length, last block
    return struct.pack("<IBB", 0xFD2FB528, descriptor, count) + block.to_bytes(3, "little") + bytes([value])


def encode() -> tuple[list[tuple[str, bytes]], bytes]:
    """Labelled parts of the encoded block, and the block."""
    items = len(DECODED) // ITEM
    headers, planes = [], []
    for plane in range(ITEM):
        column = DECODED[plane : items * ITEM : ITEM]
        equal = len(set(column)) == 1
        data = run_length_frame(column[0], items) if equal else column
        header = struct.pack("<BQ", int(equal), len(data))
        headers.append((f"plane {plane}: mode {int(equal)}, length {len(data)}", header))
        planes.append((f"plane {plane}: " + (f"zstd frame of {items} times {column[0]:02x}" if equal else "raw"), data))
    parts = [*headers, *planes, ("tail", DECODED[items * ITEM :])]
    return parts, b"".join(data for _, data in parts)


ENCODED = encode()[1]


def example_text() -> str:
    """The example as it stands in the chapter, between its two markers."""
    rows = [f"decoded, {len(DECODED)} bytes:"]
    rows += [f"  {DECODED[at : at + 32].hex(' ', 4)}" for at in range(0, len(DECODED), 32)]
    rows.append(f"encoded, {len(ENCODED)} bytes:")
    at = 0
    for label, data in encode()[0]:
        for start in range(0, len(data), 16):
            note = label if start == 0 else ""
            rows.append(f"  {at + start:>3}  {data[start : start + 16].hex(' '):<48} {note}".rstrip())
        at += len(data)
    return BEGIN + "\n```\n" + "\n".join(rows) + "\n```\n\n" + END


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites or checks the chapter; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compute the example of chapter 11.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the chapter has another example")
    options = parser.parse_args(arguments)
    text = CHAPTER.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    fresh = head + example_text() + rest.split(END)[1]
    if options.check:
        if fresh != text:
            print("11-codecs.md: the example is stale; run python spec/tools/codec_example.py")
        return int(fresh != text)
    CHAPTER.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
