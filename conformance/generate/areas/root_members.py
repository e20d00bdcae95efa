"""The members of a root and of its items: presence, types, ranges (sections 6.3 and 6.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...oracle.encode import Draft, Item, Record
from ..case import Case, checkpoint, ok, step
from ..drafts import STEP, bare, basic, scalars
from ..forms import accepted, refused

__all__ = ["cases"]

Change = Callable[[Record], object]
SCHEMA = "root.schema"
ITEM = {
    "kind": "other",
    "manifest": {"key": "", "size": 1, "sha256": "0" * 64},
    "raw_size": 1,
    "counts": {"tensors": 0, "shards": 0, "objects": 0, "bytes": 0},
    "assets": {},
}
MOST_ITEMS = 4096
MAXJSON = (1 << 53) - 1


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _accepted()
    yield from _absent()
    yield from _types()
    yield from _created()
    yield from _items()


def put(*path: str, value: Any) -> Change:
    """Sets a member, given by its path in the root."""

    def change(members: Record) -> None:
        for name in path[:-1]:
            members = members[name]
        members[path[-1]] = value

    return change


def _without(*path: str) -> Change:
    def change(members: Record) -> None:
        for name in path[:-1]:
            members = members[name]
        del members[path[-1]]

    return change


def _many(count: int) -> Change:
    """That many items, whose manifests are not in the store."""

    def change(members: Record) -> None:
        for number in range(count):
            name = f"{number:x}"
            manifest = {**ITEM["manifest"], "key": f"{name}/manifest-{members['attempt']}.msgpack.zst"}  # type: ignore[dict-item]
            members["items"][name] = {**ITEM, "manifest": manifest}

    return change


def _unknown(members: Record) -> None:
    """A member that no reader knows, in every object of the root."""
    item = members["items"]["model"]
    places = [members, members["writer"], members["features"], item, item["manifest"], item["counts"]]
    places += [item["assets"]["config.json"], members["external"][0]]
    for place in places:
        place["x-acme-note"] = {"deep": [1, {"$int": "no tag here"}]}


def _accepted() -> Iterator[Case]:
    external = [{"checkpoint": "old", "digest": "ab" * 32}]
    yield accepted(
        "root-unknown-members",
        "Members that no reader knows, in every object of the root",
        ["SCF-CONV-007", "SCF-COMPAT-002"],
        basic().with_(external=external, members=_unknown),
        read=True,
    )
    for name, title, change in (
        ("spec-of-another-version", "A spec of a later version", put("spec", value="7.3")),
        ("spec-empty", "An empty spec", put("spec", value="")),
        ("writer-odd", "A writer that nobody knows", put("writer", value={"name": "", "version": "\u202e-1\n"})),
        ("sequence-most", "The largest sequence", put("sequence", value=MAXJSON)),
        ("parent", "A parent", put("parent", value="0f" * 32)),
    ):
        requirement = "SCF-ROOT-009" if name in ("sequence-most", "parent") else "SCF-ROOT-010"
        yield accepted(f"root-{name}", title, [requirement, "SCF-COMPAT-002"], basic().with_(members=change))
    for name, value in (
        ("year-1", "0001-01-01T00:00:00Z"),
        ("year-9999", "9999-12-31T23:59:59.999999999Z"),
        ("leap-day", "2024-02-29T12:00:00.5Z"),
        ("leap-day-2000", "2000-02-29T00:00:00.000000000Z"),
    ):
        yield accepted(
            f"root-created-{name}",
            f"The root was created at {value}",
            ["SCF-ROOT-010", "SCF-ROOT-009"],
            bare(members=put("created", value=value)),
        )
    for name, kind in (("kinds", None), ("kind-unknown", "x-acme-memory")):
        kinds = ("model", "optimizer", "scheduler", "rng", "dataloader", "other") if kind is None else (kind,)
        draft = Draft({f"i-{each}": Item(tree=STEP, objects=(), kind=each) for each in kinds})
        title = "Items of all kinds" if kind is None else "An item of a kind that nobody knows is read as other"
        yield accepted(f"root-{name}", title, ["SCF-ROOT-015"], draft)


def _bad(name: str, fault: str, draft: Draft, change: Change, requirements: list[str] | None = None) -> Case:
    sibling = "root-plain" if draft.items else "root-bare"
    title = f"Members of the root: {fault[0].lower()}{fault[1:-1]}"
    changed = draft.with_(members=change)
    return refused(
        f"root-{name}", title, fault, SCHEMA, requirements or ["SCF-ROOT-009"], sibling, changed, phases=["open"]
    )


def _absent() -> Iterator[Case]:
    names = ("spec", "attempt", "created", "writer", "features", "sequence", "parent", "metadata", "items", "external")
    paths: list[tuple[str, ...]] = [(name,) for name in names] + [
        ("writer", "name"),
        ("writer", "version"),
        ("features", "read"),
    ]
    for path in (*paths, ("features", "write")):
        yield _bad(f"without-{'-'.join(path)}", f"The member {'.'.join(path)} is absent.", bare(), _without(*path))
    inner: list[tuple[str, ...]] = [
        ("kind",),
        ("manifest",),
        ("raw_size",),
        ("counts",),
        ("assets",),
        ("manifest", "size"),
        ("manifest", "sha256"),
    ]
    inner += [("counts", each) for each in ("tensors", "shards", "objects", "bytes")]
    inner += [("assets", "config.json", "size"), ("assets", "config.json", "sha256")]
    for path in inner:
        name = "-".join(path).replace("_", "-").replace("config.json-", "")
        fault = f"The member {'.'.join(path)} of an item is absent."
        yield _bad(f"item-without-{name}", fault, basic(), _without("items", "model", *path))


def _types() -> Iterator[Case]:
    rows: list[tuple[str, tuple[str, ...], Any, str]] = [
        ("spec-number", ("spec",), 1.0, "a number"),
        ("attempt-null", ("attempt",), None, "null"),
        ("created-number", ("created",), 1767323045, "a number"),
        ("writer-text", ("writer",), "conformance", "a string"),
        ("writer-name-null", ("writer", "name"), None, "null"),
        ("writer-version-number", ("writer", "version"), 1, "a number"),
        ("features-array", ("features",), [], "an array"),
        ("features-read-text", ("features", "read"), "x", "a string"),
        ("features-read-null", ("features", "read"), None, "null"),
        ("features-write-object", ("features", "write"), {}, "an object"),
        ("features-write-numbers", ("features", "write"), [1], "an array of a number"),
        ("features-read-numbers", ("features", "read"), [1], "an array of a number"),
        ("sequence-zero", ("sequence",), 0, "0"),
        ("sequence-negative", ("sequence",), -1, "-1"),
        ("sequence-2-53", ("sequence",), 1 << 53, "2^53"),
        ("sequence-float", ("sequence",), 1.0, "the token 1.0"),
        ("sequence-text", ("sequence",), "1", "a string"),
        ("sequence-true", ("sequence",), True, "true"),
        ("sequence-null", ("sequence",), None, "null"),
        ("parent-empty", ("parent",), "", "the empty string"),
        ("parent-number", ("parent",), 0, "a number"),
        ("parent-letter", ("parent",), "g" * 64, "64 letters g"),
        ("items-array", ("items",), [], "an array"),
        ("items-null", ("items",), None, "null"),
        ("external-object", ("external",), {}, "an object"),
        ("external-null", ("external",), None, "null"),
        ("external-texts", ("external",), ["old"], "an array of a string"),
    ]
    for name, path, value, what in rows:
        yield _bad(name, f"The member {'.'.join(path)} is {what}.", bare(), put(*path, value=value))
    for name, value, what in (
        ("parent-63", "a" * 63, "has 63 digits"),
        ("parent-65", "a" * 65, "has 65 digits"),
        ("parent-upper", "AB" * 32, "has upper-case digits"),
    ):
        requirements = ["SCF-CONV-005", "SCF-ROOT-009"]
        yield _bad(name, f"The member parent {what}.", bare(), put("parent", value=value), requirements)
    for name, path, value, what in (
        ("item-number", (), 1, "An item is a number."),
        ("item-kind-null", ("kind",), None, "The kind of an item is null."),
        ("item-kind-number", ("kind",), 1, "The kind of an item is a number."),
        ("item-manifest-text", ("manifest",), "model/manifest", "The manifest of an item is a string."),
        ("item-raw-size-negative", ("raw_size",), -1, "The raw_size of an item is negative."),
        ("item-raw-size-float", ("raw_size",), 100.0, "The raw_size of an item is a float."),
        ("item-raw-size-2-53", ("raw_size",), 1 << 53, "The raw_size of an item is 2^53."),
        ("item-counts-array", ("counts",), [0, 0, 0, 0], "The counts of an item are an array."),
        ("item-counts-negative", ("counts", "tensors"), -1, "A count of an item is negative."),
        ("item-counts-2-53", ("counts", "bytes"), 1 << 53, "A count of an item is 2^53."),
        ("item-counts-true", ("counts", "shards"), True, "A count of an item is true."),
        ("item-assets-array", ("assets",), [], "The assets of an item are an array."),
        ("item-asset-text", ("assets", "config.json"), "{}", "An asset is a string."),
        ("item-manifest-size-negative", ("manifest", "size"), -1, "The size of a manifest is negative."),
        ("item-manifest-size-text", ("manifest", "size"), "500", "The size of a manifest is a string."),
        ("item-asset-size-2-53", ("assets", "config.json", "size"), 1 << 53, "The size of an asset is 2^53."),
        ("item-asset-size-float", ("assets", "config.json", "size"), 2.0, "The size of an asset is a float."),
    ):
        yield _bad(name, what, basic(), put("items", "model", *path, value=value))
    for place, path in (("manifest", ("manifest",)), ("asset", ("assets", "config.json"))):
        for name, value, what in (
            ("upper", "AB" * 32, "has upper-case digits"),
            ("short", "ab" * 31, "has 62 digits"),
            ("letter", "g" + "0" * 63, "has a letter g"),
        ):
            fault = f"The sha256 of {'a manifest' if place == 'manifest' else 'an asset'} {what}."
            change = put("items", "model", *path, "sha256", value=value)
            requirements = ["SCF-CONV-005", "SCF-ROOT-009"]
            yield _bad(f"item-{place}-sha256-{name}", fault, basic(), change, requirements)


def _created() -> Iterator[Case]:
    for name, value, fault in (
        ("february-29", "2023-02-29T00:00:00Z", "The 29th of February 2023 did not exist."),
        ("february-29-1900", "1900-02-29T00:00:00Z", "The 29th of February 1900 did not exist."),
        ("month-13", "2026-13-01T00:00:00Z", "The month is 13."),
        ("month-0", "2026-00-01T00:00:00Z", "The month is 0."),
        ("day-0", "2026-01-00T00:00:00Z", "The day is 0."),
        ("april-31", "2026-04-31T00:00:00Z", "The day is the 31st of April."),
        ("hour-24", "2026-01-02T24:00:00Z", "The hour is 24."),
        ("minute-60", "2026-01-02T00:60:00Z", "The minute is 60."),
        ("second-60", "2026-01-02T23:59:60Z", "The second is 60."),
        ("year-0", "0000-01-01T00:00:00Z", "The year is 0."),
        ("year-10000", "10000-01-01T00:00:00Z", "The year has five digits."),
        ("no-zone", "2026-01-02T03:04:05", "There is no Z."),
        ("offset", "2026-01-02T03:04:05+00:00", "The zone is +00:00."),
        ("lower-case", "2026-01-02t03:04:05z", "The letters are lower-case."),
        ("space", "2026-01-02 03:04:05Z", "A space stands in the place of the T."),
        ("feed", "2026-01-02T03:04:05Z\n", "A line feed follows."),
        ("fraction-empty", "2026-01-02T03:04:05.Z", "The fraction has no digits."),
        ("fraction-10", "2026-01-02T03:04:05.0000000000Z", "The fraction has ten digits."),
        ("fraction-comma", "2026-01-02T03:04:05,5Z", "The fraction stands behind a comma."),
        ("no-seconds", "2026-01-02T03:04Z", "There are no seconds."),
        ("arabic", "٢٠٢٦-01-02T03:04:05Z", "The year has Arabic digits."),
    ):
        title = f"Time of creation: {fault[0].lower()}{fault[1:-1]}"
        draft = bare(members=put("created", value=value))
        sibling = "root-created-leap-day"
        requirements = ["SCF-ROOT-009"]
        yield refused(f"root-created-{name}", title, fault, SCHEMA, requirements, sibling, draft, phases=["open"])


def _items() -> Iterator[Case]:
    draft = bare(members=_many(MOST_ITEMS))
    yield Case(
        "root-items-4096",
        "A root of 4096 items, whose manifests are not asked for",
        ["SCF-LIMIT-001", "SCF-ROOT-009", "SCF-OPEN-001"],
        "inspect",
        [
            step(
                "inspect", ok(items={"$equal": {}}, root={"sequence": 1, "items": {"fff": {"kind": "other"}}}), items=[]
            )
        ],
        files=checkpoint(draft),
    )
    yield refused(
        "root-items-4097",
        "A root of 4097 items",
        "The root has 4097 items.",
        SCHEMA,
        ["SCF-ROOT-009"],
        "root-items-4096",
        bare(members=_many(MOST_ITEMS + 1)),
        phases=["open"],
        request={"items": []},
    )
    first, second = scalars(), Draft({"second": Item(tree={"two": 2}, objects=())})
    two = Draft({**first.items, **second.items})
    yield Case(
        "root-items-one-asked",
        "Of two items one is asked for, or none",
        ["SCF-OPEN-001"],
        "inspect",
        [
            step(
                "inspect",
                ok(items={"$equal": {"second": {"tree": ["map", [["two", ["int", "2"]]]], "tensors": []}}}),
                items=["second"],
            ),
            step("inspect", ok(items={"$equal": {}}), items=[]),
        ],
        files=checkpoint(two),
    )
