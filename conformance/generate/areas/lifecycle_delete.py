"""Deletion of a checkpoint (section 13.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...oracle.encode import Draft
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts_c import OLD, OTHER, asset, attempt_of, carrier, damaged, simple, tombstone
from ..expect import read_values
from ..requests import listing

__all__ = ["cases"]

DELETED = step("delete", ok())
GONE = step("inspect", rejected("checkpoint.missing"), items=[])
_ROOT = "c/checkpoint.json"
_ASSETS = {"config.json": b"{}", "a/b": b"x"}


def cases() -> Iterator[Case]:
    """Deletions that are done, and such that are refused."""
    yield from _done()
    yield from _interrupted()
    yield from _refused()


def _case(
    name: str, title: str, requirements: list[str], files: Mapping[str, bytes], *steps: Json, **more: Any
) -> Case:
    return Case(f"delete-{name}", title, requirements, "lifecycle", steps, files=files, **more)


def _buried(draft: Draft, name: str = "c") -> dict[str, Json]:
    """What the tombstone has to be: the bytes of the root."""
    return {key: asset(data) for key, data in tombstone(draft, name).items()}


def _done() -> Iterator[Case]:
    plain = simple(assets=_ASSETS)
    files = checkpoint(plain)
    objects = [key for key in files if key != _ROOT]
    after = {"main": {"absent": [_ROOT], "same": objects, "content": _buried(plain)}}
    yield _case(
        "plain", "The root goes, a tombstone of its bytes comes, all other objects stay",
        ["SCF-DEL-001", "SCF-DEL-003"], files, DELETED, GONE, after=after,
    )  # fmt: skip
    yield _case(
        "old", "The same where everything is old: deletion removes nothing but the root",
        ["SCF-DEL-003", "SCF-DEL-001"], files, DELETED, GONE, after=after, stores={"main": {"ages": {"*": OLD}}},
    )  # fmt: skip
    yield _case(
        "twice", "A second deletion finds nothing", ["SCF-DEL-004", "SCF-DEL-001"], files, DELETED,
        step("delete", rejected("checkpoint.missing")), after=after,
    )  # fmt: skip
    yield _case(
        "one-of-several", "The other checkpoints stay as they are", ["SCF-DEL-001"],
        {**files, **checkpoint(simple(seed=2, attempt=OTHER, sequence=2), "d"), **attempt_of(simple(seed=3), "e")},
        DELETED, listing(("d", 2), newest="d"),
        after={"main": {"same": ["d/*", "e/*", *objects], "absent": [_ROOT]}},
    )  # fmt: skip
    loose = plain.with_(text=lambda text: b"\n " + text.replace(b',"', b',\n "') + b"\n\n", members=_unknown_members)
    yield _case(
        "layout", "The tombstone has every byte of the root: whitespace and unknown members too",
        ["SCF-DEL-001", "SCF-CONV-008"], checkpoint(loose), DELETED,
        after={"main": {"absent": [_ROOT], "content": _buried(loose)}},
    )  # fmt: skip
    carrying = carrier({"c": plain})
    yield _case(
        "origin", "An origin is deleted: what another checkpoint has of it can still be read",
        ["SCF-DEL-003", "SCF-OPEN-003"], {**files, **checkpoint(carrying, "d")}, DELETED,
        step("read", ok(**read_values(plain.items["model"], assets=list(_ASSETS))), checkpoint="d",
             assets=list(_ASSETS)),
        after={"main": {"same": ["d/*", *objects], "absent": [_ROOT]}},
    )  # fmt: skip
    yield _case(
        "carrier", "What carries items of others is deleted: the others stay", ["SCF-DEL-003", "SCF-DEL-001"],
        {**checkpoint(plain, "a"), **checkpoint(carrier({"a": plain}))}, DELETED, GONE,
        after={"main": {"same": ["a/*"], "absent": [_ROOT]}},
    )  # fmt: skip
    lost = simple(assets=_ASSETS).with_(drop=(f"model/{plain.attempt}-00000.safetensors",))
    yield _case(
        "incomplete", "A checkpoint whose data are lost can be deleted: its root is sound", ["SCF-DEL-001"],
        checkpoint(lost), DELETED, GONE, after={"main": {"absent": [_ROOT], "content": _buried(lost)}},
    )  # fmt: skip
    odd = "n" * 128
    yield _case(
        "long-name", "A name of 128 characters: the tombstone's last segment has 150", ["SCF-DEL-001"],
        checkpoint(plain, odd), step("delete", ok(), checkpoint=odd),
        after={"main": {"absent": [f"{odd}/checkpoint.json"], "content": _buried(plain, odd)}},
    )  # fmt: skip


def _unknown_members(root: dict[str, object]) -> None:
    root["x-acme-trace"] = {"id": [1, 2.50, None]}


def _interrupted() -> Iterator[Case]:
    plain = simple(assets=_ASSETS)
    stone = tombstone(plain, "c")
    files = {**checkpoint(plain), **stone}
    objects = [key for key in checkpoint(plain) if key != _ROOT]
    yield _case(
        "again", "A deletion that died behind its tombstone is done again", ["SCF-DEL-002", "SCF-DEL-001"],
        files, DELETED, GONE, after={"main": {"absent": [_ROOT], "same": objects, "content": _buried(plain)}},
    )  # fmt: skip
    yield _case(
        "again-old", "The same ten days later: the tombstone is put anew, and protects for the whole grace period",
        ["SCF-DEL-002", "SCF-GC-002"], files, DELETED,
        step("gc", ok(removed={"$equal": []}), grace=OLD // 2),
        after={"main": {"absent": [_ROOT], "same": objects, "content": _buried(plain)}},
        stores={"main": {"ages": {"*": OLD}}},
    )  # fmt: skip
    key = next(iter(stone))
    yield _case(
        "half-tombstone", "The tombstone that is there is half written: it is replaced", ["SCF-DEL-001", "SCF-DEL-002"],
        {**files, key: stone[key][:100]}, DELETED,
        after={"main": {"absent": [_ROOT], "content": _buried(plain)}},
    )  # fmt: skip
    former = simple(seed=8, attempt=OTHER)
    yield _case(
        "beside-tombstone", "A tombstone of an older checkpoint of the name stays", ["SCF-DEL-001"],
        {**checkpoint(plain), **tombstone(former, "c")}, DELETED, GONE,
        after={"main": {"same": list(tombstone(former, "c")), "content": _buried(plain), "absent": [_ROOT]}},
    )  # fmt: skip


def _refused() -> Iterator[Case]:
    plain = simple()
    rows: tuple[tuple[str, str, list[str], str, Mapping[str, bytes]], ...] = (
        ("missing", "There is no checkpoint of this name", ["SCF-DEL-004"], "checkpoint.missing",
         checkpoint(plain, "d")),
        ("leftovers", "Only leftovers of an attempt are there", ["SCF-DEL-004", "SCF-MODEL-001"], "checkpoint.missing",
         attempt_of(plain, "c")),
        ("deleted", "The checkpoint has been deleted before", ["SCF-DEL-004"], "checkpoint.missing",
         {key: data for key, data in {**checkpoint(plain), **tombstone(plain, "c")}.items() if key != _ROOT}),
        ("damaged", "The root is damaged: nothing says what it reaches", ["SCF-DEL-001", "SCF-ROOT-005"], "root.digest",
         checkpoint(damaged(plain))),
        ("version", "The root is of another major version", ["SCF-DEL-001", "SCF-ROOT-003"], "version.unsupported",
         checkpoint(plain.with_(sealed=lambda root: root.replace(b'{"scf":1,', b'{"scf":2,')))),
        ("schema", "The root lacks a member", ["SCF-DEL-001", "SCF-ROOT-009"], "root.schema",
         checkpoint(plain.with_(members=lambda root: root.pop("parent")))),
        ("feature", "The root has a feature that protects objects in an unknown way", ["SCF-ROOT-024"],
         "feature.unsupported", checkpoint(plain.with_(features={"read": [], "write": ["x-new"]}))),
        ("read-feature", "The root has an unknown feature for readers", ["SCF-ROOT-024", "SCF-ROOT-023"],
         "feature.unsupported", checkpoint(plain.with_(features={"read": ["x-new"], "write": ["x-new"]}))),
        ("signatures", "The root has the reserved feature of signatures for writers", ["SCF-ROOT-024"],
         "feature.unsupported", checkpoint(plain.with_(features={"read": [], "write": ["signatures"]}))),
    )  # fmt: skip
    for name, title, requirements, code, files in rows:
        yield _case(
            f"refused-{name}", title, requirements, files, step("delete", rejected(code)), kind="invalid",
            sibling="delete-plain", fault=f"{title}.", after={"main": {"unchanged": True}},
        )  # fmt: skip
    for name, value in (("dots", ".."), ("slash", "c/model"), ("empty", ""), ("tombstones", ".tombstones")):
        yield _case(
            f"refused-name-{name}", f"A name outside the grammar: {name}", ["SCF-LAYOUT-001", "SCF-SEC-010"],
            {**checkpoint(plain), **checkpoint(plain, ".tombstones"), **checkpoint(plain, "c/model")},
            step("delete", rejected("key.invalid"), checkpoint=value), kind="invalid", sibling="delete-plain",
            fault="The caller's name is outside the grammar.", after={"main": {"unchanged": True}},
        )  # fmt: skip
