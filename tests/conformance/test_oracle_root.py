"""Faults of roots, one at a time, and listings of stores."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from oracle_drafts import MemoryStore, codes, draft, store_of

from conformance.oracle.encode import Draft, Item, build, manifest_key, seal
from conformance.oracle.errors import Rejected
from conformance.oracle.listing import list_checkpoints, newest
from conformance.oracle.opening import find_item, open_root
from conformance.oracle.root import read_root
from conformance.oracle.store import DirectoryStore, NoSuchKey, TooLarge


def root_code(one: Draft) -> str:
    """The code with which a root is refused; verification finds the same one, and a listing shows it."""
    store = store_of(one)
    with pytest.raises(Rejected) as caught:
        open_root(store, "c")
    assert caught.value.phase == "open"
    assert codes(store) == [caught.value.code]
    assert [found.refusal.code for found in list_checkpoints(store)] == [caught.value.code]
    return caught.value.code


def change(*path, value):
    """A twist of the root's members: the value at a path, which is a function of the old one if it can be called."""

    def twist(members):
        for step in path[:-1]:
            members = members[step]
        old = members.get(path[-1]) if isinstance(members, dict) else members[path[-1]]
        members[path[-1]] = value(old) if callable(value) else value

    return twist


def without(*path):
    def twist(members):
        for step in path[:-1]:
            members = members[step]
        del members[path[-1]]

    return twist


REQUIRED = ["spec", "attempt", "created", "writer", "features", "sequence", "parent", "metadata", "items", "external"]
MANIFEST = ("items", "model", "manifest")
ASSET = ("items", "model", "assets", "config.json")
SCHEMA_FAULTS = [
    *(without(name) for name in REQUIRED),
    without("writer", "name"),
    without("writer", "version"),
    without("features", "read"),
    without("features", "write"),
    *(without("items", "model", name) for name in ("kind", "manifest", "raw_size", "counts", "assets")),
    *(without("items", "model", "counts", name) for name in ("tensors", "shards", "objects", "bytes")),
    *(without(*MANIFEST, name) for name in ("key", "size", "sha256")),
    change("spec", value=1),
    change("attempt", value="3F9C2A71D0B84E55"),
    change("attempt", value="3f9c2a71d0b84e5"),
    change("created", value="2026-01-02 03:04:05Z"),
    change("created", value="2026-02-30T03:04:05Z"),
    change("created", value="2026-01-02T24:04:05Z"),
    change("created", value="2026-01-02T03:04:60Z"),
    change("created", value="2026-01-02T03:04:05+00:00"),
    change("created", value="2026-01-02T03:04:05.0123456789Z"),
    change("created", value="0000-01-02T03:04:05Z"),
    change("writer", value="x"),
    change("sequence", value=0),
    change("sequence", value=1.0),
    change("sequence", value=True),
    change("sequence", value=2**53),
    change("parent", value="0" * 63),
    change("parent", value="A" * 64),
    change("parent", value=False),
    change("metadata", value=[]),
    change("metadata", value={"$float": "nan"}),
    change("items", value=[]),
    change("items", value=lambda items: {".x": items["model"]}),
    change("items", "checkpoint.json", value=lambda _: {}),
    change("items", "model", "kind", value=1),
    change("items", "model", "raw_size", value=-1),
    change("items", "model", "raw_size", value=2**53),
    change("items", "model", "counts", "bytes", value="0"),
    change("external", value={}),
    change("external", value=[1]),
    change("external", value=[{"checkpoint": "a"}]),
    change("external", value=[{"checkpoint": "a/b", "digest": "0" * 64}]),
    change("external", value=[{"checkpoint": ".tombstones", "digest": "0" * 64}]),
    change("external", value=[{"checkpoint": "c", "digest": "0" * 64}]),
    change("external", value=[{"checkpoint": name, "digest": "0" * 64} for name in "ba"]),
    change("external", value=[{"checkpoint": name, "digest": "0" * 64} for name in "aa"]),
    change("features", value={"read": [], "write": ["b", "a"]}),
    change("features", value={"read": [], "write": ["a", "a"]}),
    change("features", value={"read": [1], "write": []}),
    change("features", value={"read": "", "write": []}),
    change(*MANIFEST, "store_key", value="a/model/manifest-3f9c2a71d0b84e55.msgpack.zst"),
    change(*MANIFEST, "key", value="other/manifest-3f9c2a71d0b84e55.msgpack.zst"),
    change(*MANIFEST, "key", value="model/manifest-3f9c2a71d0b84e55.msgpack"),
    change(*MANIFEST, "key", value="../c/model/manifest-3f9c2a71d0b84e55.msgpack.zst"),
    change(*MANIFEST, "key", value="model/config.json"),
    change(*MANIFEST, "key", value=None),
    change(*MANIFEST, "sha256", value=str.upper),
    change(*MANIFEST, "size", value=1.5),
    change(*ASSET, "key", value="model/other.json"),
    change(*ASSET, "key", value="other/config.json"),
    change(*ASSET, "key", value="model/0123456789abcde.d/config.json"),
    change(*ASSET, "key", value="model/../config.json"),
    change("items", "model", "assets", "a/../b", value={"key": "model/a/../b", "size": 0, "sha256": "0" * 64}),
    change(
        "items", "model", "assets", "config.json/b", value={"key": "model/config.json/b", "size": 0, "sha256": "0" * 64}
    ),
]


