"""Frames that are not plain, most of which common libraries accept; their digests are right (section 11.3)."""

from __future__ import annotations

from collections.abc import Iterator

from ...oracle.encode import Draft
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import content
from ..expect import read_values
from ..forms import dtypes, refused
from ..frames import CHECKED, MIXED, TEXT, WINDOWED
from ..odd_frames import Block, frame, literals, match, raw, repeated
from .codecs_zstd import WINDOW, stored

__all__ = ["CODEC", "cases"]

CODEC = ["SCF-CODEC-009", "SCF-CODEC-007"]
DATA = content(700)
HALVES = [raw(DATA[:300]), raw(DATA[300:])]
PLAIN = frame(HALVES, 700)
SKIPPABLE = bytes.fromhex("502a4d18") + b"\x04\0\0\0skip"

FAULTS: dict[str, tuple[str, bytes]] = {
    "trailing-byte": ("A byte follows the frame.", PLAIN + b"\0"),
    "two-frames": ("The bytes are in two frames.", frame(HALVES[:1], 300) + frame(HALVES[1:], 400)),
    "empty-frame-behind": ("A frame without content follows the frame.", PLAIN + frame([raw(b"")], 0)),
    "empty-frame-before": ("A frame without content comes before the frame.", frame([raw(b"")], 0) + PLAIN),
    "skippable-behind": ("A skippable frame follows the frame.", PLAIN + SKIPPABLE),
    "skippable-before": ("A skippable frame comes before the frame.", SKIPPABLE + PLAIN),
    "skippable-alone": ("There is a skippable frame and no other.", SKIPPABLE),
    "checksum-behind": ("Four bytes follow a frame that says it has no checksum.", TEXT.data + CHECKED.data[-4:]),
    "without-size": ("The frame does not state its content size.", frame(HALVES, None, window=0)),
    "size-less": ("The content size is one byte less than the content and the block have.", frame(HALVES, 699)),
    "size-more": ("The content size is one byte more than the content and the block have.", frame(HALVES, 701)),
    "size-zero": ("The content size is 0.", frame(HALVES, 0, window=0)),
    "size-huge": ("The content size is 2^64 - 1.", frame(HALVES, 2**64 - 1)),
    "content-less": ("The content has one byte less than frame and block say.", frame([raw(DATA[:-1])], 700)),
    "content-more": ("The content has one byte more than frame and block say.", frame([*HALVES, raw(b"x")], 700)),
    "content-none": ("The frame has an empty block and no other.", frame([raw(b"")], 700)),
    "both-less": ("Frame and content have one byte less than the block.", frame([raw(DATA[:-1])], 699)),
    "both-more": ("Frame and content have one byte more than the block.", frame([*HALVES, raw(b"x")], 701)),
    "both-double": ("Frame and content have twice the bytes of the block.", frame(HALVES * 2, 1400)),
    "dictionary-1-byte": ("The Dictionary_ID is 1, in one byte.", frame(HALVES, 700, dictionary=b"\1")),
    "dictionary-2-bytes": ("The Dictionary_ID is 256, in two bytes.", frame(HALVES, 700, dictionary=b"\0\1")),
    "dictionary-4-bytes": ("The Dictionary_ID is 2^31, in four bytes.", frame(HALVES, 700, dictionary=b"\0\0\0\x80")),
    "window-above-2-27": ("The window is 2^27 bytes and an eighth of that.", frame(HALVES, 700, window=WINDOW | 1)),
    "window-huge": ("The window is the largest that a frame can ask for.", frame(HALVES, 700, window=255)),
    "reserved-bit": ("The reserved bit of the frame header is set.", frame(HALVES, 700, descriptor=8)),
    "reserved-block": ("A block is of the reserved type.", frame([HALVES[0], Block(3, DATA[300:], 400)], 700)),
    "no-last-block": ("No block is marked as the last one.", frame(HALVES, 700, last=False)),
    "last-block-early": ("A block follows the last one.", frame(HALVES[:1], 700) + frame(HALVES[1:], 700)[13:]),
    "magic": ("The frame begins with the magic number of an older format.", b"\x27" + PLAIN[1:]),
    "no-frame": ("The bytes are stored as they are, without a frame.", DATA),
    "lz4": ("The bytes are in a frame of LZ4.", bytes.fromhex("04224d18604082") + b"\xbc\x02\0\x80" + DATA + bytes(4)),
    "one-byte": ("One byte is stored.", b"\x28"),
    "cut-in-magic": ("The frame ends after three bytes.", PLAIN[:3]),
    "cut-in-header": ("The frame ends within its header.", PLAIN[:8]),
    "cut-in-block-header": ("The frame ends within the header of a block.", PLAIN[:14]),
    "cut-in-block": ("The frame ends one byte early.", PLAIN[:-1]),
    "block-over-content": (
        "A repeated block goes over the end of the content, and the frame says so.",
        frame([raw(DATA[:300]), repeated(1, 1 << 17)], 700, window=WINDOW),
    ),
    "match-before-content": (
        "A match reaches back before the first byte of the content.",
        frame([raw(DATA[:8]), match(DATA[8:12], 10, 0, 34), raw(DATA[:654])], 700),
    ),
    "match-into-itself-only": (
        "The first block has a match and nothing before it.",
        frame([match(b"", 2, 0, 34), raw(DATA[34:])], 700),
    ),
    "literals-cut-off": (
        "A compressed block ends within its literals.",
        frame([Block(2, literals(1, 400).body[:2], 2), raw(DATA[400:])], 700),
    ),
    "match-cut-off": (
        "A compressed block ends within its sequences.",
        frame([raw(DATA[:666]), Block(2, match(b"", 9, 0, 34).body[:-1], len(match(b"", 9, 0, 34).body) - 1)], 700),
    ),
}  # fmt: skip


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for name, (fault, encoded) in FAULTS.items():
        yield refused(
            f"codecs-zstd-refused-{name}",
            f"No plain frame: {name}",
            fault,
            "block.codec",
            CODEC,
            "codecs-zstd-size-of-8-bytes",
            stored(DATA, encoded),
            op="read",
        )
    blocks = WINDOWED.data[7:]
    first = 3 + (int.from_bytes(blocks[:3], "little") >> 3)
    real: dict[str, tuple[str, bytes, bytes]] = {
        "table-missing": (
            "The first block uses the Huffman table of a block before it.",
            WINDOWED.content[1024:],
            WINDOWED.data[:5] + (3072 - 256).to_bytes(2, "little") + blocks[first:],
        ),
        "checksum-missing": ("The checksum is cut off.", CHECKED.content, CHECKED.data[:-4]),
        "checksum-cut-off": ("The checksum has three bytes.", CHECKED.content, CHECKED.data[:-1]),
        "compressed-cut-off": ("A compressed block is cut off.", TEXT.content, TEXT.data[:-1]),
        "block-missing": ("The last block is missing.", MIXED.content, MIXED.data[: -1024 - 3]),
    }
    for name, (fault, decoded, encoded) in real.items():
        yield refused(
            f"codecs-zstd-refused-{name}", f"No plain frame: {name}", fault, "block.codec", CODEC,
            "codecs-zstd-real-checked", stored(decoded, encoded), op="read",
        )  # fmt: skip
    wrong = stored(CHECKED.content, CHECKED.data[:-1] + bytes([CHECKED.data[-1] ^ 1]))
    yield _either(
        "wrong-checksum", "A wrong content checksum: a reader may skip it, because the block has its digest", wrong
    )
    data = content(2000)
    yield _either(
        "block-above-window",
        "A raw block of 2000 bytes under a window of 1 KiB, which the RFC forbids and common libraries accept",
        stored(data, frame([raw(data)], 2000, window=0)),
    )


def _either(name: str, title: str, draft: Draft) -> Case:
    """The block is decoded, or refused."""
    values = read_values(draft.items["model"])
    return Case(
        f"codecs-zstd-{name}",
        title,
        CODEC,
        "read",
        [step("read", [ok(**values), rejected("block.codec")])],
        kind="acceptable",
        files=checkpoint(draft),
        options=dtypes(draft),
    )
