"""Section 15.2: paths that are asked for, requests as a whole, unassigned shards, and what is not read."""

from __future__ import annotations

from collections.abc import Iterator

from ...oracle.encode import Draft, Item, Object, Record, Shard, Tensor, column, digest
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import STEP, B, W, content, tensor, unassigned
from ..drafts_b import KEY, box, damage, pieces, reading, region_step, region_value, run
from ..expect import Component, file, path
from ..forms import accepted, dtypes

__all__ = ["cases"]

TREE = {
    "layers.0.weight": tensor(0),
    "layers": {"0": {"weight": tensor(1)}, 0: {"weight": tensor(2)}, "": tensor(3)},
    "list": [tensor(4), {"x": tensor(5)}],
    "step": 2,
    "a/b": tensor(6),
    "none": None,
}


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _paths()
    yield from _unassigned()
    yield from _whole_requests()
    yield from _large()


def _tensors() -> Draft:
    names = ["layers.0.weight", "layers/0/weight", "layers/#0/weight", "layers/%", "list/#0", "list/#1/x", "a%2Fb"]
    tensors = tuple(Tensor(name, "U8", (3,), content(3, at)) for at, name in enumerate(names))
    return Draft({"model": Item(tensors, tree=TREE)}, metadata=STEP)


def _paths() -> Iterator[Case]:
    draft = _tensors()
    item = draft.items["model"]
    yield accepted(
        "reading-paths",
        "Paths of text and integers, with dots, slashes and an empty key",
        ["SCF-READ-001", "SCF-TREE-009", "SCF-OBJ-011"],
        draft,
        read=True,
    )
    good: list[tuple[Component, ...]] = [
        ("layers", 0, "weight"), ("layers", "0", "weight"), ("layers.0.weight",), ("a/b",), ("list", 1, "x"),
        ("layers", ""), ("list", 0), ("layers", 0, "weight"),
    ]  # fmt: skip
    yield Case(
        "reading-paths-one-by-one",
        "Paths that are asked for one by one, and one of them twice",
        ["SCF-READ-001", "SCF-TREE-009"],
        "read",
        [reading(item, good), *(reading(item, [place]) for place in good[:4]), reading(item, [])],
        files=checkpoint(draft),
        options=["dtype:U8"],
    )
    missing: dict[str, tuple[str, tuple[Component, ...]]] = {
        "unknown": ("The tree has no key v.", ("v",)),
        "split-at-dots": ("The path is layers, 0, weight, bias.", ("layers", "0", "weight", "bias")),
        "text-for-position": ("The list has the position 0, and not the text 0.", ("list", "0")),
        "integer-for-text": ("The map has the key a/b, and no integer.", ("a/b", 0)),
        "position-behind-end": ("The list has two elements.", ("list", 2)),
        "position-negative": ("The list has no position -1.", ("list", -1)),
        "split-at-slash": ("The tree has the key a/b, and no key a.", ("a", "b")),
        "joined": ("The tree has no key layers/0/weight.", ("layers/0/weight",)),
        "name-of-tensor": ("layers/#0/weight is the name of a tensor, and no path.", ("layers/#0/weight",)),
        "upper-case": ("The tree has the key layers, and not Layers.", ("Layers", "0", "weight")),
        "map": ("The node is a map.", ("layers", "0")),
        "list": ("The node is a list.", ("list",)),
        "top": ("The path is empty: the top node.", ()),
        "integer": ("The node is the integer 2.", ("step",)),
        "nil": ("The node is nil.", ("none",)),
        "below-leaf": ("The path goes on below a tensor.", ("layers.0.weight", "data")),
    }
    for name, (fault, place) in missing.items():
        refusal = rejected("tensor.missing", phases=["plan"])
        steps: list[Json] = [
            step("read", refusal, paths=[path(place)]),
            step("read", refusal, paths=[path(("a/b",)), path(place)]),
        ]
        yield Case(
            f"reading-missing-{name}", f"A path at which there is no tensor: {name}", ["SCF-READ-012", "SCF-TREE-009"],
            "read", steps, kind="invalid", fault=fault, sibling="reading-paths-one-by-one", files=checkpoint(draft),
            options=["dtype:U8"],
        )  # fmt: skip
        if name in ("unknown", "text-for-position", "map"):
            region = region_value(run((3,), 0, 1))
            yield Case(
                f"reading-missing-{name}-region", f"A region of a tensor that is not there: {name}", ["SCF-READ-012"],
                "region-read", [step("read_region", refusal, path=path(place), regions=[region])], kind="invalid",
                fault=fault, sibling="reading-paths-one-by-one", files=checkpoint(draft), options=["dtype:U8"],
            )  # fmt: skip


