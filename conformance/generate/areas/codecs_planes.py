"""Planes of bytes, raw and compressed (section 11.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...oracle.encode import Draft, Object, Shard
from ...oracle.encode_frame import plain_frame
from ..case import Case
from ..drafts import B, content, one
from ..drafts_b import cut, filled, grid, region_case, run
from ..forms import accepted, refused
from ..frames import CHECKED, MIXED, SKEWED, TEXT
from ..odd_frames import frame, raw
from .codecs_zstd import WINDOW, coded, stored

__all__ = ["cases", "planes", "table"]

Plane = tuple[int, bytes]
"""Mode and data."""
VALID = ["SCF-CODEC-002", "SCF-CODEC-010", "SCF-CODEC-007"]


def planes(item: int, modes: str | None = None) -> Callable[[bytes], bytes]:
    """An encoder: per plane ``r`` raw or ``z`` a frame, over and over; None: all raw."""

    def encode(block: bytes) -> bytes:
        return table(_split(block, item, modes or "r"), _tail(block, item))

    return encode


def table(parts: Sequence[Plane], tail: bytes = b"") -> bytes:
    """An encoded block of these planes."""
    heads = b"".join(struct.pack("<BQ", mode, len(data)) for mode, data in parts)
    return heads + b"".join(data for _, data in parts) + tail


def _split(block: bytes, item: int, modes: str) -> list[Plane]:
    rows = len(block) // item
    found = [block[at : rows * item : item] for at in range(item)]
    chosen = [modes[at % len(modes)] for at in range(item)]
    return [(1, plain_frame(each)) if mode == "z" else (0, each) for mode, each in zip(chosen, found, strict=True)]


def _tail(block: bytes, item: int) -> bytes:
    return block[len(block) // item * item :]


def _chain(item: Any, **more: Any) -> tuple[Mapping[str, Any], ...]:
    return ({"id": "planes", "item": item, **more},)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for item in (2, 4, 8):
        for name, modes in (("raw", "r"), ("compressed", "z"), ("mixed", "rz"), ("mixed-otherwise", "zr")):
            yield _valid(
                f"{name}-of-{item}",
                f"Items of {item} bytes, planes {name}",
                coded(content(5000, item), planes(item, modes), chain=_chain(item)),
            )
        for extra in sorted({1, item - 1}):
            size = 512 + extra
            yield _valid(
                f"tail-{extra}-of-{item}",
                f"A tail of {extra} of {item} bytes",
                coded(content(size, 20 + item), planes(item, "zr"), chain=_chain(item)),
            )
        yield _valid(
            f"tail-alone-of-{item}",
            f"Fewer bytes than an item of {item} has: the tail alone",
            coded(content(item - 1, 30 + item), planes(item), chain=_chain(item)),
        )
        yield _valid(
            f"one-item-of-{item}",
            f"One item of {item} bytes, in planes of one byte",
            coded(content(item, 40 + item), planes(item, "zr"), chain=_chain(item)),
        )
    yield from _real()
    yield from _shards()
    yield from _refused()


def _valid(name: str, title: str, draft: Draft, requirements: Sequence[str] = VALID) -> Case:
    return accepted(f"codecs-planes-{name}", title, requirements, draft, read=True)


def _real() -> Iterator[Case]:
    numbers = struct.pack("<32f", *(1 + at / 32 for at in range(32))) + b"\xaa\xbb"
    yield _valid("example", "The example of section 11.4", coded(numbers, planes(4, "zzrz"), chain=_chain(4)))
    four = [TEXT, SKEWED, MIXED, CHECKED]
    decoded = b"".join(map(bytes, zip(*(each.content for each in four), strict=True)))
    yield _valid(
        "real-frames",
        "Four planes of 4096 bytes, each a frame of another make",
        stored(decoded, table([(1, each.data) for each in four]), chain=_chain(4)),
    )
    small = content(500, 7)
    odd = frame([raw(small[:200]), raw(small[200:]), raw(b"")], 500, window=WINDOW, dictionary=bytes(2))
    pair = b"".join(map(bytes, zip(small, small[::-1], strict=True)))
    yield _valid(
        "odd-frame",
        "A plane in a frame with the largest window, a Dictionary_ID of 0 and an empty last block",
        stored(pair, table([(1, odd), (0, small[::-1])]), chain=_chain(2)),
    )


def _shards() -> Iterator[Case]:
    w = filled("w", "F32", (70, 100))
    cuts = cut((70, 100), 1001, 3500)
    shards = tuple(Shard(0, each, codec=1, encode=planes(4, "rz")) for each in cuts)
    whole = one(w, B, shards=(*shards, Shard(1)), codecs=((), _chain(4)))
    yield _valid("blocks", "Shards of several blocks, the last ones short", whole)
    yield region_case(
        "codecs-planes-regions",
        "Regions of shards in planes",
        ["SCF-CODEC-002", "SCF-READ-001"],
        whole,
        [run((70, 100), 999, 1003), *cut((70, 100), 1024, 2025, 2026), *grid([35, 70], [33, 100])],
    )
    other = tuple(Shard(0, each, codec=1, encode=planes(8, "zr")) for each in cuts)
    yield _valid(
        "other-item",
        "Items of eight bytes for elements of four: a reader uses the parameter",
        one(w, shards=other, codecs=((), _chain(8))),
    )
    level = _chain(2, level=9, **{"x-acme": {"a": [1]}})
    yield _valid(
        "parameters",
        "A level, and a parameter that nobody knows",
        coded(content(900), planes(2, "z"), chain=level),
        ["SCF-CONV-007", "SCF-CODEC-002"],
    )
    sizes = tuple(Shard(0, each, codec=1 + at, encode=planes(2 << at, "zr")) for at, each in enumerate(cuts))
    chains = ((), _chain(2), _chain(4), _chain(8))
    yield _valid("three-chains", "One tensor in shards of three chains", one(w, shards=sizes, codecs=chains))
    big = filled("w", "F64", (3000,))
    yield _valid(
        "large-block",
        "A block of 24000 bytes below a block size of 1 GiB",
        one(
            big,
            shards=(Shard(0, codec=1, encode=planes(8, "rz")),),
            objects=(Object(block=1 << 30),),
            codecs=((), _chain(8)),
        ),
    )


def _refused() -> Iterator[Case]:
    data = content(403, 11)
    rows = 100
    good = _split(data, 4, "rz")
    tail = data[400:]
    encoded = table(good, tail)
    short, long = good[0][1][:-1], good[0][1] + b"x"

    def head(number: int, mode: int, length: int) -> bytes:
        return encoded[: 9 * number] + struct.pack("<BQ", mode, length) + encoded[9 * number + 9 :]

    faults: dict[str, tuple[str, bytes]] = {
        "mode-2": ("The first plane has the mode 2.", head(0, 2, rows)),
        "mode-255": ("The last plane has the mode 255.", head(3, 255, len(good[3][1]))),
        "raw-short": ("The first plane is raw and has 99 bytes.", table([(0, short), *good[1:]], tail)),
        "raw-long": ("The first plane is raw and has 101 bytes.", table([(0, long), *good[1:]], tail)),
        "raw-short-tail-long": (
            "The first plane is raw and has 99 bytes, the tail has one more.",
            table([(0, short), *good[1:]], b"x" + tail),
        ),
        "raw-lengths-cancel": (
            "The first plane is raw and has 99 bytes, the third one has 101.",
            table([(0, short), good[1], (0, good[2][1] + b"x"), good[3]], tail),
        ),
        "compressed-as-raw": ("A compressed plane has the mode 0.", head(1, 0, len(good[1][1]))),
        "raw-as-compressed": ("A raw plane has the mode 1.", head(0, 1, rows)),
        "length-over-end": ("A length goes over the end of the block.", head(3, 1, len(good[3][1]) + 4)),
        "length-huge": ("A length is 2^64 - 1.", head(1, 1, 2**64 - 1)),
        "length-wraps": (
            "A length is so large that the sum of all is right modulo 2^64.",
            _wrapped(encoded),
        ),
        "length-short": ("The length of a frame is one less than it has.", head(3, 1, len(good[3][1]) - 1)),
        "tail-missing": ("The tail is missing.", encoded[:-3]),
        "tail-short": ("The tail has two bytes.", encoded[:-1]),
        "tail-long": ("The tail has four bytes.", encoded + b"x"),
        "headers-cut-off": ("The block ends within the headers.", encoded[:35]),
        "one-byte": ("One byte is stored.", b"\0"),
        "as-it-is": ("The bytes are stored as they are, without headers.", data),
        "other-item": ("The block was encoded for items of two bytes.", planes(2)(data)),
        "plane-missing": ("The last plane is missing.", table(good[:3], tail)),
        "plane-more": ("There is a fifth plane.", table([*good, good[0]], tail)),
        **{name: (fault, table([good[0], (1, made), *good[2:]], tail)) for name, (fault, made) in _frames().items()},
    }  # fmt: skip
    for name, (fault, made) in faults.items():
        yield _bad(name, fault, "codecs-planes-tail-3-of-4", stored(data, made, chain=_chain(4)))
    few = content(3, 12)
    nothing: dict[str, tuple[str, bytes]] = {
        "empty-compressed": (
            "A plane of no bytes is an empty frame.",
            table([(1, plain_frame(b"")), (0, b""), (0, b""), (0, b"")], few),
        ),
        "empty-mode-1": ("A plane of no bytes has the mode 1.", table([(1, b""), *[(0, b"")] * 3], few)),
        "empty-raw-byte": ("A plane of no bytes has one.", table([(0, b"x"), *[(0, b"")] * 3], few)),
        "empty-tail-in-plane": (
            "The bytes of the tail are in a plane that has none.",
            table([(0, few), *[(0, b"")] * 3]),
        ),
    }
    for name, (fault, made) in nothing.items():
        yield _bad(name, fault, "codecs-planes-tail-alone-of-4", stored(few, made, chain=_chain(4)))


def _wrapped(encoded: bytes) -> bytes:
    """The second length is 2^64 less 50, the third one so much more that the sum is as before."""
    second = struct.unpack_from("<Q", encoded, 10)[0]
    third = struct.unpack_from("<Q", encoded, 19)[0]
    changed = bytearray(encoded)
    struct.pack_into("<Q", changed, 10, 2**64 - 50)
    struct.pack_into("<Q", changed, 19, second + third + 50)
    return bytes(changed)


def _frames() -> dict[str, tuple[str, bytes]]:
    """Frames that are none for a plane of 100 bytes."""
    data = content(100)
    return {
        "frame-size-less": ("A frame states 99 bytes for a plane of 100.", frame([raw(data)], 99)),
        "frame-of-99": ("A frame is for 99 bytes, and the plane has 100.", plain_frame(content(99))),
        "frame-of-101": ("A frame is for 101 bytes, and the plane has 100.", plain_frame(content(101))),
        "frame-trailing-byte": ("A byte follows the frame of a plane.", plain_frame(data) + b"x"),
        "frame-without-size": ("The frame of a plane has no content size.", frame([raw(data)], None, window=0)),
        "frame-dictionary": ("The frame of a plane names a dictionary.", frame([raw(data)], 100, dictionary=b"\7")),
        "frame-window": ("The frame of a plane has a window above 2^27.", frame([raw(data)], 100, window=WINDOW | 1)),
        "two-frames": ("The plane is in two frames.", plain_frame(data[:50]) + plain_frame(data[50:])),
        "frame-cut-off": ("The frame of a plane is cut off.", plain_frame(data)[:-1]),
        "no-frame": ("A compressed plane has no bytes.", b""),
    }


def _bad(name: str, fault: str, sibling: str, draft: Draft) -> Case:
    requirements = ["SCF-CODEC-010", "SCF-CODEC-007"]
    if "frame" in name:
        requirements = ["SCF-CODEC-009", *requirements]
    title = f"No block of planes: {name}"
    return refused(
        f"codecs-planes-refused-{name}", title, fault, "block.codec", requirements, sibling, draft, op="read"
    )
