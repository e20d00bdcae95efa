"""Names and keys of a manifest (SCF-LAYOUT-003)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...oracle.encode import Draft, Item, Object, Record, Shard
from ..case import Case
from ..drafts import ATTEMPT, OTHER, W, scalars, single
from ..forms import accepted, refused

__all__ = ["manifest_cases"]

MOST = (1 << 63) - 1
FACTS: dict[str, Any] = {"size": 4120, "data_start": 4096, "header_digest": b"\x00" * 32}


def _row(**changes: Any) -> Draft:
    """One tensor, in an object whose row has these members changed; None removes one."""

    def change(record: Record) -> None:
        for name, value in changes.items():
            if value is None:
                record["objects"][0].pop(name, None)
            else:
                record["objects"][0][name] = value

    return single().with_item("model", record=change)


def _of_another(key: str) -> Draft:
    """One tensor, in an object of another checkpoint that is not in the store."""
    item = Item((W,), shards=(Shard(0, offset=4096),), objects=(Object(store_key=key, origin=FACTS),))
    external = [{"checkpoint": name, "digest": "0a" * 32} for name in ("...", "old")]
    return Draft({"model": item}, external=external)


def manifest_cases() -> Iterator[Case]:
    """All cases of this module."""
    for name, number in (("0", "00000"), ("5", "99999"), ("6", "100000"), ("19", str(MOST))):
        yield accepted(
            f"layout-object-number-{name}",
            f"A data object with the number {number}",
            ["SCF-LIMIT-001", "SCF-LAYOUT-003"],
            _numbered(number),
        )
    for name, key in (
        ("short", ".../-/3f9c2a71d0b84e55-00000.safetensors"),
        ("long", f"old/{'z' * 128}/{OTHER}-{MOST}.safetensors"),
    ):
        yield accepted(
            f"layout-store-key-{name}",
            "A data object of another checkpoint, with names at the ends of the grammar",
            ["SCF-LIMIT-001", "SCF-LAYOUT-003"],
            _of_another(key),
        )
    yield from _keys()
    yield from _heads()


def _numbered(number: str) -> Draft:
    """One tensor in an object of this number."""
    draft = single()
    key = f"model/{ATTEMPT}-{number}.safetensors"
    return draft.with_item("model", record=lambda record: record["objects"][0].update(key=key))


def _keys() -> Iterator[Case]:
    for name, number, what in (
        ("four-digits", "0000", "has four digits"),
        ("leading-zero", "012345", "has six digits, of which the first is 0"),
        ("none", "", "has no digits"),
        ("2-63", str(MOST + 1), "is 2^63"),
        ("20-digits", "1" * 20, "has 20 digits"),
        ("letter", "0000a", "has a letter"),
        ("minus", "-1000", "is negative"),
        ("arabic", "\u0660" * 5, "has Arabic digits"),
    ):
        fault = f"The number in the key of a data object {what}."
        yield _refused(f"object-number-{name}", fault, "layout-object-number-0", _numbered(number))
    good = f"model/{ATTEMPT}-00000.safetensors"
    for name, key, what in (
        ("upper", good.replace("3f9c", "3F9C"), "has an attempt in upper case"),
        ("attempt-15", good.replace("3f9c", "3f9"), "has an attempt of 15 digits"),
        ("suffix", good.replace(".safetensors", ".bin"), "ends with .bin"),
        ("feed", f"{good}\n", "ends with a line feed"),
        ("slash-first", f"/{good}", "begins with a slash"),
        ("dots", f"../c/{good}", "begins with two dots"),
        ("checkpoint", f"c/{good}", "begins with the name of the checkpoint"),
        ("item", good.replace("model", "optimizer"), "lies below another item"),
        ("no-item", good.removeprefix("model/"), "has no item"),
        ("manifest", f"model/manifest-{ATTEMPT}.msgpack.zst", "is that of the manifest"),
        ("empty", "", "is empty"),
    ):
        fault = f"The key of a data object {what}."
        yield _refused(f"object-key-{name}", fault, "layout-object-number-0", _row(key=key))
    old = f"old/policy/{OTHER}-00000.safetensors"
    for name, key, what in (
        ("no-checkpoint", old.removeprefix("old/"), "has no checkpoint"),
        ("deeper", f"old/{old}", "has a segment more"),
        ("dots", f"old/../{old}", "has a segment of two dots"),
        ("parent", f"../{old}", "begins with two dots"),
        ("hidden-item", old.replace("policy", ".policy"), "has an item that begins with a dot"),
        ("item-129", old.replace("policy", "z" * 129), "has an item of 129 characters"),
        ("root", "old/checkpoint.json", "is that of a root"),
        ("asset", "old/policy/config.json", "is that of an asset"),
    ):
        fault = f"The store_key of a data object {what}."
        yield _refused(f"object-store-key-{name}", fault, "layout-store-key-short", _of_another(key))


def _heads() -> Iterator[Case]:
    """The manifest's own attempt and item."""
    for name, changes, fault in (
        ("attempt-upper", {"attempt": ATTEMPT.upper()}, "The manifest's attempt is upper-case."),
        ("attempt-15", {"attempt": ATTEMPT[1:]}, "The manifest's attempt has 15 digits."),
        ("attempt-empty", {"attempt": ""}, "The manifest's attempt is empty."),
        ("item-hidden", {"item": ".model"}, "The manifest's item begins with a dot."),
        ("item-slash", {"item": "../model"}, "The manifest's item has a slash."),
        ("item-empty", {"item": ""}, "The manifest's item is empty."),
    ):
        draft = scalars().with_item("model", record=lambda record, changes=changes: record.update(changes))
        yield _refused(f"manifest-{name}", fault, "layout-item-names", draft)


def _refused(name: str, fault: str, sibling: str, draft: Draft) -> Case:
    title = f"Names of a manifest: {fault[0].lower()}{fault[1:-1]}"
    requirements = ["SCF-LAYOUT-003", "SCF-SEC-010", "SCF-STORE-012"]
    case = refused(f"layout-{name}", title, fault, "manifest.schema", requirements, sibling, draft)
    return replace(case, files={key: data for key, data in case.files.items() if not key.endswith(".safetensors")})
