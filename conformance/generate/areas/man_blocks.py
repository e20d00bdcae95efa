"""Blocks that are damaged, items beside damaged ones, verbatim copies (sections 7.8, 13.2 and 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ...oracle.encode import Draft, Item, Object, Shard, manifest_key
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import STEP, B, W, basic, encoded, one
from ..expect import inspected, manifest_values, read_values, root_digest
from ..forms import accepted, dtypes

__all__ = ["cases"]

ITEMS: Final = {"model": Item((W,)), "optimizer": Item((B,), tree=None, assets={"notes.txt": b"notes"})}
Change = Callable[[bytes], bytes]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _blocks()
    yield from _items()
    yield _copy()


def _blocks() -> Iterator[Case]:
    """One damaged block: the tensors in it are refused, the others are read."""
    apart = one(W, B, shards=(Shard(0), Shard(1, object=1)), objects=(Object(0), Object(1)))
    title = "Two tensors in two objects"
    yield accepted("manifest-blocks", title, ["SCF-MAN-025", "SCF-LIMIT-001"], apart, read=True)
    rows: tuple[tuple[str, str, Draft, str, str, Change, str], ...] = (
        (
            "flipped",
            "manifest-blocks",
            apart,
            "w",
            "b",
            lambda data: data[:4100] + b"\xff" + data[4101:],
            "A byte of a block is another one.",
        ),
        (
            "zeros",
            "manifest-blocks",
            apart,
            "w",
            "b",
            lambda data: data[:4096] + bytes(len(data) - 4096),
            "A block is all zeros.",
        ),
        (
            "encoded",
            "manifest-shards-encoded",
            encoded(),
            "w",
            "b",
            lambda data: data[:-1] + bytes([data[-1] ^ 1]),
            "A bit of an encoded block is flipped.",
        ),
        (
            "encoded-magic",
            "manifest-shards-encoded",
            encoded(),
            "w",
            "b",
            lambda data: data[:4102] + b"\x29" + data[4103:],
            "The first byte of an encoded block is another one, so that it does not decode.",
        ),
    )
    for name, sibling, draft, damaged, sound, change, fault in rows:
        files = checkpoint(draft)
        key = f"c/model/{draft.attempt}-00000.safetensors"
        files[key] = change(files[key])
        item = draft.items["model"]
        yield Case(
            f"manifest-blocks-{name}",
            f"A damaged block stops those who need it, and nobody else: {fault[0].lower()}{fault[1:-1]}",
            ["SCF-MAN-025", "SCF-CONV-002", "SCF-READ-007"],
            "read",
            [
                step("inspect", ok(**inspected(draft))),
                step("read", ok(**read_values(item, [(sound,)])), paths=[[sound]]),
                step("read", rejected("block.digest"), paths=[[damaged]]),
                step("read", rejected("block.digest")),
            ],
            kind="invalid",
            fault=fault,
            sibling=sibling,
            files=files,
            options=dtypes(draft),
        )


def _items() -> Iterator[Case]:
    """Of two items one is damaged; the other one can be opened all the same."""
    draft = Draft(ITEMS, metadata=STEP)
    optimizer, key = manifest_key("optimizer"), f"optimizer/{draft.attempt}-00000.safetensors"
    rows: tuple[tuple[str, str, tuple[str, ...], str | None], ...] = (
        ("whole", "is whole", (), None),
        ("no-manifest", "has no manifest", (optimizer,), "manifest.missing"),
        ("no-object", "has no data object", (key,), "object.missing"),
        ("nothing", "has nothing left", (optimizer, key, "optimizer/notes.txt"), "manifest.missing"),
    )
    for name, what, drop, code in rows:
        steps = [
            step("inspect", ok(items={"$equal": {}}), items=[]),
            step("inspect", ok(items={"model": manifest_values(ITEMS["model"])}), items=["model"]),
            step("read", ok(**read_values(ITEMS["model"]))),
        ]
        if code:
            steps.append(step("read", rejected(code), item="optimizer"))
        yield Case(
            f"manifest-items-{name}",
            f"One of two items {what}: the other one is read",
            ["SCF-OPEN-001"],
            "read",
            steps,
            files=checkpoint(draft.with_(drop=drop)),
            options=["dtype:BF16", "dtype:F32"],
        )


def _copy() -> Case:
    draft = basic().with_(
        members=lambda members: members.update({"x-acme": {"note": 1}}),
        text=lambda rest: b"\n " + rest + b"\n",
    )
    draft = draft.with_item("model", record=lambda record: record.update({"x-acme": [1, 2]}))
    keys = [key.replace("c/", "d/", 1) for key in checkpoint(draft)]
    return Case(
        "copy-unknown-members",
        "A copy keeps all bytes, with members that nobody knows, and so its root digest",
        ["SCF-CONV-008"],
        "lifecycle",
        [
            step("copy", ok(digest=root_digest(draft)), to="$other", **{"as": "d"}),
            step("inspect", ok(**inspected(draft)), store="$other", checkpoint="d"),
        ],
        files=checkpoint(draft),
        stores={"other": {}},
        after={"main": {"unchanged": True}, "other": {"only": sorted(keys)}},
        options=["copy"],
    )
