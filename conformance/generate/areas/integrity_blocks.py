"""Single damaged bytes: what needs the block fails, and nothing else does (SCF-READ-004, SCF-READ-006)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...oracle.encode import Draft, Item, Object, Record, Shard, Tensor, digest
from ...oracle.encode_frame import plain_frame
from ...oracle.encode_region import Region
from ..case import Case, Json, checkpoint, rejected, step
from ..drafts import ZSTD, B, W, content, one, whole
from ..drafts_b import (
    KEY,
    cut,
    damage,
    filled,
    flip,
    reading,
    region_step,
    region_value,
    run,
    sound,
    verify_step,
)
from ..expect import path
from ..forms import accepted, dtypes

__all__ = ["blocks", "cases"]

SHAPE = (9, 512)
DAMAGE = ["SCF-READ-004", "SCF-MAN-025", "SCF-DIG-007"]


def blocks(algorithm: str = "blake3") -> Draft:
    """A tensor of five blocks of two rows each, the last of one row; and ``b`` behind it."""
    w = filled("w", "F32", SHAPE)
    return one(w, B, objects=(Object(digest=algorithm),))


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for algorithm in ("blake3", "sha256"):
        yield sound(
            f"integrity-{algorithm}",
            f"Blocks with digests by {algorithm}",
            ["SCF-DIG-001", "SCF-DIG-013"],
            blocks(algorithm),
        )
    both = Item((W, B), shards=(Shard(0), Shard(1, object=1)), objects=(Object(), Object(number=1, digest="sha256")))
    yield sound("integrity-both", "Objects with digests by two algorithms", ["SCF-DIG-001"], Draft({"model": both}))
    sizes = [1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3073, 4095, 4096, 4097, 8192, 31744, 31745]
    lengths = tuple(Tensor(f"n{size}", "U8", (size,), content(size, size)) for size in sizes)
    for algorithm in ("blake3", "sha256"):
        yield accepted(
            f"integrity-lengths-of-{algorithm}",
            f"Blocks of lengths at which {algorithm} changes its way",
            ["SCF-DIG-001"],
            one(*lengths, objects=(Object(digest=algorithm, block=1 << 16),)),
            read=True,
        )
    yield from _places()
    yield from _regions()
    yield from _others()
    yield from _wrong()


def _refused(
    name: str,
    title: str,
    fault: str,
    sibling: str,
    files: dict[str, bytes],
    steps: Sequence[Json],
    *,
    requirements: Sequence[str] = DAMAGE,
    profile: str = "read",
) -> Case:
    return Case(
        f"integrity-{name}", title, requirements, profile, steps, kind="invalid", fault=fault, sibling=sibling,
        files=files, options=["dtype:BF16", "dtype:F32"],
    )  # fmt: skip


def _places() -> Iterator[Case]:
    """One bit of the first, a middle and the last block; in the first and last byte of it."""
    for algorithm in ("blake3", "sha256"):
        draft = blocks(algorithm)
        places = {
            "first-byte": (4096, 1),
            "last-byte-of-block": (4096 + 4095, 0x80),
            "first-byte-of-block": (4096 + 4096, 0x40),
            "last-block": (4096 + 4 * 4096 + 100, 8),
            "last-byte": (4096 + 9 * 2048 - 1, 1),
        }
        for name, (at, bit) in places.items():
            files = damage(draft, KEY, at, flips=bit)
            yield _refused(
                f"flipped-{name}-{algorithm}", f"One changed bit, digests by {algorithm}: {name}",
                "One bit of the data is changed.", f"integrity-{algorithm}", files,
                [step("read", rejected("block.digest"), paths=[["w"]])],
            )  # fmt: skip


def _regions() -> Iterator[Case]:
    """For each of five blocks: regions that need it are refused, all others are read."""
    draft = blocks()
    item = draft.items["model"]
    rows = [(0, 2), (2, 4), (4, 6), (6, 8), (8, 9)]
    for number in range(5):
        files = damage(draft, KEY, 4096 + 4096 * number + 7)
        good = [
            region
            for region in (*(_rows(*span) for span in rows), run(SHAPE, 1000, 1024), Region((2, 500), (2, 12)))
            if not _needs(region, number)
        ]
        first, last = rows[number][0], rows[number][1] - 1
        bad = [
            _rows(0, 9),
            _rows(first, first + 1),
            run(SHAPE, last * 512 + 511, last * 512 + 512),
            Region((0, 17), (9, 1)),
        ]
        steps = [region_step(item, ("w",), good), reading(item, [("b",)])]
        steps += [_region(("w",), [region]) for region in bad]
        steps.append(_region(("w",), [good[0], bad[1]]))
        yield _refused(
            f"block-{number}", f"Block {number} of five is damaged: what needs it is refused, all else is read",
            f"One bit of block {number} is changed.", "integrity-blake3", files, steps,
            profile="region-read", requirements=["SCF-READ-006", "SCF-READ-004", "SCF-READ-007", "SCF-DIG-007"],
        )  # fmt: skip
    flat = filled("w", "U8", (70000,))
    cuts = cut((70000,), 10000, 40000)
    parts = one(flat, shards=tuple(Shard(0, each) for each in cuts))
    files = damage(parts, KEY, 4096 + 10000 + 3 * 4096)
    good = [run((70000,), 0, 10000 + 3 * 4096), run((70000,), 10000 + 4 * 4096, 70000)]
    bad = [run((70000,), 10000 + 3 * 4096 - 1, 10000 + 3 * 4096 + 1), run((70000,), 26383, 26384)]
    yield Case(
        "integrity-block-of-shard",
        "Blocks are counted from the beginning of each shard",
        ["SCF-READ-006", "SCF-READ-004"],
        "region-read",
        [region_step(parts.items["model"], ("w",), good), *(_region(("w",), [each]) for each in bad)],
        kind="invalid",
        fault="One bit of block 3 of the second shard is changed.",
        sibling="geometry-regions-over-blocks",
        files=files,
        options=["dtype:U8"],
    )
    w = filled("w", "F32", (40, 300))
    coded = tuple(Shard(0, each, codec=1, encode=plain_frame) for each in cut((40, 300), 6000))
    draft = one(w, B, shards=(Shard(1), *coded), codecs=((), (ZSTD,)))
    frame = len(plain_frame(bytes(range(256)) * 16))
    files = damage(draft, KEY, 4096 + 6 + frame + 50)
    good = [run((40, 300), 0, 1024), run((40, 300), 2048, 12000)]
    yield Case(
        "integrity-block-encoded",
        "An encoded block is damaged: what needs it is refused, all else is read",
        ["SCF-READ-006", "SCF-READ-004", "SCF-CODEC-006"],
        "region-read",
        [region_step(draft.items["model"], ("w",), good), _region(("w",), [run((40, 300), 1030, 1031)])],
        kind="invalid",
        fault="One bit of the second block is changed.",
        sibling="geometry-regions-over-encoded-blocks",
        files=files,
        options=dtypes(draft),
    )


def _rows(begin: int, end: int) -> Region:
    return Region((begin, 0), (end - begin, 512))


def _needs(region: Region, number: int) -> bool:
    """Whether a region has an element in a block of 1024 elements."""
    flat = [position for position in range(region.start, region.stop) if _flat(region, position) // 1024 == number]
    return bool(flat)


def _flat(region: Region, position: int) -> int:
    row, column = divmod(position, region.size[1])
    return (region.offset[0] + row) * 512 + region.offset[1] + column


def _region(place: tuple[str, ...], regions: Sequence[Region]) -> Json:
    wanted = [region_value(each) for each in regions]
    return step("read_region", rejected("block.digest"), path=path(place), regions=wanted)


def _others() -> Iterator[Case]:
    draft = whole()
    item = draft.items["model"]
    yield _refused(
        "one-tensor", "One tensor is damaged: the other one is read, both together are refused",
        "One bit of w is changed.", "integrity-blake3", damage(draft, KEY, 4096 + 5),
        [
            reading(item, [("b",)]),
            step("read", rejected("block.digest"), paths=[["w"]]),
            step("read", rejected("block.digest"), paths=[["b"], ["w"]]),
            step("read", rejected("block.digest")),
        ],
        requirements=["SCF-READ-007", "SCF-READ-006", "SCF-MAN-025"],
    )  # fmt: skip
    copies = (Shard(0), Shard(None, name="copy", data=content(40)), Shard(1))
    unassigned = whole(shards=copies)
    yield Case(
        "integrity-unassigned",
        "An unassigned shard is damaged: every tensor is read, and a verification finds it",
        ["SCF-READ-006", "SCF-DIG-013"],
        "integrity",
        [reading(unassigned.items["model"]), verify_step({"$set": [_finding("copy", KEY)]})],
        kind="invalid",
        fault="One bit of the unassigned shard is changed.",
        sibling="objects-unassigned",
        files=damage(unassigned, KEY, 4096 + 24 + 11),
        options=dtypes(unassigned),
    )
    for name, at in (("of-header", 30), ("of-padding", 4000), ("of-length", 3)):
        files = damage(draft, KEY, at)
        yield Case(
            f"integrity-byte-{name}",
            f"A changed byte before the data: {name}",
            ["SCF-DIG-010", "SCF-DIG-013"],
            "integrity",
            [verify_step({"$set": [{"code": "object.header_digest", "subject": {"$about": [KEY]}}]})],
            kind="invalid",
            fault="One bit before the data is changed.",
            sibling="integrity-blake3",
            files=files,
            options=dtypes(draft),
        )
    yield Case(
        "integrity-header-and-read",
        "A damaged header: who takes places from the manifest reads all tensors, who uses the header refuses it",
        ["SCF-DIG-010"],
        "read",
        [step("read", [reading(item)["expect"], rejected("object.header_digest")])],
        kind="acceptable",
        files=damage(draft, KEY, 30),
        options=dtypes(draft),
    )


def _finding(*about: str, code: str = "block.digest") -> Json:
    return {"code": code, "subject": {"$about": list(about)}}


def _wrong() -> Iterator[Case]:
    """Digests that are wrong though the bytes are what was saved."""
    plain = whole()
    data = checkpoint(plain)[f"c/{KEY}"]

    def other(record: Record) -> None:
        table = record["shards"]["columns"]
        table["block_digest"] = digest("sha256", data[4096:4120]) + table["block_digest"][32:]

    yield _refused(
        "digest-of-other-algorithm", "The digest of a block is by another algorithm than the object names",
        "The digest of the block of w is SHA-256, and the object says blake3.", "integrity-blake3",
        checkpoint(plain.with_item("model", record=other)), [step("read", rejected("block.digest"), paths=[["w"]])],
    )  # fmt: skip

    def swapped(record: Record) -> None:
        table = record["shards"]["columns"]
        table["block_digest"] = table["block_digest"][32:] + table["block_digest"][:32]

    yield _refused(
        "digests-exchanged", "The digests of two blocks are exchanged",
        "The digest of the block of w is that of the block of b, and the other way round.", "integrity-blake3",
        checkpoint(plain.with_item("model", record=swapped)), [step("read", rejected("block.digest"), paths=[["w"]])],
    )  # fmt: skip

    def late(record: Record) -> None:
        table = record["shards"]["columns"]
        table["block_digest"] = flip(table["block_digest"], 31)

    yield _refused(
        "digest-last-byte", "The last byte of a digest is wrong",
        "One bit of the last byte of the digest of w is changed.", "integrity-blake3",
        checkpoint(plain.with_item("model", record=late)), [step("read", rejected("block.digest"), paths=[["w"]])],
    )  # fmt: skip
    w = filled("w", "U8", (9000,))
    two = one(w, objects=(Object(block=8192),))
    halves = one(w).with_item("model", record=_two_digests(w.data))
    yield sound("integrity-block-size", "Blocks of 8192 bytes", ["SCF-DIG-001", "SCF-MAN-025"], two)
    yield Case(
        "integrity-other-block-size",
        "The digests are of blocks of another size than the object has",
        ["SCF-MAN-025", "SCF-READ-004"],
        "read",
        [step("read", rejected("block.digest"))],
        kind="invalid",
        fault="The digests are of the halves of the data, and blocks have 8192 bytes.",
        sibling="integrity-block-size",
        files=checkpoint(halves),
        options=["dtype:U8"],
    )


def _two_digests(data: bytes) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        record["objects"][0]["block"] = 8192
        table = record["shards"]["columns"]
        table["block_digest"] = digest("blake3", data[:4500]) + digest("blake3", data[4500:])

    return change