def _unassigned() -> Iterator[Case]:
    yield accepted(
        "reading-unassigned",
        "Unassigned shards behind a tensor",
        ["SCF-READ-009", "SCF-READ-001"],
        unassigned(),
        read=True,
    )
    lost = bytes(255 - each for each in W.data)
    shards = (
        Shard(None, name="w@[0:2,0:3]", data=lost, header=("F32", (2, 3))),
        Shard(0),
        Shard(None, name="w@[0:1,0:3]", data=lost[:12], header=("F32", (1, 3)), object=1),
        Shard(1, object=1),
    )
    draft = Draft({"model": Item((W, B), shards=shards, objects=(Object(), Object(number=1)))}, metadata=STEP)
    yield accepted(
        "reading-unassigned-other-bytes",
        "Unassigned shards with entry names and sizes as a tensor's, and with other bytes",
        ["SCF-READ-009", "SCF-READ-001"],
        draft,
        read=True,
    )
    yield Case(
        "reading-unassigned-regions",
        "Regions of a tensor with unassigned shards beside it",
        ["SCF-READ-009"],
        "region-read",
        [region_step(draft.items["model"], ("w",), [box((0, 1), (0, 3)), run((2, 3), 2, 4), run((2, 3), 0, 6)])],
        files=checkpoint(draft),
        options=dtypes(draft),
    )


def _whole_requests() -> Iterator[Case]:
    draft = pieces(W, [box((0, 1), (0, 3)), box((1, 2), (0, 3))], assets={"a.txt": b"a", "b.txt": b"b"})
    files = damage(draft, KEY, 4096 + 13)
    bad = step("read", rejected("block.digest"), assets=["a.txt"])
    regions = [region_value(each) for each in (box((0, 1), (0, 3)), box((1, 2), (0, 3)))]
    yield Case(
        "reading-second-shard",
        "The second shard of a tensor is damaged: the tensor is refused as a whole",
        ["SCF-READ-007", "SCF-CONV-002"],
        "read",
        [bad, step("read", rejected("block.digest"), paths=[["w"]])],
        kind="invalid",
        fault="A bit of the second row of w is changed.",
        sibling="geometry-rows",
        files=files,
        options=["dtype:F32"],
    )
    yield Case(
        "reading-second-region",
        "The second of two regions is damaged: the request is refused as a whole",
        ["SCF-READ-007", "SCF-READ-006"],
        "region-read",
        [
            step("read_region", rejected("block.digest"), path=["w"], regions=regions),
            region_step(draft.items["model"], ("w",), [box((0, 1), (0, 3))]),
        ],
        kind="invalid",
        fault="A bit of the second row of w is changed.",
        sibling="geometry-rows",
        files=files,
        options=["dtype:F32"],
    )
    broken = {**checkpoint(draft), "c/model/b.txt": b"x"}
    assets = [{"name": "a.txt", "file": file(b"a")}]
    yield Case(
        "reading-damaged-asset",
        "An asset is damaged: tensors and the other asset are read, and not together with it",
        ["SCF-READ-007", "SCF-DIG-005"],
        "read",
        [
            step("read", ok(assets=assets), assets=["a.txt"]),
            step("read", rejected("asset.digest", phases=["read"]), assets=["a.txt", "b.txt"]),
            step("read", rejected("asset.digest", phases=["read"]), paths=[], assets=["b.txt"]),
        ],
        kind="invalid",
        fault="The asset b.txt has another byte.",
        sibling="geometry-rows",
        files=broken,
        options=["dtype:F32"],
    )


LARGE = 96 << 20
BLOCK = 1 << 20


def _large() -> Iterator[Case]:
    """A shard of 96 MiB of zeros behind a first block of other bytes; what is read needs two blocks at most."""
    first = content(BLOCK)[:4096]
    small = Tensor("w", "U8", (4096,), first)
    zeros = digest("blake3", bytes(BLOCK))
    total = BLOCK + LARGE
    head = first + bytes(BLOCK - 4096)

    def larger(record: Record) -> None:
        record["objects"][0]["size"] = 4096 + total
        record["tensors"]["columns"]["shape"] = column("u64", [total])
        blocks = digest("blake3", head) + zeros * (LARGE // BLOCK)
        record["shards"]["columns"]["block_digest"] = blocks

    def counted(members: Record) -> None:
        members["items"]["model"]["counts"]["bytes"] = total

    made = Draft({"model": Item((small,), objects=(Object(block=BLOCK),))}, metadata=STEP)
    draft = made.with_item("model", record=larger).with_(members=counted)
    key = f"c/{KEY}"
    files = checkpoint(draft)
    wanted = [run((total,), 0, 10), run((total,), BLOCK - 3, BLOCK + 3), run((total,), total - 1, total)]
    expected = [first[:10], bytes(6), bytes(1)]
    yield Case(
        "reading-few-blocks-of-many",
        "Some bytes of a tensor of 97 MiB, in less memory than that",
        ["SCF-READ-005", "SCF-READ-001"],
        "region-read",
        [
            step(
                "read_region",
                ok(dtype="U8", files=[file(each) for each in expected]),
                path=["w"],
                regions=[region_value(each) for each in wanted],
            )
        ],
        files=files,
        stores={"main": {"pads": [{"path": key, "byte": 0, "count": total - 4096}]}},
        options=["dtype:U8"],
        memory=48 << 20,
        timeout=30,
    )