@pytest.mark.parametrize("twist", SCHEMA_FAULTS)
def test_faults_of_the_schema(twist):
    assert root_code(draft().with_(members=twist)) == "root.schema"


STORE_KEY = "a/model/manifest-3f9c2a71d0b84e55.msgpack.zst"


def by_store_key(place, key, external="a"):
    def twist(members):
        descriptor = members["items"]["model"]
        for step in place:
            descriptor = descriptor[step]
        descriptor.pop("key")
        descriptor["store_key"] = key
        members["external"] = [{"checkpoint": external, "digest": "0" * 64}] if external else []

    return twist


@pytest.mark.parametrize(
    "twist",
    [
        by_store_key(["manifest"], STORE_KEY, ""),
        by_store_key(["manifest"], STORE_KEY, "b"),
        by_store_key(["manifest"], "a/manifest-3f9c2a71d0b84e55.msgpack.zst"),
        by_store_key(["manifest"], "a/b/model/manifest-3f9c2a71d0b84e55.msgpack.zst"),
        by_store_key(["manifest"], "../model/manifest-3f9c2a71d0b84e55.msgpack.zst", ".."),
        by_store_key(["manifest"], "../model/manifest-3f9c2a71d0b84e55.msgpack.zst"),
        by_store_key(["manifest"], "a/.x/manifest-3f9c2a71d0b84e55.msgpack.zst"),
        by_store_key(["assets", "config.json"], "a/x/other.json"),
        by_store_key(["assets", "config.json"], "c/model/config.json", "a"),
    ],
)
def test_store_keys_outside_their_form(twist):
    assert root_code(draft().with_(members=twist)) == "root.schema"


def test_store_keys_are_followed_and_their_absence_named():
    store = store_of(draft().with_(members=by_store_key(["manifest"], STORE_KEY)))
    assert codes(store) == ["external.missing"]
    origin = store_of(draft().with_(members=by_store_key(["manifest"], STORE_KEY)), a=draft())
    assert codes(origin) == []


GOOD = [
    lambda members: None,
    change("spec", value="9.9-future"),
    change("created", value="0001-01-01T00:00:00.123456789Z"),
    change("writer", value={"name": "", "version": "", "more": [1e300]}),
    change("parent", value="0" * 64),
    change("features", value={"read": [], "write": ["Any name", "x-write-only"]}),
    change("x-unknown", value={"huge": 2**70, "deep": [[[]]]}),
    change("encryption", value={"key": "x"}),
    change("signatures", value=[]),
    change("items", "model", "kind", value="something new"),
    change("items", "model", "encryption", value=1),
    change(*MANIFEST, "x-unknown", value=1),
    change("external", value=[{"checkpoint": name, "digest": "0" * 64, "x": 1} for name in "ab"]),
    change("external", value=[{"checkpoint": name, "digest": "0" * 64} for name in ("B", "a", "b")]),
]


@pytest.mark.parametrize("twist", GOOD)
def test_what_is_no_reason_to_refuse(twist):
    assert codes(draft().with_(members=twist)) == []


def test_an_unknown_kind_is_other():
    root = open_root(store_of(draft().with_(members=change("items", "model", "kind", value="new"))), "c")
    assert root.items["model"].kind == "other"


@pytest.mark.parametrize("feature", ["encryption-aes256gcm", "signatures", "manifest-parts", "Not a name"])
def test_features(feature):
    both = {"read": [feature], "write": [feature]}
    assert root_code(draft().with_(features=both)) == "feature.unsupported"
    # before the schema, which a feature may change
    broken = draft().with_(members=lambda m: (m.pop("items"), m["features"].update({"read": ["b", "a"]})))
    assert root_code(broken) == "feature.unsupported"
    alone = store_of(draft().with_(features={"read": [], "write": [feature]}))
    open_root(alone, "c")
    with pytest.raises(Rejected, match=r"feature\.unsupported"):
        open_root(alone, "c", writing=True)


