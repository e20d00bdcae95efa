"""Descriptors, other checkpoints, counts (sections 6.4 to 6.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...oracle.encode import Draft, Item, Object, Record, Shard
from ..case import Case, checkpoint, ok, step
from ..drafts import OTHER, STEP, B, W, bare, basic, tensor
from ..drafts_c import carrier, item_member
from ..expect import finding, inspected, read_values, root_values
from ..forms import accepted, dtypes, refused

__all__ = ["cases"]

Change = Callable[[Record], object]
SCHEMA = "root.schema"
POLICY = Draft(
    {"policy": Item((W, B), tree={"w": tensor(0), "b": tensor(1)}, assets={"a/b.txt": b"text"})}, metadata=STEP
)
"""The origin of what is carried over."""
KEPT = POLICY.items["policy"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _carried()
    yield from _external()
    yield from _own_name()
    yield from _keys()
    yield from _counts()
    yield from _objects()


def _carrier(**members: Any) -> Draft:
    """A checkpoint whose item ``model`` is the item ``policy`` of ``old``."""
    draft = carrier({"old": POLICY.with_(items={"model": KEPT})}, **members)
    return draft.with_(carried={"model": item_member(POLICY, "old", "policy")})


def _origin(*, root: bool = True) -> Mapping[str, bytes]:
    files = checkpoint(POLICY, "old")
    return files if root else {key: data for key, data in files.items() if key != "old/checkpoint.json"}


def _carried() -> Iterator[Case]:
    draft = _carrier()
    steps = [
        step("inspect", ok(**inspected(draft, carried={"model": KEPT}))),
        step("read", ok(**read_values(KEPT, assets=["a/b.txt"])), assets=["a/b.txt"]),
    ]
    for name, title, requirements, origin in (
        ("root-carried", "An item that is carried over, under another name", ["SCF-ROOT-018", "SCF-ROOT-017"], True),
        (
            "root-carried-origin-deleted",
            "The root of the origin is gone, its objects are there",
            ["SCF-OPEN-003"],
            False,
        ),
    ):
        options = dtypes(Draft({"model": KEPT}))
        files = {**checkpoint(draft), **_origin(root=origin)}
        yield Case(name, title, requirements, "read", steps, files=files, options=options)


def _external() -> Iterator[Case]:
    unused = [
        {"checkpoint": name, "digest": "0a" * 32} for name in ("-", "B", "a", "a-b", "a.b", "a0", "checkpoint.json")
    ]
    yield accepted(
        "root-external-unused",
        "Entries of external that nothing uses, sorted by bytes",
        ["SCF-ROOT-018", "SCF-OPEN-003"],
        basic().with_(external=unused),
        read=True,
    )
    yield accepted(
        "root-external-odd-names",
        "Names of other checkpoints at the ends of the grammar",
        ["SCF-LAYOUT-002", "SCF-LIMIT-001"],
        bare(external=[{"checkpoint": name, "digest": "0a" * 32} for name in ("...", ".a", "_", "z" * 128)]),
    )

    def row(name: Any, **changes: Any) -> Record:
        return {"checkpoint": name, "digest": "0a" * 32, **changes}

    faults: tuple[tuple[str, list[Any], str, list[str]], ...] = (
        ("unsorted", [row("b"), row("a")], "The array external is not sorted.", ["SCF-ROOT-018"]),
        ("by-case", [row("a"), row("B")], "The array external is sorted without regard to case.", ["SCF-ROOT-018"]),
        ("repeated", [row("a"), row("a")], "The array external has a name twice.", ["SCF-ROOT-018"]),
        ("repeated-digests", [row("a"), row("a", digest="0b" * 32)], "A name has two digests.", ["SCF-ROOT-018"]),
        ("name-tombstones", [row(".tombstones")], "A name is .tombstones.", ["SCF-LAYOUT-002"]),
        ("name-dots", [row("..")], "A name is two dots.", ["SCF-LAYOUT-002", "SCF-SEC-010"]),
        ("name-slash", [row("a/b")], "A name has a slash.", ["SCF-LAYOUT-002"]),
        ("name-empty", [row("")], "A name is empty.", ["SCF-LAYOUT-002"]),
        ("name-129", [row("a" * 129)], "A name has 129 characters.", ["SCF-LAYOUT-002"]),
        ("name-umlaut", [row("ä")], "A name is not ASCII.", ["SCF-LAYOUT-002"]),
        ("name-number", [row(1)], "A name is a number.", ["SCF-ROOT-009"]),
        ("no-name", [{"digest": "0a" * 32}], "An entry has no name.", ["SCF-ROOT-009"]),
        ("no-digest", [{"checkpoint": "a"}], "An entry has no digest.", ["SCF-ROOT-009"]),
        ("digest-upper", [row("a", digest="0A" * 32)], "A digest has upper-case digits.", ["SCF-CONV-005"]),
        ("digest-short", [row("a", digest="0a" * 31)], "A digest has 62 digits.", ["SCF-CONV-005"]),
        ("digest-null", [row("a", digest=None)], "A digest is null.", ["SCF-ROOT-009"]),
    )
    for name, external, fault, requirements in faults:
        draft = bare(external=external)
        yield _refused(f"external-{name}", fault, requirements, "root-external-odd-names", draft)
    listed = _carrier().with_(external=[row("older")])
    fault = "The first segment of a store_key is not in external."
    yield _refused("store-key-unlisted", fault, ["SCF-ROOT-018"], "root-carried", listed)
    fault = "A store_key is there, and external is empty."
    yield _refused("store-key-external-empty", fault, ["SCF-ROOT-018"], "root-carried", _carrier().with_(external=[]))


def _own_name() -> Iterator[Case]:
    draft = basic().with_(external=[{"checkpoint": "d", "digest": "0a" * 32}])
    yield accepted(
        "root-external-other-name",
        "A root that lists the checkpoint d, under the name c",
        ["SCF-ROOT-020"],
        draft,
    )
    yield Case(
        "root-external-own-name",
        "The same root under the name d",
        ["SCF-ROOT-020"],
        "inspect",
        [step("inspect", {"result": "rejected", "codes": [SCHEMA], "phases": ["open"]}, checkpoint="d")],
        kind="invalid",
        fault="The array external lists the name under which the root lies.",
        sibling="root-external-other-name",
        files=checkpoint(draft, "d"),
    )


def _refused(name: str, fault: str, requirements: list[str], sibling: str, draft: Draft) -> Case:
    title = f"References of the root: {fault[0].lower()}{fault[1:-1]}"
    return refused(f"root-{name}", title, fault, SCHEMA, requirements, sibling, draft, phases=["open"])


def _at(*path: str, **changes: Any) -> Change:
    """Changes members of a descriptor of ``model``; None removes one."""

    def change(members: Record) -> None:
        found = members["items"]["model"]
        for name in path:
            found = found[name]
        for name, value in changes.items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value

    return change


def _keys() -> Iterator[Case]:
    """Keys of manifests and assets in the forms of the table of section 6.5, and in others."""
    manifest = "model/manifest-3f9c2a71d0b84e55.msgpack.zst"
    old = "old/policy/manifest-3f9c2a71d0b84e55.msgpack.zst"
    yield accepted(
        "root-asset-displaced",
        "An asset under the key with an attempt",
        ["SCF-ROOT-017"],
        basic(displaced=frozenset({"config.json"})),
        read=True,
    )
    asset = ("assets", "config.json")
    rows: tuple[tuple[str, tuple[str, ...], str, dict[str, Any], str], ...] = (
        ("manifest-both", ("manifest",), "root-carried", {"key": manifest}, "A manifest has key and store_key."),
        ("manifest-neither", ("manifest",), "root-plain", {"key": None}, "A manifest has neither key nor store_key."),
        ("asset-both", asset, "root-plain", {"store_key": "old/model/config.json"}, "An asset has key and store_key."),
        ("asset-neither", asset, "root-plain", {"key": None}, "An asset has neither key nor store_key."),
    )
    for name, path, sibling, changes, fault in rows:
        draft = _carrier() if sibling == "root-carried" else basic()
        if name == "asset-both":
            draft = draft.with_(external=[{"checkpoint": "old", "digest": "0a" * 32}])
        yield _refused(name, fault, ["SCF-ROOT-016"], sibling, draft.with_(members=_at(*path, **changes)))
    own = (
        ("other-item", f"optimizer/{manifest.partition('/')[2]}", "The manifest lies below another item."),
        ("upper", manifest.replace("3f9c", "3F9C"), "The attempt of the manifest's key is upper-case."),
        ("short", manifest.replace("3f9c", "3f9"), "The attempt of the manifest's key has 15 digits."),
        ("suffix", manifest.replace(".zst", ".gz"), "The manifest's key ends with .gz."),
        ("data-object", "model/3f9c2a71d0b84e55-00000.safetensors", "The manifest's key is that of a data object."),
        ("deeper", manifest.replace("/", "/x/"), "The manifest's key has a segment more."),
        ("dots", f"model/../{manifest}", "The manifest's key has a segment of two dots."),
        ("slash-first", f"/{manifest}", "The manifest's key begins with a slash."),
        ("two-slashes", manifest.replace("/", "//"), "The manifest's key has two slashes."),
        ("backslash", manifest.replace("/", "\\"), "The manifest's key has a backslash."),
        ("checkpoint", f"c/{manifest}", "The manifest's key begins with the name of the checkpoint."),
        ("feed", f"{manifest}\n", "The manifest's key ends with a line feed."),
        ("number", 5, "The manifest's key is a number."),
    )
    for name, key, fault in own:
        requirements = ["SCF-ROOT-017", "SCF-LAYOUT-002", "SCF-SEC-010", "SCF-STORE-012"]
        yield _refused(
            f"manifest-key-{name}", fault, requirements, "root-plain", basic().with_(members=_at("manifest", key=key))
        )
    other = (
        ("no-checkpoint", old.removeprefix("old/"), "The store_key of a manifest has no checkpoint."),
        ("deeper", f"old/{old}", "The store_key of a manifest has a segment more."),
        ("dots", f"old/../{old}", "The store_key of a manifest has a segment of two dots."),
        ("root", "old/checkpoint.json", "The store_key of a manifest is that of a root."),
        ("slash-first", f"/{old}", "The store_key of a manifest begins with a slash."),
        ("item", old.replace("policy", ".policy"), "The item of a manifest's store_key begins with a dot."),
        ("own", f"c/{manifest}", "The store_key of a manifest lies below this checkpoint."),
    )
    for name, key, fault in other:
        draft = _carrier().with_(members=_at("manifest", store_key=key))
        yield _refused(f"manifest-store-key-{name}", fault, ["SCF-ROOT-017", "SCF-LAYOUT-002"], "root-carried", draft)
    assets = (
        ("other-name", "model/config2.json", "The key of an asset has another name."),
        ("other-item", "optimizer/config.json", "The key of an asset lies below another item."),
        ("manifest", manifest, "The key of an asset is that of the manifest."),
        ("displaced-upper", "model/3F9C2A71D0B84E55.d/config.json", "The attempt of an asset's key is upper-case."),
        ("displaced-other-name", "model/3f9c2a71d0b84e55.d/config2.json", "A key with an attempt has another name."),
        ("displaced-twice", "model/3f9c2a71d0b84e55.d/3f9c2a71d0b84e55.d/config.json", "A key has two attempts."),
        ("dots", "model/x/../config.json", "The key of an asset has a segment of two dots."),
        ("absolute", "/etc/passwd", "The key of an asset is an absolute path."),
        ("root", "checkpoint.json", "The key of an asset is that of the root."),
    )
    for name, key, fault in assets:
        draft = basic().with_(members=_at(*asset, key=key))
        yield _refused(f"asset-key-{name}", fault, ["SCF-ROOT-017", "SCF-LAYOUT-002"], "root-plain", draft)
    carried = ("assets", "a/b.txt")
    for name, key, fault in (
        ("other-name", "old/policy/a/c.txt", "The store_key of an asset has another name."),
        ("no-item", "old/a/b.txt", "The store_key of an asset has no item."),
        ("deeper", "old/policy/x/a/b.txt", "The store_key of an asset has a segment more."),
        ("dots", "old/policy/../policy/a/b.txt", "The store_key of an asset has a segment of two dots."),
        ("own", "c/model/a/b.txt", "The store_key of an asset lies below this checkpoint."),
        ("unlisted", "older/policy/a/b.txt", "The store_key of an asset names a checkpoint that is not in external."),
    ):
        draft = _carrier().with_(members=_at(*carried, store_key=key))
        requirement = "SCF-ROOT-018" if name in ("own", "unlisted") else "SCF-ROOT-017"
        yield _refused(f"asset-store-key-{name}", fault, [requirement, "SCF-LAYOUT-002"], "root-carried", draft)
    attempts = (
        ("upper", "3F9C2A71D0B84E55"),
        ("15", "3f9c2a71d0b84e5"),
        ("17", "3f9c2a71d0b84e550"),
        ("letter", "g" * 16),
    )
    for name, attempt in (*attempts, ("empty", ""), ("feed", "3f9c2a71d0b84e55\n")):
        fault = f"The attempt is {attempt!r}."
        draft = bare(members=lambda members, attempt=attempt: members.update(attempt=attempt))
        yield _refused(f"attempt-{name}", fault, ["SCF-LAYOUT-002", "SCF-CONV-005"], "root-bare", draft)
    yield accepted(
        "root-attempt-of-manifest-differs",
        "The root is of another attempt than its manifest and data object",
        ["SCF-LAYOUT-002", "SCF-COMPAT-002"],
        basic(attempt=OTHER),
        read=True,
    )


def _counts() -> Iterator[Case]:
    yield Case(
        "root-counts",
        "Counts that are those of the manifest",
        ["SCF-ROOT-014"],
        "integrity",
        [step("verify", ok(sound=True, findings=[]))],
        files=checkpoint(basic()),
    )
    for name in ("tensors", "shards", "objects", "bytes"):

        def change(members: Record, name: str = name) -> None:
            members["items"]["model"]["counts"][name] += 1

        draft = basic().with_(members=change)
        yield Case(
            f"root-counts-{name}",
            f"The root counts one of {name} too many; a verification says so",
            ["SCF-ROOT-014"],
            "integrity",
            [step("inspect", ok(root=root_values(draft)), items=[]), step("verify", finding("manifest.schema"))],
            kind="invalid",
            fault=f"The number counts.{name} is one more than the manifest has.",
            sibling="root-counts",
            files=checkpoint(draft),
        )


def _objects() -> Iterator[Case]:
    """Data objects of other checkpoints, and the root's ``external``."""
    origin = POLICY.with_item("policy", assets={})
    key = "old/policy/3f9c2a71d0b84e55-00000.safetensors"
    rows: list[Record] = []
    checkpoint(origin.with_item("policy", record=lambda record: rows.extend(record["objects"])))
    facts = {name: rows[0][name] for name in ("size", "data_start", "header_digest")}
    shards = (Shard(0, offset=4096), Shard(1, offset=4096 + len(W.data)))
    item = Item((W, B), shards=shards, objects=(Object(store_key=key, origin=facts),), attempt=OTHER)
    draft = Draft({"model": item}, attempt=OTHER, external=[{"checkpoint": "old", "digest": "0a" * 32}])
    more = checkpoint(origin, "old")
    requirements = ["SCF-ROOT-019", "SCF-OPEN-003"]
    title = "A manifest whose data object is that of another checkpoint"
    yield accepted("root-object-of-another", title, requirements, draft, read=True, more=more)
    for name, external in (("unlisted", [{"checkpoint": "older", "digest": "0a" * 32}]), ("external-empty", [])):
        yield refused(
            f"root-object-{name}",
            "A data object of a checkpoint that external does not list",
            "The first segment of a data object's store_key is not in external.",
            "manifest.schema",
            ["SCF-ROOT-019"],
            "root-object-of-another",
            draft.with_(external=external),
            phases=["manifest"],
        )
