"""The area ``carry``: items that a new checkpoint takes over by reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...oracle.encode import Draft, Item, Object, Shard, build, digest
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts_c import OLD, OTHER, THIRD, attempt_of, carrier, damaged, made, simple, tombstone
from ..expect import read_values, root_digest
from ..requests import carried, item, mapping, save, tensor, write_case, writer

__all__ = ["cases"]

_NEW = writer({"optimizer": mapping(("state", tensor("s")))})
_ASSETS = {"config.json": b'{"hidden":8}', "a/b.txt": b""}
_ORIGIN = simple(assets=_ASSETS)
_ABSENT = {"main": {"absent": ["c/checkpoint.json"], "same": ["*"]}}


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _accepted()
    yield from _forms()
    yield from _refused()


def _save(carry: Mapping[str, Json], expect: Json | None = None) -> Json:
    """A save of an item of its own, with others carried over."""
    return save(items={"optimizer": item("optimizer")}, writers=[_NEW], carry=carry, expect=expect)


def _external(*origins: tuple[str, Draft]) -> Json:
    """A look at the new root: what it depends on."""
    listed = [{"checkpoint": name, "digest": root_digest(draft)} for name, draft in origins]
    return step("inspect", ok(root={"external": listed}), items=[])


def _read(draft: Draft, name: str = "model", source: str = "model") -> Json:
    """The carried item gives what the original gave."""
    assets = list(draft.items[source].assets)
    return step("read", ok(**read_values(draft.items[source], assets=assets)), item=name, assets=assets)


def _accepted() -> Iterator[Case]:
    plain = simple()
    yield write_case(
        "carry-item", "An item is carried over beside one that is written",
        ["SCF-REF-004", "SCF-REF-005", "SCF-ROOT-021"],
        _save({"model": carried("a")}), _external(("a", plain)), _read(plain),
        files=checkpoint(plain, "a"), after={"main": {"same": ["a/*"], "absent": ["c/model/*"]}},
    )  # fmt: skip
    yield write_case(
        "carry-assets", "An item is carried over with its assets", ["SCF-REF-005", "SCF-REF-004"],
        _save({"model": carried("a")}), _external(("a", _ORIGIN)), _read(_ORIGIN), files=checkpoint(_ORIGIN, "a"),
    )  # fmt: skip
    yield write_case(
        "carry-all", "A checkpoint of nothing but what it carries over", ["SCF-REF-004", "SCF-ROOT-021"],
        save(items={}, writers=[writer({})], carry={"model": carried("a")}), _external(("a", plain)), _read(plain),
        files=checkpoint(plain, "a"),
    )  # fmt: skip
    yield write_case(
        "carry-renamed", "An item is carried over under another name", ["SCF-REF-005", "SCF-ROOT-021"],
        _save({"policy": carried("a")}), _external(("a", plain)), _read(plain, "policy"),
        files=checkpoint(plain, "a"),
    )  # fmt: skip
    chain = carrier({"a": _ORIGIN})
    both = {**checkpoint(_ORIGIN, "a"), **checkpoint(chain, "b")}
    yield write_case(
        "carry-from-carrier", "The source carries the item over itself: the reference goes to the origin",
        ["SCF-ROOT-021", "SCF-REF-004"],
        _save({"model": carried("b")}), _external(("a", _ORIGIN)), _read(_ORIGIN), files=both,
    )  # fmt: skip
    other = simple(seed=2, attempt=THIRD)
    yield write_case(
        "carry-from-two", "Items of two checkpoints, and one of them twice: external is sorted, each name once",
        ["SCF-REF-004"], _save({"z": carried("b"), "y": carried("a"), "x": carried("b")}),
        _external(("a", plain), ("b", other)), _read(plain, "y"), _read(other, "z"), _read(other, "x"),
        files={**checkpoint(plain, "a"), **checkpoint(other, "b")},
    )  # fmt: skip


def _borrowing(lender: Draft, name: str) -> Draft:
    """A checkpoint whose item has a manifest of its own, and its tensor in the data object of another checkpoint."""
    key = f"model/{lender.attempt}-00000.safetensors"
    data = build(lender)[key]
    start = 8 + int.from_bytes(data[:8], "little")
    origin = {"size": len(data), "data_start": start, "header_digest": digest("blake3", data[:start])}
    borrowed = Item(
        lender.items["model"].tensors, shards=(Shard(0, offset=start),),
        objects=(Object(store_key=f"{name}/{key}", origin=origin),),
    )  # fmt: skip
    external = [{"checkpoint": name, "digest": root_digest(lender)}]
    return Draft({"model": borrowed}, attempt=OTHER, sequence=2, external=external)


def _forms() -> Iterator[Case]:
    lender = simple()
    borrowing = _borrowing(lender, "z")
    yield write_case(
        "carry-borrowing", "The item's data lie in a third checkpoint: external lists it too",
        ["SCF-REF-004", "SCF-ROOT-021"], _save({"model": carried("a")}),
        _external(("a", borrowing), ("z", lender)), _read(borrowing),
        files={**checkpoint(lender, "z"), **checkpoint(borrowing, "a")},
    )  # fmt: skip
    odd = simple().with_item("model", kind="x-adapter")
    yield write_case(
        "carry-unknown-kind", "The kind of the item is one that nobody knows: it is kept", ["SCF-REF-005"],
        _save({"model": carried("a")}), _read(odd), files=checkpoint(odd, "a"),
    )  # fmt: skip
    displaced = simple(assets=_ASSETS, displaced=frozenset(_ASSETS))
    yield write_case(
        "carry-displaced-assets", "The item's assets lie under keys with the attempt", ["SCF-REF-005"],
        _save({"model": carried("a")}), _read(displaced), files=checkpoint(displaced, "a"),
    )  # fmt: skip
    stale = simple(seed=9)
    yield write_case(
        "carry-beside-old-tombstone", "A tombstone of the source's name, of another root digest",
        ["SCF-REF-002"], _save({"model": carried("a")}), _external(("a", lender)), _read(lender),
        files={**checkpoint(lender, "a"), **tombstone(stale, "a")},
    )  # fmt: skip
    several = Draft({"model": Item((made("w"),)), "other": Item((made("v", seed=3),), kind="other")})
    yield write_case(
        "carry-one-of-two", "One item of a checkpoint of two", ["SCF-REF-004", "SCF-REF-005"],
        _save({"mine": carried("a", "other")}), _external(("a", several)), _read(several, "mine", "other"),
        files=checkpoint(several, "a"),
    )  # fmt: skip


def _refused() -> Iterator[Case]:
    origin = simple()
    chain = carrier({"a": origin})
    renewed = simple(seed=7, attempt=THIRD, sequence=3)
    kept = {key: data for key, data in checkpoint(origin, "a").items() if key != "a/checkpoint.json"}
    own = {key: data for key, data in checkpoint(origin, "c").items() if key != "c/checkpoint.json"}
    chained = {**kept, **checkpoint(chain, "b")}
    feature = origin.with_(features={"read": [], "write": ["x-new"]})
    rows: tuple[tuple[str, str, str, list[str], tuple[str, ...], Mapping[str, bytes], str], ...] = (
        ("tombstone", "The source has a tombstone: its deletion has begun", "a", ["SCF-REF-002"],
         ("external.missing",), {**checkpoint(origin, "a"), **tombstone(origin, "a")}, "carry-item"),
        ("origin-tombstone", "The origin has a tombstone, the source that carries its item has none", "b",
         ["SCF-REF-002", "SCF-ROOT-021"], ("external.missing",),
         {**checkpoint(origin, "a"), **checkpoint(chain, "b"), **tombstone(origin, "a")}, "carry-from-carrier"),
        ("origin-gone", "The origin's root is gone; its objects are still there", "b", ["SCF-REF-001"],
         ("external.missing",), chained, "carry-from-carrier"),
        ("origin-deleted", "The origin is deleted: a tombstone and no root", "b", ["SCF-REF-001", "SCF-REF-002"],
         ("external.missing",), {**chained, **tombstone(origin, "a")}, "carry-from-carrier"),
        ("origin-renewed", "Another checkpoint has the origin's name now", "b", ["SCF-REF-007"],
         ("external.digest", "external.missing"), {**chained, **checkpoint(renewed, "a")}, "carry-from-carrier"),
        ("own-name", "The origin's name is that of the new checkpoint", "b", ["SCF-REF-001"],
         ("external.missing", "usage.invalid"), {**own, **checkpoint(carrier({"c": origin}), "b")},
         "carry-from-carrier"),
        ("feature", "The source has a feature that protects objects in an unknown way", "a",
         ["SCF-ROOT-024", "SCF-COMPAT-004"], ("feature.unsupported",), checkpoint(feature, "a"), "carry-item"),
        ("missing", "There is no checkpoint of the source's name", "z", ["SCF-MODEL-001"],
         ("checkpoint.missing", "external.missing"), checkpoint(origin, "a"), "carry-item"),
        ("leftovers", "The source is what an attempt left that died", "a", ["SCF-MODEL-001"],
         ("checkpoint.missing", "external.missing"), attempt_of(origin, "a"), "carry-item"),
        ("damaged", "The source's root is damaged", "a", ["SCF-ROOT-005"],
         ("root.digest",), checkpoint(damaged(origin), "a"), "carry-item"),
    )  # fmt: skip
    for name, title, source, requirements, codes, files, sibling in rows:
        yield write_case(
            f"carry-refused-{name}", title, requirements, _save({"model": carried(source)}, rejected(*codes)),
            kind="invalid", sibling=sibling, fault=f"{title}.", files=files, after=_ABSENT,
        )  # fmt: skip
    yield write_case(
        "carry-refused-item", "The source has no item of this name", ["SCF-OPEN-004"],
        _save({"model": carried("a", "policy")}, rejected("item.missing")), kind="invalid", sibling="carry-item",
        fault="The source has no item policy.", files=checkpoint(origin, "a"), after=_ABSENT,
    )  # fmt: skip
    yield write_case(
        "carry-refused-tombstone-old", "The source has a tombstone of long ago: the deletion was never finished",
        ["SCF-REF-002"], _save({"model": carried("a")}, rejected("external.missing")),
        kind="invalid", sibling="carry-item", fault="A tombstone of the source's name and root digest exists.",
        files={**checkpoint(origin, "a"), **tombstone(origin, "a")}, stores={"main": {"ages": {"*": OLD}}},
        after=_ABSENT,
    )  # fmt: skip
