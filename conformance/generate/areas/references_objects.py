"""Shards in data objects of another checkpoint, by ``store_key``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...oracle.encode import Draft, Item, Object, Record, Shard, manifest_key
from ...oracle.encode_frame import plain_frame
from ..case import NAME, Case, Json, checkpoint, ok, rejected, step
from ..drafts import ZSTD, B, W
from ..drafts_b import (
    box,
    cut,
    filled,
    flip,
    found,
    key,
    reading,
    region_step,
    region_value,
    run,
    sound_step,
    verify_step,
)
from ..expect import inspected, path, root_digest
from ..forms import dtypes, refused
from ..origins import OLD, OWN, SPARE, borrowed, old_key, origin

__all__ = ["cases", "shared"]

MAIN = ["SCF-READ-001", "SCF-OPEN-003"]
ROOT = f"{OLD}/checkpoint.json"
OLD_MANIFEST = f"{OLD}/{manifest_key('model', '0123456789abcdef')}"


def shared(source: Draft, draft: Draft, *without: str) -> dict[str, bytes]:
    """The files of both checkpoints, but for some store keys."""
    files = {**checkpoint(source, OLD), **checkpoint(draft)}
    return {name: data for name, data in files.items() if name not in without}


def _whole(draft: Draft) -> list[Json]:
    """Everything is there: tree, tensors, and a deep verification finds nothing."""
    return [
        step("inspect", ok(**inspected(draft))),
        reading(draft.items["model"]),
        sound_step(),
        sound_step(deep=False),
    ]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _valid()
    yield from _gone()
    yield from _damaged()
    yield from _refused()


def _valid() -> Iterator[Case]:
    plain = origin()
    draft = borrowed(plain)
    yield _case(
        "references-objects", "Two tensors in an object of another checkpoint, one in an own object", plain, draft
    )
    yield _case(
        "references-objects-alone",
        "No own object: all tensors are in another checkpoint's",
        plain,
        borrowed(plain, own=None),
    )
    yield _case(
        "references-root-gone",
        "The other checkpoint's root is gone, its object is there",
        plain,
        draft,
        shared(plain, draft, ROOT),
        ["SCF-OPEN-003", "SCF-DIG-013"],
    )
    yield _case(
        "references-only-object",
        "Nothing of the other checkpoint is there but the object",
        plain,
        draft,
        shared(plain, draft, ROOT, OLD_MANIFEST),
        ["SCF-OPEN-003", "SCF-DIG-013"],
    )
    changed = replace(plain, metadata={"step": 3})
    yield _case(
        "references-other-root",
        "The other checkpoint has another root digest than external lists: a remark, no finding",
        plain,
        draft,
        shared(changed, draft),
        ["SCF-OPEN-003", "SCF-DIG-013"],
    )
    broken = {**shared(plain, draft), ROOT: b"{}"}
    yield _case(
        "references-broken-root", "The other checkpoint's root is damaged", plain, draft, broken, ["SCF-OPEN-003"]
    )
    unused = [{"checkpoint": "gone", "digest": "ab" * 32}, {"checkpoint": OLD, "digest": root_digest(plain)}]
    more = replace(draft, external=unused)
    yield _case(
        "references-unused", "external lists a checkpoint that is not there and that nothing uses", plain, more,
        shared(plain, more), ["SCF-OPEN-003", "SCF-DIG-013"],
    )  # fmt: skip
    boxes = (Shard(0, box((0, 2), (0, 2))), Shard(2), Shard(0, box((0, 2), (2, 3))), Shard(1))
    parts = origin(shards=boxes)
    yield _case("references-boxes", "A tensor in two shards of another checkpoint's object", parts, borrowed(parts))
    coded = origin(W, filled("v", "U8", (9000,)), shards=_coded(), codecs=((), (ZSTD,)))
    yield _case(
        "references-encoded", "Encoded shards of another checkpoint's object", coded, borrowed(coded, ("w", "v"))
    )
    sums = origin(objects=(Object(digest="sha256", block=8192),))
    yield _case(
        "references-sha256", "An object with another digest and block size than the own one", sums, borrowed(sums)
    )
    two = origin(W, B, shards=(Shard(0), Shard(1, object=1)), objects=(Object(), Object(number=1)))
    yield _case("references-two-objects", "Two objects of another checkpoint", two, borrowed(two))
    yield _mixed()
    yield _two_checkpoints()
    yield _other_item()


def _coded() -> tuple[Shard, ...]:
    pieces = (Shard(1, each, codec=1, encode=plain_frame) for each in cut((9000,), 5000))
    return (Shard(0), *pieces)


def _case(
    name: str,
    title: str,
    source: Draft,
    draft: Draft,
    files: Mapping[str, bytes] | None = None,
    requirements: list[str] | None = None,
) -> Case:
    return Case(
        name,
        title,
        requirements or MAIN,
        "integrity",
        _whole(draft),
        files=shared(source, draft) if files is None else files,
        options=dtypes(draft),
    )


def _mixed() -> Case:
    """The first row of ``w`` by reference, the second one anew."""
    rows = (Shard(0, box((0, 1), (0, 3))), Shard(0, box((1, 2), (0, 3))), Shard(1))
    source = origin(W, B, shards=rows)
    made = borrowed(source, own=None)
    item = made.items["model"]
    assert item.shards
    first, _, third = item.shards
    shards = (first, third, Shard(0, box((1, 2), (0, 3)), object=1))
    draft = replace(made, items={"model": replace(item, shards=shards, objects=(*item.objects, Object()))})
    region = region_step(draft.items["model"], ("w",), [run((2, 3), 1, 5), box((0, 2), (1, 2))])
    return Case(
        "references-rows",
        "A tensor with one row in another checkpoint's object and one in an own object",
        MAIN,
        "integrity",
        [*_whole(draft), region],
        files=shared(source, draft),
        options=dtypes(draft),
    )


def _two_checkpoints() -> Case:
    first, second = origin(W), origin(B)
    one = borrowed(first, ("w",), own=None)
    other = borrowed(second, ("b",), under="older", own=None).items["model"]
    item = one.items["model"]
    assert item.shards
    assert other.shards
    shards = (*item.shards, replace(other.shards[0], tensor=1, object=1))
    both = Item((W, B), shards=shards, objects=(*item.objects, *other.objects))
    external = [
        {"checkpoint": OLD, "digest": root_digest(first)},
        {"checkpoint": "older", "digest": root_digest(second)},
    ]
    draft = replace(one, items={"model": both}, external=external)
    return Case(
        "references-two-checkpoints",
        "Objects of two other checkpoints",
        MAIN,
        "integrity",
        _whole(draft),
        files={**shared(first, draft), **checkpoint(second, "older")},
        options=dtypes(draft),
    )


def _other_item() -> Case:
    source = Draft({"policy": origin().items["model"]}, attempt="0123456789abcdef")
    made = borrowed(Draft({"model": source.items["policy"]}, attempt="0123456789abcdef"))
    item = made.items["model"]
    moved = replace(item.objects[0], store_key=old_key(item="policy"))
    external = [{"checkpoint": OLD, "digest": root_digest(source)}]
    draft = replace(made, items={"model": replace(item, objects=(moved, *item.objects[1:]))}, external=external)
    return Case(
        "references-other-item",
        "An object of another item of another checkpoint",
        MAIN,
        "integrity",
        _whole(draft),
        files=shared(source, draft),
        options=dtypes(draft),
    )


def _gone() -> Iterator[Case]:
    plain = origin()
    draft = borrowed(plain)
    files = shared(plain, draft, old_key())
    yield Case(
        "references-object-gone",
        "The object of the other checkpoint is gone: what does not need it is read",
        ["SCF-DIG-019", "SCF-READ-006"],
        "read",
        [
            step("inspect", ok(**inspected(draft))),
            reading(draft.items["model"], [("n",)]),
            step("read", rejected("external.missing", phases=["read"]), paths=[["w"]]),
            step("read", rejected("external.missing", phases=["read"])),
        ],
        kind="invalid",
        fault="The object of the other checkpoint is not in the store.",
        sibling="references-objects",
        files=files,
        options=dtypes(draft),
    )
    for deep in (True, False):
        name = "deep" if deep else "shallow"
        yield _unsound(
            f"references-object-gone-{name}", f"A {name} verification finds the missing object of another checkpoint",
            "The object of the other checkpoint is not in the store.", ["SCF-DIG-013", "SCF-DIG-019"],
            {"$set": [found("external.missing", old_key())]}, files, deep=deep,
        )  # fmt: skip
    yield refused(
        "references-region-gone", "A region that needs the missing object of another checkpoint",
        "The object of the other checkpoint is not in the store.", "external.missing", ["SCF-DIG-019"],
        "references-objects", draft, op="read_region", phases=["read"],
        request={"path": path(("w",)), "regions": [region_value(box((0, 1), (0, 1)))]},
    )  # fmt: skip
    everything = checkpoint(draft)
    yield _unsound(
        "references-store-of-one", "The checkpoint alone, in a store without the other one",
        "The store has nothing of the other checkpoint.", ["SCF-DIG-019", "SCF-DIG-013"],
        {"$set": [found("external.missing", old_key())]}, everything,
    )  # fmt: skip


def _unsound(
    name: str, title: str, fault: str, requirements: list[str], findings: Json, files: Mapping[str, bytes],
    *, deep: bool = True, sibling: str = "references-objects",
) -> Case:  # fmt: skip
    return Case(
        name, title, requirements, "integrity", [verify_step(findings, deep=deep)], kind="invalid", fault=fault,
        sibling=sibling, files=files, options=["dtype:BF16", "dtype:F32", "dtype:I16"],
    )  # fmt: skip


def _damaged() -> Iterator[Case]:
    plain = origin()
    draft = borrowed(plain)
    files = shared(plain, draft)
    at = files[old_key()].index(W.data)
    damaged = {**files, old_key(): flip(files[old_key()], at)}
    yield Case(
        "references-damaged",
        "A damaged byte in the object of the other checkpoint",
        ["SCF-MAN-025", "SCF-DIG-013", "SCF-READ-006"],
        "integrity",
        [
            reading(draft.items["model"], [("b",), ("n",)]),
            step("read", rejected("block.digest"), paths=[["w"]]),
            verify_step({"$set": [found("block.digest", old_key(), "w")]}),
            verify_step({"$set": [found("block.digest", old_key(), "w")]}, checkpoint=OLD),
        ],
        kind="invalid",
        fault="A bit of w is changed in the object of the other checkpoint.",
        sibling="references-objects",
        files=damaged,
        options=[*dtypes(draft), "dtype:U8"],
    )
    spare = files[old_key()].index(SPARE.data)
    yield Case(
        "references-damaged-elsewhere",
        "A damaged byte of the other checkpoint's object that is not used here",
        ["SCF-DIG-013", "SCF-READ-006"],
        "integrity",
        [
            *_whole(draft),
            verify_step({"$set": [found("block.digest", old_key(), "spare")]}, checkpoint=OLD),
        ],
        files={**files, old_key(): flip(files[old_key()], spare)},
        options=[*dtypes(draft), "dtype:U8"],
    )
    yield _unsound(
        "references-damaged-header", "A damaged header of the other checkpoint's object",
        "A bit of the old header is changed.", ["SCF-DIG-010", "SCF-DIG-013"],
        {"$set": [found("object.header_digest", old_key())]}, {**files, old_key(): flip(files[old_key()], 40)},
    )  # fmt: skip
    longer = {**files, old_key(): files[old_key()] + b"\0"}
    yield Case(
        "references-longer",
        "The object of the other checkpoint has another size than the manifest says",
        ["SCF-DIG-018"],
        "read",
        [
            reading(draft.items["model"], [("n",)]),
            step("read", rejected("object.size", phases=["read"]), paths=[["w"]]),
        ],
        kind="invalid",
        fault="The old object has a byte more.",
        sibling="references-objects",
        files=longer,
        options=dtypes(draft),
    )


def _refused() -> Iterator[Case]:
    plain = origin()
    draft = borrowed(plain)

    def row(**changes: object) -> Draft:
        def change(record: Record) -> None:
            record["objects"][0].update(changes)

        return draft.with_item("model", record=change)

    faults: dict[str, tuple[str, str, Draft]] = {
        "unlisted": (
            "The store_key is in a checkpoint that external does not list.", "SCF-ROOT-019",
            replace(draft, external=()),
        ),
        "other-listed": (
            "external lists another checkpoint, whose name begins alike.", "SCF-ROOT-019",
            replace(draft, external=[{"checkpoint": "old2", "digest": "ab" * 32}]),
        ),
        "own-base": (
            "The store_key is in this checkpoint.", "SCF-MAN-015", row(store_key=f"{NAME}/{key(7)}"),
        ),
        "twice": ("Two rows name the same object of the other checkpoint.", "SCF-MAN-015", _twice(draft)),
        "key-and-store-key": ("A row has both key and store_key.", "SCF-MAN-015", row(key=key(7))),
        "overlap": (
            "Two shards have common bytes in the other checkpoint's object.", "SCF-MAN-024", _overlap(draft),
        ),
        "unassigned": (
            "An unassigned shard is in an object of another checkpoint.", "SCF-MAN-021", _unassigned(draft),
        ),
    }  # fmt: skip
    for name, (fault, requirement, made) in faults.items():
        yield refused(
            f"references-{name}", f"A manifest with a reference that is refused: {name}", fault, "manifest.schema",
            [requirement], "references-objects", made, phases=["manifest"],
        )  # fmt: skip
    both = replace(draft, external=[{"checkpoint": NAME, "digest": "ab" * 32}, *draft.external])
    yield refused(
        "references-own-name-listed", "external lists the checkpoint's own name", "external lists c.", "root.schema",
        ["SCF-ROOT-020"], "references-objects", both, phases=["open"],
    )  # fmt: skip


def _twice(draft: Draft) -> Draft:
    """The shard of ``b`` is in a second row of the same object."""
    item = draft.items["model"]
    assert item.shards
    first, second, third = item.shards
    objects = (item.objects[0], item.objects[0], item.objects[1])
    return draft.with_item(
        "model", objects=objects, shards=(first, replace(second, object=1), replace(third, object=2))
    )


def _overlap(draft: Draft) -> Draft:
    """``b`` begins two bytes before ``w`` ends."""
    item = draft.items["model"]
    assert item.shards
    first, second, third = item.shards
    assert first.offset is not None
    b = replace(item.tensors[1], data=W.data[-2:] + B.data[:4])
    return draft.with_item(
        "model", tensors=(item.tensors[0], b, OWN), shards=(first, replace(second, offset=first.offset + 22), third)
    )


def _unassigned(draft: Draft) -> Draft:
    item = draft.items["model"]
    assert item.shards
    first = item.shards[0]
    assert first.offset is not None
    extra = Shard(None, name="spare", data=SPARE.data, offset=first.offset + 24 + 6)
    return draft.with_item("model", shards=(*item.shards, extra))
