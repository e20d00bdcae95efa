"""Frames that are plain, as libraries make them and as they do not (section 11.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...oracle.encode import Draft, Object, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ..case import Case
from ..drafts import ZSTD, B, content, one
from ..drafts_b import cut, filled, region_case, run
from ..forms import accepted
from ..frames import FRAMES, LONG, TEXT
from ..odd_frames import frame, literals, match, raw, repeated

__all__ = ["WINDOW", "cases", "coded", "stored"]

PLAIN = ["SCF-CODEC-009", "SCF-CODEC-002", "SCF-CODEC-007"]
WINDOW = 17 << 3
"""The window descriptor of 2^27 bytes, the largest."""
Chain = tuple[Mapping[str, Any], ...]


def coded(
    data: bytes, encode: Callable[[bytes], bytes], *, chain: Chain = (ZSTD,), block: int = 4096, **changes: Any
) -> Draft:
    """A tensor ``w`` of these bytes in one encoded shard, and ``b`` as it is."""
    shards = (Shard(1), Shard(0, codec=1, encode=encode))
    w = Tensor("w", "U8", (len(data),), data)
    return one(w, B, shards=shards, objects=(Object(block=block),), codecs=((), chain), **changes)


def stored(data: bytes, encoded: bytes, *, chain: Chain = (ZSTD,)) -> Draft:
    """The same, of one block, with these stored bytes."""
    return coded(data, lambda _: encoded, chain=chain, block=max(4096, 1 << (len(data) - 1).bit_length()))


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _real()
    yield from _odd()
    yield from _shards()


def _valid(name: str, title: str, draft: Draft, requirements: Sequence[str] = PLAIN, **members: Any) -> Case:
    return accepted(f"codecs-zstd-{name}", title, requirements, draft, read=True, **members)


def _real() -> Iterator[Case]:
    titles = {
        "text": "Huffman literals, and sequences with tables of their own",
        "checked": "A content checksum",
        "windowed": "Four blocks under a window of 1 KiB, tables used again, a checksum",
        "predefined": "Four blocks, predefined tables for lengths",
        "skewed": "Literals in four streams, no sequences",
        "mixed": "Compressed, repeated and raw blocks in one frame",
        "uniform": "Sequences whose codes are one repeated symbol each",
        "long": "256 KiB in two blocks of 128 KiB",
    }
    for name, made in FRAMES.items():
        yield _valid(f"real-{name}", titles[name], stored(made.content, made.data))


def _odd() -> Iterator[Case]:
    data = content(700)
    small = content(100, 2)
    parts = [raw(data[:300]), raw(data[300:])]
    mixed = data[:5] + b"a" * 500 + b"b" * 195
    made: dict[str, tuple[str, bytes, bytes]] = {
        "size-of-1-byte": ("A content size of one byte", small, frame([raw(small)], 100, width=1)),
        "size-of-2-bytes": ("A content size of two bytes", data, frame(parts, 700, width=2)),
        "size-of-4-bytes": ("A content size of four bytes for a small content", data, frame(parts, 700, width=4)),
        "size-of-8-bytes": ("A content size of eight bytes for a small content", data, frame(parts, 700)),
        "least-window": ("A window of 1 KiB, the smallest", data, frame(parts, 700, window=0)),
        "window-of-2-27": ("A window of 2^27 bytes, the largest", data, frame(parts, 700, window=WINDOW)),
        "window-below-2-27": (
            "A window of 2^26 and seven eighths of that", data, frame(parts, 700, window=16 << 3 | 7),
        ),
        "dictionary-0-in-1-byte": ("A Dictionary_ID of 0 in one byte", data, frame(parts, 700, dictionary=bytes(1))),
        "dictionary-0-in-2-bytes": ("A Dictionary_ID of 0 in two bytes", data, frame(parts, 700, dictionary=bytes(2))),
        "dictionary-0-in-4-bytes": (
            "A Dictionary_ID of 0 in four bytes, and a window", data, frame(parts, 700, dictionary=bytes(4), window=8),
        ),
        "empty-last-block": ("A last block without bytes", data, frame([*parts, raw(b"")], 700)),
        "empty-blocks": (
            "Empty blocks before, between and behind", data,
            frame([raw(b""), parts[0], raw(b""), parts[1], repeated(0, 0)], 700),
        ),
        "blocks-of-one-byte": (
            "A block for each byte", small, frame([raw(small[at : at + 1]) for at in range(100)], 100),
        ),
        "repeated-literals": (
            "A compressed block of one repeated literal, among others", mixed,
            frame([raw(data[:5]), literals(0x61, 500), repeated(0x62, 195)], 700),
        ),
        "match": (
            "A block with one match into the block before", b"0123abcd3abcd3a",
            frame([raw(b"0123"), raw(b"abcd"), match(b"", 3, 0, 7)], 15),
        ),
        "unused-bit": ("The unused bit of the frame header is set", data, frame(parts, 700, descriptor=0x10)),
    }  # fmt: skip
    for name, (title, decoded, encoded) in made.items():
        yield _valid(name, title, stored(decoded, encoded))


def _shards() -> Iterator[Case]:
    long = TEXT.content + content(1000, 3)
    yield _valid(
        "two-blocks",
        "A compressed block and a short last one of raw bytes",
        coded(long, lambda block: TEXT.data if block == TEXT.content else plain_frame(block)),
    )
    yield _valid(
        "short-last-block",
        "Three blocks, the last one of one byte",
        coded(content(8193), plain_frame),
    )
    shape = (70, 100)
    w = filled("w", "F32", shape)
    cuts = cut(shape, 1, 3000)
    some = tuple(
        Shard(0, region, codec=at % 2, encode=plain_frame if at % 2 else None) for at, region in enumerate(cuts)
    )
    partly = one(w, shards=some, codecs=((), (ZSTD,)))
    yield _valid("some-shards", "A tensor with shards as they are and encoded ones", partly)
    yield region_case(
        "codecs-zstd-regions",
        "Regions of a tensor with shards as they are and encoded ones",
        ["SCF-CODEC-002", "SCF-READ-001"],
        partly,
        [run(shape, 0, 2), run(shape, 1020, 1030), run(shape, 2990, 3010), *cut(shape, 2049, 6999)],
    )
    levels = tuple(replace(each, codec=1 + at % 2, encode=plain_frame) for at, each in enumerate(some))
    chains: tuple[Chain, ...] = ((), ({"id": "zstd", "level": 3},), ({"id": "zstd", "level": -7},))
    yield _valid("levels", "Two chains of zstd with different levels", one(w, shards=levels, codecs=chains))
    unknown: Chain = ({"id": "zstd", "level": 3, "x-acme-window": 17, "note": ["a", {"b": None}], "item": 3},)
    yield _valid(
        "unknown-parameters",
        "Parameters that nobody knows are ignored",
        coded(TEXT.content, TEXT.encode, chain=unknown),
        ["SCF-CONV-007", "SCF-CODEC-002"],
    )

    def without(record: dict[str, Any]) -> None:
        del record["shards"]["columns"]["decoded_digest"]

    yield _valid(
        "without-decoded-digest",
        "Encoded shards without digests of their decoded bytes",
        coded(LONG.content, LONG.encode, block=1 << 18).with_item("model", record=without),
        ["SCF-CODEC-002", "SCF-DIG-020"],
    )
