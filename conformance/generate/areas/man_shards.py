"""The shard table: columns, bounds, order (sections 7.7 and 7.8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...oracle.encode import Draft, Item, Object, Record, Shard, Tensor, column
from ...oracle.encode_region import Region
from ..case import Case
from ..drafts import STEP, ZSTD, B, W, basic, content, encoded, one, runs, unassigned
from ..forms import accepted
from ..odd_frames import frame, raw
from .man_common import Change, bad, changed, col, drop, raw_col

__all__ = ["cases"]

NONE: Final = 0xFFFFFFFF
BOXES: Final = "manifest-top"
RUNS: Final = "manifest-shards-runs"
ENCODED: Final = "manifest-shards-encoded"
UNASSIGNED: Final = "manifest-shards-unassigned"
EMPTY: Final = "manifest-shards-empty-tensors"
NAMED: Final = "manifest-shards-named"
MOST: Final = (1 << 64) - 1


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _accepted()
    yield from _bounds()
    yield from _order()


def _three() -> Draft:
    """Three unassigned shards in two objects, one of them in the second."""
    shards = (
        Shard(0),
        Shard(None, name="u0", data=content(8, 1)),
        Shard(None, name="u1", data=content(8, 2)),
        Shard(None, name="u2", data=content(8, 3), object=1),
    )
    return one(W, shards=shards, objects=(Object(0), Object(1)))


def empties() -> Draft:
    """Empty tensors: one without a shard, one with the one that it may have; and a tensor that is not."""
    tensors = (Tensor("none", "F32", (0, 3), b""), Tensor("one", "F32", (2, 0), b""), W)
    return one(*tensors, shards=(Shard(1), Shard(2)))


def _blocks() -> Draft:
    """Tensors of several blocks, which begin anew with each shard, in objects of two block sizes."""
    big, other = Tensor("big", "U8", (10_000,), content(10_000)), Tensor("other", "U16", (4096,), content(8192, 1))
    cut = (Shard(0, Region((0,), (4097,))), Shard(0, Region((4097,), (5903,))), Shard(1, object=1))
    return one(big, other, shards=cut, objects=(Object(0), Object(1, digest="sha256", block=8192)))


def _accepted() -> Iterator[Case]:
    base = ["SCF-MAN-019", "SCF-LIMIT-001"]
    rows: tuple[tuple[str, str, Draft, list[str]], ...] = (
        (RUNS, "Shards with runs", runs(), ["SCF-MAN-017"]),
        (ENCODED, "A shard of two encoded blocks", encoded(), ["SCF-MAN-020", "SCF-MAN-028"]),
        (UNASSIGNED, "Unassigned shards", unassigned(), ["SCF-MAN-021"]),
        ("manifest-shards-three", "Unassigned shards in two objects", _three(), ["SCF-MAN-021", "SCF-MAN-018"]),
        (EMPTY, "Empty tensors, with a shard and without", empties(), ["SCF-MAN-022"]),
        (
            "manifest-shards-blocks",
            "Shards of several blocks, which begin anew with each shard",
            _blocks(),
            ["SCF-MAN-025"],
        ),
        (
            NAMED,
            "Entry names that are given, and derived ones beside them",
            one(W, B, shards=(Shard(0, name="first é"), Shard(1))),
            ["SCF-MAN-019"],
        ),
        (
            "manifest-shards-whole-boxes",
            "Boxes and runs that are whole, and are given all the same",
            changed(
                one(W, B),
                col("box_offset", "u64", [0, 0, 0]),
                col("box_size", "u64", [2, 3, 3]),
                col("run_start", "u64", [0, 0]),
                col("run_stop", "u64", [6, 3]),
            ),
            base,
        ),
        (
            "manifest-shards-defaults-given",
            "Columns that say what their absence says",
            changed(
                one(W, B),
                col("stored_size", "u64", [24, 6]),
                col("codec", "u16", [0, 0]),
                col("entry_size", "u16", [0, 0]),
                raw_col("entry", b""),
            ),
            base,
        ),
        (
            "manifest-shards-no-blocks",
            "A manifest without blocks that has the column block_digest, empty",
            changed(Draft({"model": Item(tree=STEP, objects=())}), raw_col("block_digest", b"")),
            [*base, "SCF-DIG-008"],
        ),
        (
            "manifest-shards-no-decoded-digest",
            "Encoded blocks without digests of what they decode to",
            changed(encoded(), *drop("decoded_digest")),
            base,
        ),
        (
            "manifest-shards-block-most",
            "An encoded block of the largest size",
            inflated(0),
            ["SCF-MAN-028", "SCF-LIMIT-001"],
        ),
    )
    for name, title, draft, requirements in rows:
        yield accepted(name, title, requirements, draft, read=True)


def inflated(more: int) -> Draft:
    """A block of 4096 bytes in a frame of 5152, the bound, and so many empty blocks of 3 bytes more."""

    def encode(block: bytes) -> bytes:
        data = frame([raw(block), *[raw(b"")] * (348 + more)], len(block), width=4)
        assert len(data) == 4096 + 32 + 1024 + 3 * more
        return data

    tensor = Tensor("w", "U8", (4096,), content(4096))
    return one(tensor, shards=(Shard(0, codec=1, encode=encode),), codecs=((), (ZSTD,)))


def _bounds() -> Iterator[Case]:
    huge = 1 << 63
    rows: tuple[tuple[str, str, Draft, list[Change], str], ...] = (
        ("tensor-2", BOXES, basic(), [col("tensor", "u32", [0, 0, 2])], "A shard is of the tensor behind the last."),
        (
            "tensor-most",
            BOXES,
            basic(),
            [col("tensor", "u32", [0, 0, NONE - 1])],
            "A shard is of the tensor 2^32 - 2.",
        ),
        ("object-1", BOXES, basic(), [col("object", "u32", [0, 0, 1])], "A shard is in the object behind the last."),
        ("object-most", BOXES, basic(), [col("object", "u32", [0, NONE, 0])], "A shard is in the object 2^32 - 1."),
        ("codec-2", ENCODED, encoded(), [col("codec", "u16", [2, 0])], "A shard has the codec behind the last."),
        ("codec-most", ENCODED, encoded(), [col("codec", "u16", [65535, 0])], "A shard has the codec 65,535."),
        ("box-rows", BOXES, basic(), [col("box_size", "u64", [1, 3, 2, 3, 3])], "A box leaves its tensor by a row."),
        (
            "box-columns",
            BOXES,
            basic(),
            [col("box_offset", "u64", [0, 1, 1, 0, 0])],
            "A box leaves its tensor by a column.",
        ),
        ("box-behind", BOXES, basic(), [col("box_offset", "u64", [0, 0, 2, 0, 0])], "A box lies behind its tensor."),
        (
            "box-wraps",
            BOXES,
            basic(),
            [col("box_offset", "u64", [0, 0, MOST, 0, 0])],
            "Offset and size of a box add up to 2^64.",
        ),
        (
            "box-size-most",
            BOXES,
            basic(),
            [col("box_size", "u64", [1, 3, 1, MOST, 3])],
            "The size of a box is 2^64 - 1.",
        ),
        ("box-size-2-63", BOXES, basic(), [col("box_size", "u64", [1, 3, 1, huge, 3])], "The size of a box is 2^63."),
        ("run-behind", RUNS, runs(), [col("run_stop", "u64", [2, 7])], "A run ends behind its box."),
        ("run-most", RUNS, runs(), [col("run_stop", "u64", [2, MOST])], "A run ends at 2^64 - 1."),
        ("run-backwards", RUNS, runs(), [col("run_start", "u64", [0, 7])], "A run begins behind its end."),
        ("offset-header", BOXES, basic(), [col("offset", "u64", [4095, 4108, 4120])], "A shard begins in the header."),
        ("offset-zero", BOXES, basic(), [col("offset", "u64", [0, 4108, 4120])], "A shard begins at byte 0."),
        (
            "offset-behind",
            BOXES,
            basic(),
            [col("offset", "u64", [4096, 4108, 4121])],
            "A shard ends behind its object.",
        ),
        (
            "offset-far",
            BOXES,
            basic(),
            [col("offset", "u64", [4096, 4108, 9999])],
            "A shard begins behind its object.",
        ),
        (
            "offset-wraps",
            BOXES,
            basic(),
            [col("offset", "u64", [4096, 4108, MOST - 1])],
            "The end of a shard is above 2^64.",
        ),
        ("offset-2-63", BOXES, basic(), [col("offset", "u64", [4096, 4108, huge])], "The offset of a shard is 2^63."),
        (
            "offset-most",
            BOXES,
            basic(),
            [col("offset", "u64", [4096, 4108, huge - 1])],
            "Offset and size of a shard are above 2^63.",
        ),
        (
            "empty-offset",
            EMPTY,
            empties(),
            [col("offset", "u64", [4121, 4096])],
            "A shard of no bytes lies behind its object.",
        ),
        (
            "empty-offset-header",
            EMPTY,
            empties(),
            [col("offset", "u64", [0, 4096])],
            "A shard of no bytes lies in the header.",
        ),
    )
    for name, sibling, draft, changes, fault in rows:
        requirements = ["SCF-MAN-017"]
        if name.startswith(("box", "run")):
            requirements.append("SCF-REG-002")
        if name.endswith(("wraps", "most", "2-63")):
            requirements += ["SCF-CONV-003", "SCF-SEC-004"]
        yield bad(f"shards-{name}", fault, sibling, changed(draft, *changes), requirements)


def _swapped(record: Record, *, width: dict[str, int], first: int, second: int) -> None:
    """Exchanges two rows of a table of shards in these columns, each of a fixed width."""
    columns = record["shards"]["columns"]
    for name, size in width.items():
        rows = [columns[name][at : at + size] for at in range(0, len(columns[name]), size)]
        rows[first], rows[second] = rows[second], rows[first]
        columns[name] = b"".join(rows)


def _order() -> Iterator[Case]:
    plain = {"tensor": 4, "object": 4, "offset": 8, "block_digest": 32}
    boxes = {**plain, "box_offset": 16, "box_size": 16}
    rows: tuple[tuple[str, str, Draft, dict[str, int], tuple[int, int], str], ...] = (
        ("tensors", "manifest-shards-whole-boxes", one(W, B), plain, (0, 1), "The shards are not in order of tensors."),
        (
            "boxes",
            BOXES,
            basic(),
            boxes,
            (0, 1),
            "The boxes of a tensor are not in order.",
        ),
        (
            "runs",
            RUNS,
            _equal_runs(),
            {**plain, "run_start": 8, "run_stop": 8},
            (0, 1),
            "The runs of a box are not in order.",
        ),
    )
    for name, sibling, draft, width, (first, second), fault in rows:

        def change(record: Record, width: dict[str, int] = width, first: int = first, second: int = second) -> None:
            _swapped(record, width=width, first=first, second=second)

        yield bad(f"shards-order-{name}", fault, sibling, changed(draft, change), ["SCF-MAN-018"])
    three = _three()
    offsets, entries = [4096, 4120, 4128, 4096], [b"u0", b"u1", b"u2"]
    yield bad(
        "shards-order-offsets",
        "Two unassigned shards of one object are not in order of their offsets.",
        "manifest-shards-three",
        changed(three, lambda record: _reordered(record, [0, 2, 1, 3], offsets, entries)),
        ["SCF-MAN-018"],
    )
    yield bad(
        "shards-order-objects",
        "The unassigned shards are not in order of objects.",
        "manifest-shards-three",
        changed(three, lambda record: _reordered(record, [0, 3, 1, 2], offsets, entries)),
        ["SCF-MAN-018"],
    )
    yield bad(
        "shards-order-unassigned",
        "An unassigned shard stands before an assigned one.",
        "manifest-shards-three",
        changed(three, lambda record: _reordered(record, [1, 0, 2, 3], offsets, entries)),
        ["SCF-MAN-018"],
    )


def _equal_runs() -> Draft:
    """Two runs of three elements each."""
    cut = (Shard(0, Region((0, 0), (2, 3), (0, 3))), Shard(0, Region((0, 0), (2, 3), (3, 6))))
    return one(W, shards=cut)


def _reordered(record: Record, order: list[int], offsets: list[int], entries: list[bytes]) -> None:
    """The four shards of ``_three`` in another order; the box columns and digests follow."""
    columns = record["shards"]["columns"]
    objects, sizes = [0, 0, 0, 1], [24, 8, 8, 8]
    digests = [columns["block_digest"][at : at + 32] for at in range(0, 128, 32)]
    names = [b"", *entries]
    columns["tensor"] = column("u32", [0 if at == 0 else NONE for at in order])
    columns["object"] = column("u32", [objects[at] for at in order])
    columns["offset"] = column("u64", [offsets[at] for at in order])
    columns["stored_size"] = column("u64", [sizes[at] for at in order])
    columns["entry_size"] = column("u16", [len(names[at]) for at in order])
    columns["entry"] = b"".join(names[at] for at in order)
    columns["block_digest"] = b"".join(digests[at] for at in order)
