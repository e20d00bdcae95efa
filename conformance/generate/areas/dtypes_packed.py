"""Elements of less than a byte: how they are packed, and where they may be cut (section 10.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...oracle.encode import Draft, Record, Shard, Tensor, column
from ...oracle.encode_frame import plain_frame
from ...oracle.encode_region import Region, whole
from ..case import Case
from ..drafts import ZSTD, one
from ..drafts_b import box, cut, filled, grid, pieces, region_case, run, sound
from ..forms import accepted, refused
from .geometry_refused import refused_region
from .objects_entries import columns

__all__ = ["cases"]

READ = ["SCF-READ-001", "SCF-REG-006"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _stored()
    yield from _asked()
    yield from _refused_requests()
    yield from _refused_shards()


def _stored() -> Iterator[Case]:
    drafts: dict[str, tuple[str, Draft]] = {
        "f4-pairs": ("F4 elements 1 and 2 are the byte 21", one(Tensor("w", "F4", (2,), b"\x21"))),
        "f6-fours": ("F6 elements 1 to 4 are the bytes 81 30 10", one(Tensor("w", "F6_E2M3", (4,), b"\x81\x30\x10"))),
        "f4-rows-of-three": ("F4 of shape [2, 3], whole: rows do not begin at bytes", one(filled("w", "F4", (2, 3)))),
        "f4-columns": ("F4 in boxes of even columns", pieces(filled("w", "F4", (3, 8)), grid([3], [2, 6, 8]))),
        "f4-mesh": ("F4 in a mesh of boxes", pieces(filled("w", "F4", (3, 8)), grid([1, 3], [4, 8]))),
        "f4-runs": ("F4 in runs of even positions", pieces(filled("w", "F4", (3, 5, 2)), cut((3, 5, 2), 4, 18))),
        "f4-runs-of-odd-rows": ("F4 in runs of rows of three", pieces(filled("w", "F4", (4, 3)), cut((4, 3), 2, 8))),
        "f6-boxes": ("F6 in boxes of four columns", pieces(filled("w", "F6_E3M2", (2, 8)), grid([2], [4, 8]))),
        "f6-runs": ("F6 in runs of four elements", pieces(filled("w", "F6_E3M2", (2, 6)), cut((2, 6), 4, 8))),
        "f6-run-of-box": (
            "F6 in a box, and runs of another one",
            pieces(
                filled("w", "F6_E2M3", (3, 8)),
                [box((0, 3), (0, 4)), Region((0, 4), (3, 4), (0, 8)), Region((0, 4), (3, 4), (8, 12))],
            ),
        ),
        "f4-blocks": ("F4 over the borders of blocks", pieces(filled("w", "F4", (4001, 6)), cut((4001, 6), 9000))),
        "f6-blocks": (
            "F6 over the borders of blocks: an element lies in two of them",
            one(filled("w", "F6_E2M3", (12000,))),
        ),
    }
    for name, (title, draft) in drafts.items():
        yield accepted(f"dtypes-{name}", title, READ, draft, read=True)
    empty = Tensor("w", "F4", (0, 3), b"")
    yield accepted("dtypes-f4-empty", "An empty tensor of F4 with odd sizes", READ, one(empty), read=True)
    made = pieces(filled("w", "F6_E2M3", (3, 8)), grid([1, 3], [4, 8]))
    yield sound("dtypes-f6-verified", "Boxes of F6: shapes of headers count elements", ["SCF-OBJ-007"], made)
    coded = (Shard(0, codec=1, encode=plain_frame),)
    yield accepted(
        "dtypes-f6-encoded",
        "F6 in encoded blocks",
        ["SCF-READ-001", "SCF-CODEC-002"],
        one(filled("w", "F6_E3M2", (12000,)), shards=coded, codecs=((), (ZSTD,))),
        read=True,
    )


def _asked() -> Iterator[Case]:
    shape = (6, 8)
    wanted = [
        whole(shape),
        *grid([2, 6], [2, 8]),
        *cut(shape, 2, 12, 34),
        Region((1, 2), (4, 4), (2, 14)),
        box((3, 4), (4, 6)),
        run(shape, 20, 20),
    ]
    stored = {"whole": [whole(shape)], "runs": cut(shape, 6, 22), "boxes": grid([1, 6], [4, 6, 8])}
    for name, regions in stored.items():
        yield region_case(
            f"dtypes-f4-regions-of-{name}",
            f"Regions of F4 that was stored in {name}",
            [*READ, "SCF-READ-002"],
            pieces(filled("w", "F4", shape), regions),
            wanted,
        )
    odd = (4, 3)
    yield region_case(
        "dtypes-f4-regions-of-odd-rows",
        "Runs of F4 with rows of three elements",
        [*READ, "SCF-READ-002"],
        pieces(filled("w", "F4", odd), cut(odd, 4)),
        [whole(odd), *cut(odd, 2, 8), run(odd, 4, 6)],
    )
    six = (3, 8)
    yield region_case(
        "dtypes-f6-regions",
        "Regions of F6 that was stored in runs",
        [*READ, "SCF-READ-002"],
        pieces(filled("w", "F6_E3M2", six), cut(six, 4, 16)),
        [whole(six), *grid([1, 3], [4, 8]), *cut(six, 8, 12), Region((1, 4), (2, 4), (4, 8))],
    )
    long = (12000,)
    yield region_case(
        "dtypes-f6-regions-over-blocks",
        "Regions of F6 over the border of blocks, in the middle of an element",
        [*READ, "SCF-READ-002"],
        one(filled("w", "F6_E2M3", long)),
        [run(long, 5460, 5464), run(long, 5456, 5468), box((5460, 10924)), run(long, 11996, 12000)],
    )


def _refused_requests() -> Iterator[Case]:
    four = pieces(filled("w", "F4", (6, 8)), cut((6, 8), 6, 22))
    odd = pieces(filled("w", "F4", (4, 3)), cut((4, 3), 4))
    six = pieces(filled("w", "F6_E3M2", (3, 8)), cut((3, 8), 4, 16))
    runs_of = "dtypes-f4-regions-of-runs"
    faults: dict[str, tuple[str, Draft, str, Region]] = {
        "f4-run-start": ("The run begins at an odd element.", four, runs_of, run((6, 8), 3, 8)),
        "f4-run-stop": ("The run ends at an odd element.", four, runs_of, run((6, 8), 2, 7)),
        "f4-box-offset": ("The box begins at an odd column.", four, runs_of, box((0, 6), (1, 8))),
        "f4-box-size": ("The box has an odd number of columns.", four, runs_of, box((0, 6), (2, 5))),
        "f4-element": ("The box is one element.", four, runs_of, box((0, 1), (0, 1))),
        "f4-odd-rows": (
            "The box is two rows of three elements: the tensor's last dimension has an odd size.",
            odd, "dtypes-f4-regions-of-odd-rows", box((0, 2), (0, 3)),
        ),
        "f6-run": ("The run begins at element 2.", six, "dtypes-f6-regions", run((3, 8), 2, 8)),
        "f6-box": ("The box begins at column 2.", six, "dtypes-f6-regions", box((0, 3), (2, 6))),
    }  # fmt: skip
    for name, (fault, draft, sibling, region) in faults.items():
        yield refused_region(
            f"dtypes-request-{name}", f"A request that cuts a byte: {name}", fault, sibling, draft, region
        )


def _refused_shards() -> Iterator[Case]:
    """Tensors and shards that begin or end within a byte, with stored sizes rounded up."""
    yield _claims("f4-odd", "F4 of three elements: 12 bits", "dtypes-f4-pairs", "F4", (3,), [whole((3,))])
    yield _claims("f6-two", "F6 of two elements: 12 bits", "dtypes-f6-fours", "F6_E2M3", (2,), [whole((2,))])
    yield _claims("f4-scalar", "A scalar of F4: 4 bits", "dtypes-f4-pairs", "F4", (), [whole(())])
    yield _claims("f4-run", "F4 in runs that meet at an odd element", "dtypes-f4-runs", "F4", (8,), cut((8,), 3))
    yield _claims("f6-run", "F6 in runs that meet at element 2", "dtypes-f6-runs", "F6_E2M3", (8,), cut((8,), 2))
    yield _claims(
        "f4-box", "F4 in boxes that meet at an odd column", "dtypes-f4-columns", "F4", (2, 8), grid([2], [3, 8])
    )
    yield _claims(
        "f4-rows",
        "F4 of rows of three elements in boxes of two rows",
        "dtypes-f4-rows-of-three",
        "F4",
        (4, 3),
        grid([2, 4], [3]),
    )
    yield _claims(
        "f6-box", "F6 in boxes that meet at column 2", "dtypes-f6-boxes", "F6_E3M2", (4, 8), grid([4], [2, 8])
    )


def _claims(name: str, what: str, sibling: str, dtype: str, shape: tuple[int, ...], regions: Sequence[Region]) -> Case:
    bits = 4 if dtype == "F4" else 6
    sizes = [-(-region.elements * bits // 8) for region in regions]
    total = -(-sum(region.elements for region in regions) * bits // 8)
    made = one(Tensor("w", "U8", (sum(sizes),), bytes(sum(sizes))))

    def claims(record: Record) -> None:
        record["dtypes"] = [dtype]
        tensors = record["tensors"]["columns"]
        tensors["ndim"] = column("u8", [len(shape)])
        tensors["shape"] = column("u64", shape)
        record["shards"]["count"] = len(regions)
        table = columns(record)
        table["tensor"] = column("u32", [0] * len(regions))
        table["object"] = column("u32", [0] * len(regions))
        table["box_offset"] = column("u64", [number for each in regions for number in each.offset])
        table["box_size"] = column("u64", [number for each in regions for number in each.size])
        table["run_start"] = column("u64", [each.start for each in regions])
        table["run_stop"] = column("u64", [each.stop for each in regions])
        table["offset"] = column("u64", [4096 + sum(sizes[:at]) for at in range(len(sizes))])
        table["block_digest"] = bytes(32 * len(regions))

    def counted(members: Record) -> None:
        members["items"]["model"]["counts"].update(shards=len(regions), bytes=total)

    return refused(
        f"dtypes-cut-{name}",
        f"A tensor or shard that cuts a byte: {what}",
        f"{what}; it does not begin and end at whole bytes.",
        "manifest.schema",
        ["SCF-REG-006"],
        sibling,
        made.with_item("model", record=claims).with_(members=counted),
        phases=["manifest"],
        options=[f"dtype:{dtype}"],
    )
