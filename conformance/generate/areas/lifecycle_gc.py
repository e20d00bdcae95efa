"""Garbage collection (section 13.5): what goes, and what stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...oracle.encode import Draft, Item, Object, Shard, build, digest
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts_c import OLD, OTHER, THIRD, attempt_of, carrier, made, simple, tombstone
from ..expect import read_values, root_digest

__all__ = ["GRACE", "aged", "cases", "collected", "gc_case"]

GRACE = OLD // 2
_ASSETS = {"config.json": b"{}", "a/b": b"x"}
LIVE = simple(assets=_ASSETS)
DEAD = simple(attempt=OTHER, seed=5, assets=_ASSETS, displaced=frozenset({"a/b"}))
READ = step("read", ok(**read_values(LIVE.items["model"], assets=list(_ASSETS))), assets=list(_ASSETS))
_ROOT = "c/checkpoint.json"


def gc_case(
    name: str, title: str, requirements: Sequence[str], files: Mapping[str, bytes], *steps: Json, **more: Any
) -> Case:
    """A case of collection; everything is old unless ages are given."""
    more.setdefault("stores", {"main": {"ages": {"*": OLD}}})
    return Case(f"gc-{name}", title, requirements, "lifecycle", steps, files=files, **more)


def collected(*keys: str, **request: Any) -> Json:
    """A collection that removes exactly these keys."""
    return step("gc", ok(removed={"$set": list(keys)}), **{"grace": GRACE, **request})


def aged(files: Mapping[str, bytes], *young: str) -> dict[str, Json]:
    """Ages: all files are old but those whose keys begin so."""
    fresh = {key: 0 for key in files if key.startswith(young)}
    return {"main": {"ages": {**fresh, "*": OLD}}}


def without_root(draft: Draft, name: str = "c") -> dict[str, bytes]:
    """What deletion leaves of a checkpoint, beside the tombstone."""
    return {key: data for key, data in checkpoint(draft, name).items() if key != f"{name}/checkpoint.json"}


def _removable(files: Mapping[str, bytes], *, assets: bool) -> list[str]:
    """Keys of an attempt that collection may remove."""
    kinds = (".safetensors", ".msgpack.zst")
    return [key for key in files if key.endswith(kinds) or ".d/" in key or "/.attempt-" in key or assets]


def cases() -> Iterator[Case]:
    """Collections that are done."""
    yield from _attempts()
    yield from _tombstones()
    yield from _references()
    yield from _foreign()


def _attempts() -> Iterator[Case]:
    live, dead = checkpoint(LIVE), attempt_of(DEAD, "d")
    garbage = _removable(dead, assets=False)
    yield gc_case(
        "nothing", "A store in which everything is reached", ["SCF-GC-001"], live, collected(), READ,
        after={"main": {"unchanged": True}},
    )  # fmt: skip
    yield gc_case(
        "failed-attempt", "An attempt that died long ago: all of it goes, but its plain assets",
        ["SCF-GC-012", "SCF-GC-004", "SCF-GC-001", "SCF-GC-009"], {**live, **dead}, collected(*garbage), READ,
        after={"main": {"same": ["c/*"], "absent": garbage, "present": ["d/model/config.json"]}},
    )  # fmt: skip
    yield gc_case(
        "young-attempt", "An attempt that may be in flight: all of it stays", ["SCF-GC-003"], {**live, **dead},
        collected(), after={"main": {"unchanged": True}}, stores=aged({**live, **dead}, "d/"),
    )  # fmt: skip
    marker = next(key for key in dead if ".attempt-" in key)
    yield gc_case(
        "half-old-attempt", "Of an attempt only what is old goes", ["SCF-GC-003"], {**live, **dead},
        collected(*(key for key in garbage if key != marker and not key.endswith(".zst"))),
        after={"main": {"same": ["c/*", marker, "d/model/manifest-*"]}},
        stores=aged({**live, **dead}, marker, "d/model/manifest-"),
    )  # fmt: skip
    mine = attempt_of(simple(attempt=OTHER, seed=6), "c")
    yield gc_case(
        "attempt-of-committed-name", "An attempt that died at a name that was committed by another one",
        ["SCF-GC-001", "SCF-GC-004"], {**live, **mine}, collected(*_removable(mine, assets=False)), READ,
        after={"main": {"same": [key for key in live if key not in mine]}},
    )  # fmt: skip
    yield gc_case(
        "marker-of-committed", "A marker that a committer has not removed", ["SCF-GC-004"],
        {**live, f"c/.attempt-{LIVE.attempt}": b"{}"}, collected(f"c/.attempt-{LIVE.attempt}"), READ,
        after={"main": {"same": list(live)}},
    )  # fmt: skip
    yield gc_case(
        "future", "Objects whose time lies ahead of the clock", ["SCF-GC-003", "SCF-GC-006"], {**live, **dead},
        collected(), after={"main": {"unchanged": True}},
        stores={"main": {"ages": {"*": -OLD}}},
    )  # fmt: skip
    yield gc_case(
        "below-grace", "Objects that are an hour younger than the grace period", ["SCF-GC-003"], {**live, **dead},
        collected(), after={"main": {"unchanged": True}}, stores={"main": {"ages": {"*": GRACE - 3600}}},
    )  # fmt: skip
    yield gc_case(
        "above-grace", "Objects that are a minute older than the grace period", ["SCF-GC-003"], {**live, **dead},
        collected(*garbage), stores={"main": {"ages": {"*": GRACE + 60}}},
    )  # fmt: skip
    yield gc_case(
        "default-grace", "Without a grace period of the caller's: what is 23 hours old stays", ["SCF-GC-008"],
        {**live, **dead}, collected(grace=None), after={"main": {"unchanged": True}},
        stores={"main": {"ages": {"*": 23 * 3600}}},
    )  # fmt: skip
    yield gc_case(
        "dry-run", "What would go is shown, and stays", ["SCF-GC-010"], {**live, **dead},
        collected(*garbage, dry_run=True), after={"main": {"unchanged": True}}, options=["dry-run"],
    )  # fmt: skip
    yield gc_case(
        "twice", "A second collection finds nothing", ["SCF-GC-001"], {**live, **dead},
        collected(*garbage), collected(), READ,
    )  # fmt: skip
    yield gc_case("empty-store", "A store without anything", ["SCF-GC-004"], {}, collected(), stores={"main": {}})


def _tombstones() -> Iterator[Case]:
    live, dead, stone = checkpoint(LIVE), without_root(DEAD, "d"), tombstone(DEAD, "d")
    every = {**live, **dead, **stone}
    key = next(iter(stone))
    yield gc_case(
        "deleted", "A checkpoint that was deleted long ago goes with its plain assets, then its tombstone",
        ["SCF-GC-004", "SCF-GC-002"], every,
        step("gc", ok(removed={"$contains": _removable(dead, assets=True)}), grace=GRACE),
        step("gc", ok(), grace=GRACE), READ,
        after={"main": {"same": ["c/*"], "absent": ["d/*", ".tombstones/*"]}},
    )  # fmt: skip
    yield gc_case(
        "young-tombstone", "A checkpoint that was deleted lately: all of it stays", ["SCF-GC-002"], every,
        collected(), after={"main": {"unchanged": True}}, stores=aged(every, ".tombstones/"),
    )  # fmt: skip
    young = {name: data for name, data in dead.items() if name.endswith("config.json")}
    yield gc_case(
        "old-tombstone-young-asset", "The tombstone is old, an asset is young: both stay, the rest goes",
        ["SCF-GC-003", "SCF-GC-004"], every,
        collected(*(name for name in dead if name not in young)),
        after={"main": {"same": ["c/*", key, *young]}}, stores=aged(every, *young),
    )  # fmt: skip
    yield gc_case(
        "interrupted-deletion", "A tombstone of long ago whose root is there: nothing is removed",
        ["SCF-GC-009", "SCF-GC-001"], {**live, **tombstone(LIVE, "c")}, collected(), READ,
        after={"main": {"unchanged": True}},
    )  # fmt: skip
    again = simple(seed=9, attempt=THIRD, assets=_ASSETS)
    renewed = {**without_root(DEAD), **checkpoint(again)}
    old = [name for name in without_root(DEAD) if name not in checkpoint(again)]
    yield gc_case(
        "name-taken-again", "The name of a deleted checkpoint is taken by another one, with one of its assets",
        ["SCF-GC-001", "SCF-GC-009"], {**renewed, **tombstone(DEAD, "c")},
        step("gc", ok(removed={"$contains": old}), grace=GRACE),
        step("read", ok(**read_values(again.items["model"], assets=list(_ASSETS))), assets=list(_ASSETS)),
        after={"main": {"same": list(checkpoint(again)), "absent": old}},
    )  # fmt: skip
    yield gc_case(
        "two-tombstones", "An old and a young tombstone of one name: what the young one reaches stays",
        ["SCF-GC-002"], {**renewed, **tombstone(DEAD, "c"), **tombstone(again, "c")},
        step("delete", ok()), step("gc", ok(removed={"$contains": old}), grace=GRACE),
        after={"main": {"same": [name for name in checkpoint(again) if name != _ROOT], "absent": [*old, _ROOT]}},
    )  # fmt: skip
    lost = {name: data for name, data in dead.items() if not name.endswith(".zst")}
    yield gc_case(
        "tombstone-without-manifest", "A young tombstone whose manifest is gone reaches its assets all the same",
        ["SCF-GC-002"], {**live, **lost, **stone},
        step("gc", ok(removed={"$set": [name for name in lost if name.endswith(".safetensors")]}), grace=GRACE),
        after={"main": {"same": ["c/*", key, "d/model/config.json", f"d/model/{OTHER}.d/a/b"]}},
        stores=aged(every, ".tombstones/"),
    )  # fmt: skip
    alone = {name: data for name, data in dead.items() if name.endswith(("config.json", "a/b"))}
    yield gc_case(
        "half-collected", "A collection that died is finished: only assets and the tombstone are left",
        ["SCF-GC-004"], {**live, **alone, **stone},
        step("gc", ok(removed={"$contains": list(alone)}), grace=GRACE), step("gc", ok(), grace=GRACE),
        after={"main": {"same": ["c/*"], "absent": ["d/*", ".tombstones/*"]}},
    )  # fmt: skip


def _borrower(lender: Draft, name: str) -> Draft:
    """A checkpoint whose manifest has its tensor in the first data object of another checkpoint."""
    key = f"model/{lender.attempt}-00000.safetensors"
    data = build(lender)[key]
    start = 8 + int.from_bytes(data[:8], "little")
    origin = {"size": len(data), "data_start": start, "header_digest": digest("blake3", data[:start])}
    row = Object(store_key=f"{name}/{key}", origin=origin)
    borrowed = Item(lender.items["model"].tensors, shards=(Shard(0, offset=start),), objects=(row,))
    external = [{"checkpoint": name, "digest": root_digest(lender)}]
    return Draft({"model": borrowed}, attempt=THIRD, sequence=3, external=external)


def _references() -> Iterator[Case]:
    lender = Draft(
        {"model": Item((made("w"),), assets=_ASSETS), "other": Item((made("v", seed=2),), kind="other")}, attempt=OTHER
    )
    carrying, borrowing = carrier({"a": lender}, attempt=THIRD), _borrower(lender, "a")
    rest = without_root(lender, "a")
    reached = [key for key in rest if key.startswith("a/model/")]
    spare = [key for key in rest if key.startswith("a/other/")]
    read = step("read", ok(**read_values(lender.items["model"], assets=list(_ASSETS))), assets=list(_ASSETS))
    yield gc_case(
        "carried", "A deleted origin: the item that another checkpoint carries stays, the other one goes",
        ["SCF-GC-001", "SCF-OPEN-003"], {**rest, **checkpoint(carrying), **tombstone(lender, "a")},
        step("gc", ok(removed={"$contains": spare}), grace=GRACE), step("gc", ok(), grace=GRACE), read,
        after={"main": {"same": ["c/*", *reached], "absent": spare}},
    )  # fmt: skip
    yield gc_case(
        "carried-without-tombstone", "The same after the origin's tombstone is gone", ["SCF-GC-001"],
        {**rest, **checkpoint(carrying)}, collected(*spare), read, after={"main": {"same": ["c/*", *reached]}},
    )  # fmt: skip
    data = [key for key in reached if key.endswith(".safetensors")]
    gone = [key for key in rest if key not in data and not key.endswith(("config.json", "a/b"))]
    yield gc_case(
        "borrowed", "A data object that a manifest of another checkpoint names stays", ["SCF-GC-001"],
        {**rest, **checkpoint(borrowing)}, collected(*gone),
        step("read", ok(**read_values(borrowing.items["model"]))), after={"main": {"same": ["c/*", *data]}},
    )  # fmt: skip
    middle = borrowing.with_(attempt=LIVE.attempt)
    through = carrier({"b": middle}, attempt=THIRD, sequence=4)
    listed = [{"checkpoint": "a", "digest": root_digest(lender)}, {"checkpoint": "b", "digest": root_digest(middle)}]
    kept = without_root(middle, "b")
    yield gc_case(
        "borrowed-by-carried", "A data object that a carried manifest names, in a third checkpoint, stays",
        ["SCF-GC-001"], {**rest, **kept, **checkpoint(through.with_(external=listed))}, collected(*gone),
        step("read", ok(**read_values(borrowing.items["model"]))),
        after={"main": {"same": ["c/*", *data, *kept]}},
    )  # fmt: skip
    last = tombstone(carrying, "c")
    yield gc_case(
        "young-carrier", "The carrier was deleted lately: its tombstone protects the origin's objects",
        ["SCF-GC-002"], {**rest, **last}, collected(*spare), after={"main": {"same": [*reached, *last]}},
        stores=aged({**rest, **last}, ".tombstones/"),
    )  # fmt: skip
    assets = [key for key in reached if key.endswith(("config.json", "a/b"))]
    yield gc_case(
        "old-carrier", "Plain assets go only by a tombstone of their own checkpoint's name",
        ["SCF-GC-004"], {**rest, **last},
        step("gc", ok(removed={"$contains": [key for key in rest if key not in assets]}), grace=GRACE),
        step("gc", ok(), grace=GRACE), after={"main": {"same": assets}},
    )  # fmt: skip


def _foreign() -> Iterator[Case]:
    attempt, other = OTHER, THIRD
    foreign = [
        "c/notes.txt", "c/model/readme.md", "c/model/model.safetensors", "c/model/config.json.bak",
        f"c/model/{attempt.upper()}-00000.safetensors", f"c/model/{attempt}-1.safetensors",
        f"c/model/{attempt}-000001.safetensors", f"c/model/{attempt[1:]}-00000.safetensors",
        f"c/model/sub/{attempt}-00000.safetensors", f"c/{attempt}-00000.safetensors", f"{attempt}-00000.safetensors",
        f"c/model/{attempt}-00000.safetensors.tmp", f"c/model/manifest-{attempt}.msgpack",
        f"c/model/sub/manifest-{attempt}.msgpack.zst", f"c/manifest-{attempt}.msgpack.zst",
        f"c/model/{attempt}.d", f"c/.attempt-{attempt[:-1]}", f"c/model/.attempt-{attempt}", f".attempt-{attempt}",
        f"c/.attempt-{attempt}.json", f"my runs/model/{attempt}-00000.safetensors",
        f"c/my item/{attempt}-00000.safetensors", f"c/.hidden/{attempt}-00000.safetensors",
        ".tombstones/readme.md", ".tombstones/c.json", f".tombstones/c.{attempt}", f".tombstones/c.{attempt[1:]}.json",
        f".tombstones/sub/c.{attempt}.json", f".tombstones/model/{attempt}-00000.safetensors",
        "c/checkpoint.json.sig", "logs/events", f"logs/{other}", "notebook.ipynb", "e/model/config.json",
    ]  # fmt: skip
    yield gc_case(
        "foreign", "Files whose keys are not quite those of the format stay", ["SCF-GC-004"],
        {**checkpoint(LIVE), **dict.fromkeys(foreign, b"mine")}, collected(), READ,
        after={"main": {"unchanged": True}},
    )  # fmt: skip
    odd = [
        f"c/model/{attempt}-99999.safetensors", f"c/model/{attempt}-100000.safetensors",
        f"c/model/{attempt}-9223372036854775807.safetensors", f"c/other/manifest-{other}.msgpack.zst",
        f"c/model/{attempt}.d/deep/er.txt", f"d/.attempt-{other}", f".hidden/-/{other}-00000.safetensors",
    ]  # fmt: skip
    yield gc_case(
        "odd-keys", "Keys of the format that look odd are garbage like others", ["SCF-GC-004"],
        {**checkpoint(LIVE), **dict.fromkeys(odd, b"garbage")}, collected(*odd), READ,
        after={"main": {"same": list(checkpoint(LIVE)), "absent": odd}},
    )  # fmt: skip
    linked = {**checkpoint(LIVE), **attempt_of(DEAD, "d")}
    yield gc_case(
        "link", "Behind a link that leads out of the store nothing is removed", ["SCF-STORE-010", "SCF-GC-004"],
        linked,
        step(
            "gc", [ok(removed={"$set": _removable(attempt_of(DEAD, "d"), assets=False)}), rejected("store.io")],
            grace=GRACE,
        ),
        after={"main": {"same": ["c/*"]}}, more_files={"outside": attempt_of(DEAD, "e")},
        stores={"main": {"ages": {"*": OLD}, "links": {"e": "$outside/e"}}}, kind="acceptable",
    )  # fmt: skip
