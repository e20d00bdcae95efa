"""How a manifest is stored: descriptor, limits, one zstd frame (section 7.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ...oracle.encode import Draft, Record, manifest_key
from ...oracle.encode_frame import plain_frame
from ..case import Case, checkpoint, rejected, step
from ..drafts import STEP, scalars
from ..forms import accepted
from ..odd_frames import Block, frame, raw, repeated
from .man_common import bad

__all__ = ["cases"]

Encode = Callable[[bytes], bytes]
FRAME: Final = "manifest.frame"
PLAIN: Final = "manifest-frame-plain"
MIB: Final = 1024 * 1024
MAX_RAW: Final = 2048 * MIB
MAX_STORED: Final = MAX_RAW + 16 * MIB
COMPRESSED: Final = bytes.fromhex(
    "28b52ffd64fa003d0500f289221f90cf01fff8732eb83d57f247ab76bbc8a1c1779214ffff8617dfdcdde54602d6a943903ed62f0a55bf8b"
    "5bb7f562fbf390004a72d7aa90939fbf6dc9c9258036ae5ae44de34a9915f211407174291140c7ce297c4dd996c05357b6e3e65676aabffc"
    "40b77db3253fef2afb4b4e7d331e717f242649238b43dc42a986659ee3fc0af77f2d83c77ae80509004d746a03402c01341de38c0173c264"
    "3ee590195fb54b9d0154cc35bf"
)
"""The manifest of the base, compressed once by libzstd, with a checksum."""


def _base(**twists: Any) -> Draft:
    """An item of two scalars, with a manifest of some 500 bytes."""
    return scalars({**STEP, "text": "abc" * 100}).with_item("model", **twists)


def _odd_blocks(data: bytes) -> bytes:
    blocks: list[Block] = [block for at in range(len(data)) for block in (raw(data[at : at + 1]), raw(b""))]
    return frame(blocks, len(data), width=2)


def _repeats(data: bytes) -> bytes:
    return frame([repeated(byte, 1) for byte in data], len(data), width=4)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield accepted(
        PLAIN, "A manifest in a frame of one segment", ["SCF-MAN-002", "SCF-DIG-003", "SCF-DIG-004"], _base()
    )
    yield from _accepted()
    yield from _descriptor()
    yield from _limits()
    yield from _refused()


def _accepted() -> Iterator[Case]:
    frames: tuple[tuple[str, str, Encode, int | None], ...] = (
        ("compressed", "A compressed frame with a checksum", lambda _: COMPRESSED, None),
        (
            "window-least",
            "A frame with the smallest window descriptor",
            lambda d: frame([raw(d)], len(d), width=2, window=0),
            None,
        ),
        ("size-of-4", "A content size in four bytes", lambda d: frame([raw(d)], len(d), width=4), None),
        ("size-of-8", "A content size in eight bytes", lambda d: frame([raw(d)], len(d), width=8), None),
        (
            "dictionary-0",
            "A Dictionary_ID of one byte, which is 0",
            lambda d: frame([raw(d)], len(d), dictionary=b"\x00"),
            None,
        ),
        (
            "dictionary-00",
            "A Dictionary_ID of four bytes, which is 0",
            lambda d: frame([raw(d)], len(d), dictionary=bytes(4)),
            None,
        ),
        ("blocks", "A block for each byte, with empty blocks between them and at the end", _odd_blocks, None),
        ("repeats", "A block of one repeated byte for each byte", _repeats, None),
        (
            "window-2-27",
            "A window of 2^27 bytes, for a manifest of 500",
            lambda d: frame([raw(d)], len(d), window=0x88),
            32 * MIB,
        ),
    )
    for name, title, encode, memory in frames:
        requirements = ["SCF-MAN-002", "SCF-LIMIT-001"]
        yield accepted(f"manifest-frame-{name}", title, requirements, _base(frame=encode), memory=memory)
    flipped = bytes([COMPRESSED[-1] ^ 1])
    draft = _base(frame=lambda _: COMPRESSED[:-1] + flipped)
    whole = accepted("manifest-frame-checksum-wrong", "", [], draft).steps[0]["expect"]
    yield Case(
        "manifest-frame-checksum-wrong",
        "A frame with a wrong checksum of its content, which a reader may leave unchecked",
        ["SCF-MAN-002"],
        "inspect",
        [step("inspect", [whole, rejected(FRAME)])],
        kind="acceptable",
        files=checkpoint(draft),
    )


def _descriptor() -> Iterator[Case]:
    """What lies in the store is not what the root says."""
    yield bad(
        "missing",
        "The manifest is not in the store.",
        PLAIN,
        _base().with_(drop=(manifest_key("model"),)),
        ["SCF-OPEN-002", "SCF-LAYOUT-012"],
        "manifest.missing",
    )
    for name, fault, change, code, requirement in (
        ("longer", "A byte follows the manifest.", lambda data: data + b"\x00", "manifest.size", "SCF-DIG-003"),
        (
            "shorter",
            "The last byte of the manifest is missing.",
            lambda data: data[:-1],
            "manifest.size",
            "SCF-DIG-003",
        ),
        ("empty", "The manifest has no bytes in the store.", lambda _: b"", "manifest.size", "SCF-DIG-003"),
        ("much-longer", "A MiB follows the manifest.", lambda data: data + bytes(MIB), "manifest.size", "SCF-DIG-003"),
        (
            "flipped",
            "A bit of the manifest is flipped.",
            lambda d: d[:99] + bytes([d[99] ^ 1]) + d[100:],
            "manifest.digest",
            "SCF-DIG-004",
        ),
        (
            "no-frame",
            "The first byte of the manifest is flipped, so that it is no frame.",
            lambda d: b"\x29" + d[1:],
            "manifest.digest",
            "SCF-DIG-004",
        ),
        (
            "last-flipped",
            "A bit of the manifest's last byte is flipped.",
            lambda d: d[:-1] + bytes([d[-1] ^ 1]),
            "manifest.digest",
            "SCF-DIG-004",
        ),
    ):
        yield bad(f"stored-{name}", fault, PLAIN, _base(stored=change), [requirement, "SCF-CONV-002"], code)


def _says(*path: str, value: int) -> Draft:
    """A root that says another size of the manifest, which is not in the store."""

    def change(members: Record) -> None:
        found = members["items"]["model"]
        for name in path[:-1]:
            found = found[name]
        found[path[-1]] = value

    return _base().with_(members=change, drop=(manifest_key("model"),))


def _limits() -> Iterator[Case]:
    """The limits are looked at first, so the manifests need not be there."""
    limit, size, most = "limit.exceeded", ("manifest", "size"), (1 << 53) - 1
    for name, path, value, fault in (
        ("raw", ("raw_size",), MAX_RAW + 1, "raw_size is 2^31 + 1."),
        ("raw-most", ("raw_size",), most, "raw_size is 2^53 - 1."),
        ("stored", size, MAX_STORED + 1, "The size of the manifest is one more than its limit."),
        ("stored-most", size, most, "The size of the manifest is 2^53 - 1."),
    ):
        requirements = ["SCF-MAN-001", "SCF-LIMIT-002", "SCF-CONV-004", "SCF-SEC-003"]
        yield bad(f"limit-{name}", fault, PLAIN, _says(*path, value=value), requirements, limit, phases=["manifest"])
    for name, path, value, what in (
        ("raw-at", ("raw_size",), MAX_RAW, "raw_size is 2^31"),
        ("stored-at", size, MAX_STORED, "the size of the manifest is its limit"),
    ):
        fault = f"The manifest is not in the store; {what}, which is no reason."
        requirements = ["SCF-OPEN-002", "SCF-LIMIT-001"]
        yield bad(f"limit-{name}", fault, PLAIN, _says(*path, value=value), requirements, "manifest.missing")


def _refused() -> Iterator[Case]:
    skippable = bytes.fromhex("502a4d18") + (4).to_bytes(4, "little") + b"skip"
    frames: tuple[tuple[str, str, Encode], ...] = (
        ("no-size", "The frame has no content size.", lambda d: frame([raw(d)], None, window=0)),
        ("size-more", "The content size is one more than the content.", lambda d: plain_frame(d, states=len(d) + 1)),
        ("size-less", "The content size is one less than the content.", lambda d: plain_frame(d, states=len(d) - 1)),
        ("size-2-63", "The content size is 2^63.", lambda d: frame([raw(d)], 1 << 63, width=8, window=0)),
        (
            "content-short",
            "The content is one byte shorter than raw_size.",
            lambda d: plain_frame(d[:-1], states=len(d)),
        ),
        (
            "content-long",
            "The content is one byte longer than raw_size.",
            lambda d: plain_frame(d + b"\x00", states=len(d)),
        ),
        ("frame-of-less", "Content and content size are one byte less than raw_size.", lambda d: plain_frame(d[:-1])),
        (
            "frame-of-more",
            "Content and content size are one byte more than raw_size.",
            lambda d: plain_frame(d + b"\x00"),
        ),
        ("byte-behind", "A byte follows the frame.", lambda d: plain_frame(d) + b"\x00"),
        ("two-frames", "An empty frame follows the frame.", lambda d: plain_frame(d) + plain_frame(b"")),
        ("two-halves", "The content is in two frames.", lambda d: plain_frame(d[:99]) + plain_frame(d[99:])),
        ("skippable-first", "A skippable frame stands before the frame.", lambda d: skippable + plain_frame(d)),
        ("skippable-last", "A skippable frame follows the frame.", lambda d: plain_frame(d) + skippable),
        ("no-frame", "The MessagePack bytes are stored without a frame.", lambda d: d),
        ("empty", "No bytes are stored.", lambda _: b""),
        ("magic-alone", "The four bytes of the magic number are stored.", lambda d: plain_frame(d)[:4]),
        ("old-magic", "The magic number is that of an older format.", lambda d: b"\x27" + plain_frame(d)[1:]),
        ("magic-less", "The frame has no magic number.", lambda d: plain_frame(d)[4:]),
        ("gzip", "The manifest begins as a gzip file.", lambda d: b"\x1f\x8b\x08\x00" + d),
        ("cut", "The last byte of the frame is missing.", lambda d: plain_frame(d)[:-1]),
        ("cut-header", "The frame ends within its header.", lambda d: plain_frame(d)[:6]),
        ("no-last-block", "No block is marked as the last.", lambda d: frame([raw(d)], len(d), last=False)),
        ("dictionary", "The frame needs a dictionary.", lambda d: frame([raw(d)], len(d), dictionary=b"\x01")),
        (
            "dictionary-4",
            "The frame needs a dictionary with an id of four bytes.",
            lambda d: frame([raw(d)], len(d), dictionary=b"\0\0\0\1"),
        ),
        (
            "reserved-bit",
            "The reserved bit of the frame header is set.",
            lambda d: frame([raw(d)], len(d), descriptor=8),
        ),
        ("reserved-block", "A block is of the reserved type.", lambda d: frame([Block(3, d, len(d))], len(d))),
        ("window-more", "The window is 2^27 + 2^24 bytes.", lambda d: frame([raw(d)], len(d), window=0x89)),
        ("window-2-28", "The window is 2^28 bytes.", lambda d: frame([raw(d)], len(d), window=0x90)),
        ("window-most", "The window is 15 * 2^38 bytes.", lambda d: frame([raw(d)], len(d), window=0xFF)),
        (
            "checksum-cut",
            "The frame says that it has a checksum, and has none.",
            lambda d: frame([raw(d)], len(d), descriptor=4),
        ),
    )
    for name, fault, encode in frames:
        inside = name.startswith("content-")
        requirements = ["SCF-MAN-003", "SCF-MAN-002"] if inside else ["SCF-MAN-002"]
        memory = 64 * MIB if name.startswith(("window", "size-2")) else None
        yield bad(f"frame-{name}", fault, PLAIN, _base(frame=encode), requirements, FRAME, memory=memory)
    for name, more, what in (("more", 1, "one more"), ("less", -1, "one less"), ("zero", None, "0")):

        def change(members: Record, more: int | None = more) -> None:
            item = members["items"]["model"]
            item["raw_size"] = item["raw_size"] + more if more is not None else 0

        fault = f"raw_size of the root is {what}{' than the manifest has' if more else ''}."
        yield bad(
            f"raw-size-{name}", fault, PLAIN, _base().with_(members=change), ["SCF-MAN-003", "SCF-MAN-002"], FRAME
        )