def test_the_item_name_is_checked_by_itself():
    def twist(members):
        by_store_key(["manifest"], STORE_KEY)(members)
        members["items"] = {".x": {**members["items"]["model"], "assets": {}}}

    assert root_code(draft().with_(members=twist)) == "root.schema"


def test_what_may_be_read_may_be_written(monkeypatch):
    monkeypatch.setattr("conformance.oracle.root.FEATURES", frozenset({"x", "y"}))
    assert codes(draft().with_(features={"read": ["x"], "write": ["x", "y"]})) == []
    assert root_code(draft().with_(features={"read": ["x"], "write": ["y"]})) == "root.schema"


def test_a_feature_in_read_alone_is_unknown_first():
    assert root_code(draft().with_(features={"read": ["x"], "write": []})) == "feature.unsupported"


def raw_root(text: bytes, first: bytes = b'{"scf":1,"digest":"') -> str:
    with pytest.raises(Rejected) as caught:
        read_root(seal(text, first), "c")
    return caught.value.code


def test_the_order_of_checks():
    text = build(draft())["checkpoint.json"][85:]
    good = seal(text)
    assert read_root(good, "c").checkpoint == "c"
    for number in (b"2", b"0", b"01", b"11", b"9" * 5000):
        assert raw_root(text, b'{"scf":' + number + b',"digest":"') == "version.unsupported"
        with pytest.raises(Rejected, match=r"version\.unsupported"):
            read_root(b'{"scf":' + number + b",garbage", "c")
    for broken in (b"", b"{", b"[]", good[:84], b" " + good, b"\xef\xbb\xbf" + good, b'{"scf": 1' + good[8:]):
        with pytest.raises(Rejected, match=r"root\.syntax"):
            read_root(broken, "c")
    with pytest.raises(Rejected, match=r"root\.syntax"):
        read_root(good[:19] + good[19:83].upper().replace(b"A", b"G") + good[83:], "c")
    for broken in (good + b" ", good[:-1], good[:200] + b"\x00" + good[201:], good[:85]):
        with pytest.raises(Rejected, match=r"root\.digest"):
            read_root(broken, "c")
    with pytest.raises(Rejected, match=r"root\.digest"):
        read_root(seal(b"not json"), "c", expect="0" * 64)
    assert raw_root(b"not json") == "root.syntax"
    assert raw_root(b"") == "root.syntax"
    assert raw_root(b"}") == "root.syntax"
    assert raw_root(text + b"{}") == "root.syntax"
    assert raw_root(b'"scf":1,' + text) == "root.syntax"
    assert raw_root(b'"digest":"",' + text) == "root.syntax"
    assert raw_root(b'"x":NaN,' + text) == "root.syntax"
    assert raw_root(b'"x":"\\ud800",' + text) == "root.syntax"
    assert raw_root(b'"x":' + b"[" * 64 + b"]" * 64 + b"," + text) == "root.syntax"
    assert read_root(seal(b"\n \t\r\n" + b'"x":' + b"[" * 63 + b"]" * 63 + b"," + text + b"\n"), "c")


def test_a_root_of_more_than_64_mib():
    data = build(draft())["checkpoint.json"]
    fits = seal(data[85:].ljust(67_108_864 - 85))
    assert read_root(fits, "c")
    with pytest.raises(Rejected, match=r"limit\.exceeded"):
        read_root(fits + b" ", "c")
    store = MemoryStore({"c/checkpoint.json": fits + b" "})
    with pytest.raises(Rejected) as caught:
        open_root(store, "c")
    assert (caught.value.code, caught.value.phase) == ("limit.exceeded", "open")


def test_items_up_to_the_maximum():
    items = {str(number): Item() for number in range(3)}
    member = json.loads(build(Draft(items=items))["checkpoint.json"])["items"]["0"]

    def many(count):
        def twist(members):
            members["items"] = {}
            for number in range(count):
                manifest = {**member["manifest"], "key": manifest_key(str(number))}
                members["items"][str(number)] = {**member, "manifest": manifest}

        return Draft().with_(members=twist)

    assert len(open_root(store_of(many(4096)), "c").items) == 4096
    assert root_code(many(4097)) == "root.schema"


def test_names_that_the_caller_gives():
    store = store_of(draft())
    root = open_root(store, "c")
    for name in ("", "..", "a/b", "c/../c", ".tombstones"):
        with pytest.raises(Rejected, match=r"key\.invalid"):
            open_root(store, name)
    with pytest.raises(Rejected, match=r"key\.invalid"):
        find_item(root, "../model")
    with pytest.raises(Rejected, match=r"item\.missing.*model"):
        find_item(root, "optimizer")


