"""The shard table: which columns there are, sizes, unassigned and empty shards, bytes, digests (section 7.7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...oracle.encode import Draft, Object, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ...oracle.encode_region import Region
from ..case import Case, checkpoint, ok, step
from ..drafts import ZSTD, B, W, basic, content, encoded, one, runs, single, unassigned
from ..expect import finding
from .man_common import Change, bad, changed, col, drop, put, raw_col
from .man_shards import BOXES, EMPTY, ENCODED, MOST, NAMED, RUNS, UNASSIGNED, empties, inflated

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _columns()
    yield from _sizes()
    yield from _unassigned()
    yield from _elements()
    yield from _bytes()
    yield from _digests()


def _columns() -> Iterator[Case]:
    zeros = bytes(16)
    rows: tuple[tuple[str, str, Draft, list[Change], str], ...] = (
        ("box-offset-alone", BOXES, basic(), drop("box_size"), "There is box_offset without box_size."),
        ("box-size-alone", BOXES, basic(), drop("box_offset"), "There is box_size without box_offset."),
        ("run-start-alone", RUNS, runs(), drop("run_stop"), "There is run_start without run_stop."),
        ("run-stop-alone", RUNS, runs(), drop("run_start"), "There is run_stop without run_start."),
        (
            "entry-size-alone",
            NAMED,
            one(W, B),
            [col("entry_size", "u16", [0, 0])],
            "There is entry_size without entry.",
        ),
        ("entry-alone", NAMED, one(W, B), [raw_col("entry", b"")], "There is entry without entry_size."),
        ("no-stored-size", ENCODED, encoded(), drop("stored_size"), "There is a codec, and no stored_size."),
        (
            "no-stored-size-unassigned",
            UNASSIGNED,
            unassigned(),
            drop("stored_size"),
            "There are unassigned shards, and no stored_size.",
        ),
        (
            "no-block-sizes",
            ENCODED,
            encoded(),
            drop("block_stored_size"),
            "There is a codec, and no block_stored_size.",
        ),
        (
            "block-sizes",
            BOXES,
            single(),
            [col("block_stored_size", "u64", [])],
            "There is no codec, and an empty block_stored_size.",
        ),
        (
            "block-sizes-full",
            BOXES,
            single(),
            [col("block_stored_size", "u64", [24])],
            "There is no codec, and a block_stored_size.",
        ),
        (
            "decoded-digest",
            BOXES,
            single(),
            [raw_col("decoded_digest", b"")],
            "There is no codec, and an empty decoded_digest.",
        ),
        (
            "decoded-digest-codec-0",
            "manifest-shards-defaults-given",
            one(W, B),
            [col("codec", "u16", [0, 0]), raw_col("decoded_digest", bytes(64))],
            "Every codec is 0, and there is decoded_digest.",
        ),
        ("codec-absent", ENCODED, encoded(), drop("codec"), "There are sizes of encoded blocks, and no codec."),
        (
            "run-wide",
            RUNS,
            runs(),
            [raw_col("run_start", zeros[:8])],
            "The column run_start has one number for two shards.",
        ),
    )
    for name, sibling, draft, changes, fault in rows:
        requirements = ["SCF-MAN-008"] if name == "run-wide" else ["SCF-MAN-019"]
        yield bad(f"shards-{name}", fault, sibling, changed(draft, *changes), requirements)
    for name, changes, fault in (
        (
            "metadata",
            [col("entry_size", "u16", [12, 0]), raw_col("entry", b"__metadata__")],
            "An entry name is __metadata__.",
        ),
        ("utf8", [col("entry_size", "u16", [1, 0]), raw_col("entry", b"\xff")], "An entry name is not UTF-8."),
        (
            "utf8-split",
            [col("entry_size", "u16", [1, 1]), raw_col("entry", b"\xc3\xa9")],
            "A character lies half in one entry name and half in the next.",
        ),
    ):
        yield bad(f"shards-entry-{name}", fault, NAMED, changed(one(W, B), *changes), ["SCF-MAN-006"])


def _sizes() -> Iterator[Case]:
    plain, both = "manifest-shards-defaults-given", one(W, B)
    for name, sizes, what in (
        ("more", [24, 7], "one more"),
        ("less", [23, 6], "one less"),
        ("zero", [24, 0], "0 instead"),
    ):
        fault = f"The stored_size of a shard without codec is {what} of its decoded size."
        yield bad(
            f"shards-stored-{name}", fault, plain, changed(both, col("stored_size", "u64", sizes)), ["SCF-MAN-020"]
        )
    item = encoded()
    lengths = [len(plain_frame(bytes(4096 - 1) + b"\x01")), len(plain_frame(bytes(903) + b"\x01"))]
    total = sum(lengths)
    for name, sizes, blocks, what in (
        ("sum-more", [total + 1, 6], lengths, "The stored_size of an encoded shard is one more than its blocks."),
        ("sum-less", [total - 1, 6], lengths, "The stored_size of an encoded shard is one less than its blocks."),
        ("sum-wraps", [total, 6], [MOST, total + 1], "The sizes of encoded blocks add up beyond 2^64."),
        ("block-zero", [total, 6], [total, 0], "The size of an encoded block is 0."),
    ):
        changes = [col("stored_size", "u64", sizes), col("block_stored_size", "u64", blocks)]
        requirements = {"block-zero": ["SCF-MAN-006"], "sum-wraps": ["SCF-CONV-003", "SCF-SEC-004"]}.get(
            name, ["SCF-MAN-020"]
        )
        yield bad(f"shards-{name}", what, ENCODED, changed(item, *changes), requirements)
    fault = "An encoded block is three bytes larger than its bound."
    yield bad("shards-block-more", fault, "manifest-shards-block-most", inflated(1), ["SCF-MAN-028"])
    fault = "An encoded block is 2^62 bytes large."
    changes = [col("stored_size", "u64", [1 << 62, 6]), col("block_stored_size", "u64", [(1 << 62) - 9, 9])]
    yield bad("shards-block-2-62", fault, ENCODED, changed(item, *changes), ["SCF-MAN-028", "SCF-CONV-003"])


def _unassigned() -> Iterator[Case]:
    names = [0, 10, 0]
    rows: tuple[tuple[str, list[Change], str], ...] = (
        (
            "run",
            [col("run_start", "u64", [0, 0, 0]), col("run_stop", "u64", [6, 8, 0])],
            "An unassigned shard has a run.",
        ),
        (
            "run-start",
            [col("run_start", "u64", [0, 1, 0]), col("run_stop", "u64", [6, 1, 0])],
            "An unassigned shard has an empty run that begins at 1.",
        ),
        (
            "no-name",
            [col("entry_size", "u16", names), raw_col("entry", b"copy@[0:2]")],
            "An unassigned shard has no entry name.",
        ),
        ("no-names", drop("entry_size", "entry"), "Unassigned shards have no entry names."),
    )
    for name, changes, fault in rows:
        yield bad(f"shards-unassigned-{name}", fault, UNASSIGNED, changed(unassigned(), *changes), ["SCF-MAN-021"])
    shards = (Shard(0), Shard(None, name="copy", data=content(8), codec=1, encode=plain_frame))
    fault = "An unassigned shard has a codec."
    draft = one(W, shards=shards, codecs=((), (ZSTD,)))
    yield bad("shards-unassigned-codec", fault, UNASSIGNED, draft, ["SCF-MAN-021"])
    origin: dict[str, Any] = {"size": 4104, "data_start": 4096, "header_digest": bytes(32)}
    other = Object(store_key="old/model/0123456789abcdef-00000.safetensors", origin=origin)
    shards = (Shard(0), Shard(None, name="copy", data=content(8), object=1, offset=4096))
    draft = one(W, shards=shards, objects=(Object(), other))
    draft = draft.with_(external=[{"checkpoint": "old", "digest": "0a" * 32}])
    fault = "An unassigned shard is in an object of another checkpoint."
    yield bad("shards-unassigned-elsewhere", fault, UNASSIGNED, draft, ["SCF-MAN-021"])


def _elements() -> Iterator[Case]:
    """Shards without elements."""
    plain = ["SCF-MAN-022"]
    more = (Shard(0), Shard(0, Region((0, 0), (0, 3))))
    rows: tuple[tuple[str, str, Draft, str], ...] = (
        ("box", BOXES, one(W, shards=(more[1], more[0])), "A shard of a tensor that is not empty has an empty box."),
        (
            "run",
            RUNS,
            one(W, shards=(Shard(0, Region((0, 0), (2, 3), (0, 0))), Shard(0))),
            "A shard of a tensor that is not empty has an empty run.",
        ),
        (
            "part",
            EMPTY,
            one(Tensor("e", "F32", (2, 0), b""), shards=(Shard(0, Region((0, 0), (1, 0))),)),
            "The shard of an empty tensor is a part of it.",
        ),
    )
    for name, sibling, draft, fault in rows:
        yield bad(f"shards-no-elements-{name}", fault, sibling, draft, plain)
    draft = one(Tensor("e", "F32", (2, 0), b""), shards=(Shard(0), Shard(0, name="again")))
    codes = ["tiling.inexact", "manifest.schema"]
    fault = "An empty tensor has two shards."
    yield bad("shards-no-elements-two", fault, EMPTY, draft, ["SCF-REG-005", "SCF-READ-008"], codes, op="read")


def _bytes() -> Iterator[Case]:
    """Holes and overlaps of the bytes of an object."""
    yield Case(
        "manifest-shards-covered",
        "The shards of an object cover its data, shards of no bytes included",
        ["SCF-MAN-023"],
        "integrity",
        [step("verify", ok(sound=True, findings=[]))],
        files=checkpoint(empties()),
    )
    holes: tuple[tuple[str, str, list[int]], ...] = (
        ("first", "The first byte of the data belongs to no shard.", [4097, 4121]),
        ("middle", "A byte between two shards belongs to none.", [4096, 4121]),
        ("last", "The last byte of the object belongs to no shard.", [4096, 4120]),
    )
    for name, fault, offsets in holes:
        draft = changed(one(W, B), col("offset", "u64", offsets), put("objects", 0, "size", value=4127))
        yield Case(
            f"manifest-shards-hole-{name}",
            f"A verification finds: {fault[0].lower()}{fault[1:-1]}",
            ["SCF-MAN-023"],
            "integrity",
            [step("verify", finding("manifest.schema"), deep=False)],
            kind="invalid",
            fault=fault,
            sibling="manifest-shards-covered",
            files=checkpoint(draft),
        )
    for name, offsets, what in (
        ("same", [4096, 4096], "begin at the same byte"),
        ("byte", [4096, 4119], "share a byte"),
        ("inside", [4096, 4100], "lie one in the other"),
    ):
        fault = f"Two shards of one object {what}."
        draft = changed(one(W, B), col("offset", "u64", offsets))
        yield bad(f"shards-overlap-{name}", fault, BOXES, draft, ["SCF-MAN-024", "SCF-CONV-002"])


def _digests() -> Iterator[Case]:
    absent: tuple[tuple[str, str, Draft, list[Change], str], ...] = (
        ("absent", BOXES, basic(), drop("block_digest"), "The digests of blocks are absent."),
        (
            "empty",
            BOXES,
            basic(),
            [raw_col("block_digest", b"")],
            "The digests of blocks are empty.",
        ),
        ("encoded", ENCODED, encoded(), drop("block_digest"), "The digests of encoded blocks are absent."),
    )
    for name, sibling, draft, changes, fault in absent:
        yield bad(f"block-digests-{name}", fault, sibling, changed(draft, *changes), ["SCF-DIG-008"], "digest.missing")
    for name, size in (("one-less", 64), ("one-more", 128)):
        fault = f"There is a digest {'less' if size == 64 else 'more'} than there are blocks."
        draft = changed(basic(), raw_col("block_digest", bytes(size)))
        yield bad(f"block-digests-{name}", fault, BOXES, draft, ["SCF-MAN-008"])