def test_the_newest_is_by_sequence_then_digest():
    def at(sequence, step):
        return draft().with_(sequence=sequence, metadata={"step": step})

    store = store_of(at(3, 0), z=at(2, 9), y=at(3, 1), x=at(3, 2))
    found = list_checkpoints(store)
    top = max((one for one in found if one.root.sequence == 3), key=lambda one: one.root.digest)
    assert newest(found).checkpoint == top.name
    assert len(found) == 4
    assert newest([]) is None


def test_a_listing_shows_what_it_refuses_and_drops_what_has_no_root():
    store = store_of(draft())
    good = dict(store.objects)
    for name in ("damaged", "broken"):
        store.objects[f"{name}/checkpoint.json"] = good["c/checkpoint.json"] + b" "
    store.objects |= {
        "leftover/model/x": b"",
        "README": b"",
        ".tombstones/c.0.json": b"",
        "not a name/checkpoint.json": b"",
    }
    store.broken = {"broken/checkpoint.json"}
    found = {one.name: one.refusal and one.refusal.code for one in list_checkpoints(store)}
    assert found == {"c": None, "damaged": "root.digest", "broken": "store.io"}
    assert newest(list_checkpoints(store)).checkpoint == "c"


def laid_out(path, one: Draft) -> DirectoryStore:
    for key, data in store_of(one).objects.items():
        place = path / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return DirectoryStore(str(path))


def test_a_directory_is_a_store(tmp_path):
    store = laid_out(tmp_path / "run", draft())
    assert store.names("") == ["c"]
    assert store.names("c/") == ["checkpoint.json", "model"]
    assert store.names("none/") == []
    assert {one.key: one.size for one in store.list("c/m")} == {
        key: len(data) for key, data in store_of(draft()).objects.items() if key.startswith("c/m")
    }
    assert store.get_range("c/model/config.json", 1, 2) == b"}"
    for key in ("c/none", "c/model", "c/checkpoint.json/x", "none/x"):
        with pytest.raises(NoSuchKey):
            store.get(key)
    with pytest.raises(TooLarge):
        store.get("c/model/config.json", 1)
    for begin, end in ((0, 3), (3, 3), (2, 1)):
        with pytest.raises(Rejected, match=r"store\.io"):
            store.get_range("c/model/config.json", begin, end)
    for key in ("../x", "c//x", "", "c/../../x", "c/\0", "/etc/passwd"):
        with pytest.raises(Rejected, match=r"store\.io"):
            store.get(key)
    (tmp_path / "run" / "c" / ".tmp-0123456789abcdef").write_bytes(b"")
    assert all(".tmp-" not in one.key for one in store.list(""))
    os.mkfifo(tmp_path / "run" / "pipe")
    with pytest.raises(Rejected, match=r"store\.io"):
        store.get("pipe")
    assert DirectoryStore(str(tmp_path / "absent")).names("") == []
    assert DirectoryStore(str(tmp_path / "absent")).list("") == []


def test_a_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    store = laid_out(tmp_path, draft())
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    with pytest.raises(Rejected, match=r"store\.io"):
        store.get("c/model/config.json")


def test_links_that_lead_out_are_refused(tmp_path):
    store = laid_out(tmp_path / "run", draft())
    laid_out(tmp_path / "outside", draft())
    (tmp_path / "run" / "out").symlink_to(tmp_path / "outside" / "c")
    (tmp_path / "run" / "in").symlink_to(tmp_path / "run" / "c")
    secret = tmp_path / "run" / "c" / "model" / "config.json"
    secret.unlink()
    secret.symlink_to(tmp_path / "outside" / "c" / "model" / "config.json")
    (tmp_path / "run" / "gone").symlink_to(tmp_path / "outside" / "gone")
    (tmp_path / "run" / "loop").symlink_to(tmp_path / "run" / "loop")
    for key in ("out/checkpoint.json", "c/model/config.json", "gone", "gone/checkpoint.json", "loop/checkpoint.json"):
        with pytest.raises(Rejected, match=r"store\.io"):
            store.get(key)
    with pytest.raises(Rejected, match=r"store\.io"):
        store.names("out/")
    with pytest.raises(Rejected, match=r"store\.io"):
        store.list("out/")
    assert all(not one.key.startswith(("out/", "gone")) for one in store.list(""))
    assert store.get("in/checkpoint.json") == store.get("c/checkpoint.json")
    found = {one.name: one.refusal and one.refusal.code for one in list_checkpoints(store)}
    assert found == {"c": None, "in": None, "out": "store.io", "gone": "store.io", "loop": "store.io"}
    assert codes(store) == ["store.io"]


def test_the_digest_of_the_example_root_is_the_identity():
    data = build(draft())["checkpoint.json"]
    zeros = data[:19] + b"0" * 64 + data[83:]
    assert read_root(data, "any").digest == hashlib.sha256(zeros).hexdigest() == data[19:83].decode()
