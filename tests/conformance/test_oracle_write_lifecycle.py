"""Deletion, collection and copies by the oracle."""

from __future__ import annotations

import os
import time

import msgpack
import pytest
from oracle_requests import answer, directory, item, node_map, ok, refused, request, s3, tensor

from conformance.oracle.audit_store import collected, deleted_or_whole
from conformance.oracle.collect import candidate
from conformance.oracle.dir_writer import WritableDirectory
from conformance.oracle.encode import Draft, Item, Shard, Tensor, build
from conformance.oracle.errors import Rejected
from conformance.oracle.snapshot import Snapshot
from conformance.oracle.verify import verify
from conformance.transactions.simulator import Simulator

DAY = 24 * 3600
JUNK = "0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return directory(tmp_path / "store")


def snapshot(store):
    return Snapshot.take(WritableDirectory(store["path"]))


def keys(store):
    return set(snapshot(store).objects)


def save(store, checkpoint="c", **more):
    items = {"model": item(**{"config.json": "01"})}
    return ok(request(store, node_map(w=tensor("w", "F32", [3])), checkpoint=checkpoint, items=items, **more))


def carried(store, checkpoint, source):
    carry = {"model": {"checkpoint": source, "item": "model"}}
    return ok(request(store, checkpoint=checkpoint, items={}, carry=carry))


def delete(store, checkpoint="c"):
    return {"op": "delete", "store": store, "checkpoint": checkpoint}


def gc(store, grace=DAY, *, dry_run=False):
    return {"op": "gc", "store": store, "grace": grace, "dry_run": dry_run}


def age(store, seconds=2 * DAY, *, but=()):
    for key in keys(store) - set(but):
        past = time.time() - seconds
        os.utime(os.path.join(store["path"], key), (past, past))


def put(store, *names, data=b""):
    for name in names:
        WritableDirectory(store["path"]).put(name, data)


# Delete


def test_a_deletion_removes_the_root_and_leaves_a_tombstone(store):
    digest = save(store)["digest"]
    before = snapshot(store)
    ok(delete(store))
    assert deleted_or_whole(before, snapshot(store), "c") == []
    assert keys(store) - set(before.objects) == {f".tombstones/c.{digest[:16]}.json"}
    assert refused(delete(store)) == ("checkpoint.missing", "delete")


def test_an_interrupted_deletion_gets_a_new_tombstone(store, monkeypatch):
    save(store)
    with monkeypatch.context() as patch:
        patch.setattr(WritableDirectory, "delete", lambda *_: (_ for _ in ()).throw(Rejected("store.io", "no")))
        assert refused(delete(store)) == ("store.io", "store")
    age(store)
    ok(delete(store))
    (tombstone,) = WritableDirectory(store["path"]).list(".tombstones/")
    assert time.time() - tombstone.mtime < 60


def test_a_checkpoint_that_took_the_name_is_not_deleted(store, monkeypatch):
    save(store)
    other = {f"c/{key}": data for key, data in build(Draft(metadata={"other": 1})).items()}
    with monkeypatch.context() as patch:
        original = WritableDirectory.put

        def slow(self, key, data):
            original(self, key, data)
            original(self, "c/checkpoint.json", other["c/checkpoint.json"])

        patch.setattr(WritableDirectory, "put", slow)
        assert refused(delete(store)) == ("usage.invalid", "delete")
    assert snapshot(store).objects["c/checkpoint.json"] == other["c/checkpoint.json"]


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        (Draft(features={"read": [], "write": ["new"]}), "feature.unsupported"),
        (Draft(sealed=lambda root: root + b" "), "root.digest"),
    ],
)
def test_what_is_not_understood_is_not_deleted(store, draft, code):
    for key, data in build(draft).items():
        put(store, f"c/{key}", data=data)
    assert refused(delete(store))[0] == code
    assert keys(store) == {"c/checkpoint.json"}


# Collection


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        (f"c/.attempt-{JUNK}", True),
        (f"c/m/{JUNK}-00000.safetensors", True),
        (f"c/m/{JUNK}-100000.safetensors", True),
        (f"c/m/manifest-{JUNK}.msgpack.zst", True),
        (f"c/m/{JUNK}.d/a/b", True),
        ("c/checkpoint.json", False),
        (f"c/m/{JUNK}-0.safetensors", False),
        (f"c/m/{JUNK}-000001.safetensors", False),
        (f"c/m/{JUNK.upper()}-00000.safetensors", False),
        (f"c/m/n/{JUNK}-00000.safetensors", False),
        (f"c/.m/{JUNK}-00000.safetensors", False),
        (f"c/m/{JUNK}.d", False),
        (f"c/m/{JUNK}.d/a\\b", False),
        (f"c/m/.attempt-{JUNK}", False),
        (f".attempt-{JUNK}", False),
        (f".tombstones/m/{JUNK}-00000.safetensors", False),
        (f".tombstones/c.{JUNK}.json", False),
        ("c/m/config.json", False),
    ],
)
def test_candidates(key, is_one):
    assert (candidate(key) is not None) is is_one


GARBAGE = [f"c/.attempt-{JUNK}", f"c/model/{JUNK}-00007.safetensors", f"c/model/{JUNK}.d/config.json"]
GARBAGE += [f"c/model/manifest-{JUNK}.msgpack.zst"]
FOREIGN = ["c/notes.txt", "c/model/plain", "log/run.txt", f"{JUNK}-00000.safetensors"]


def test_old_garbage_goes_in_order_and_nothing_else(store):
    save(store)
    carried(store, "d", "c")
    put(store, *GARBAGE, *FOREIGN)
    age(store)
    before = snapshot(store)
    assert ok(gc(store, dry_run=True))["removed"] == GARBAGE
    assert snapshot(store).objects == before.objects
    assert ok(gc(store))["removed"] == GARBAGE
    assert collected(before, snapshot(store)) == []
    assert keys(store) == set(before.objects) - set(GARBAGE)
    assert ok(gc(store))["removed"] == []


def test_young_garbage_stays(store):
    put(store, *GARBAGE)
    age(store, DAY - 60)
    assert ok(gc(store))["removed"] == ok(gc(store, grace=None))["removed"] == []
    assert ok(gc(store, grace=DAY - 120))["removed"] == GARBAGE


def test_a_deleted_checkpoint_is_collected_after_the_grace_period(store):
    save(store)
    put(store, *FOREIGN)
    ok(delete(store))
    (tombstone,) = (key for key in keys(store) if key.startswith(".tombstones/"))
    age(store, but=[tombstone])
    assert ok(gc(store))["removed"] == []
    age(store)
    removed = ok(gc(store))["removed"]
    assert removed[-2:] == ["c/model/config.json", tombstone]
    assert keys(store) == set(FOREIGN)


def test_a_tombstone_stays_until_all_that_it_reaches_is_gone(store):
    save(store)
    ok(delete(store))
    age(store, but=["c/model/config.json"])
    removed = ok(gc(store))["removed"]
    assert len(removed) == 2
    assert "c/model/config.json" in keys(store)
    age(store)
    assert len(ok(gc(store))["removed"]) == 2
    assert keys(store) == set()


def test_what_another_root_reaches_stays(store):
    save(store)
    carried(store, "d", "c")
    ok(delete(store))
    age(store)
    (tombstone,) = ok(gc(store))["removed"]
    assert tombstone.startswith(".tombstones/c.")
    assert verify(WritableDirectory(store["path"]), "d", deep=True) == []


def test_an_interrupted_deletion_is_not_finished(store):
    digest = save(store)["digest"]
    put(store, f".tombstones/c.{digest[:16]}.json", data=snapshot(store).objects["c/checkpoint.json"])
    age(store)
    assert ok(gc(store))["removed"] == []


def test_a_plain_asset_that_was_created_again_stays(store, monkeypatch):
    save(store)
    ok(delete(store))
    age(store)
    original = WritableDirectory.list

    def list_and_renew(self, prefix):
        if prefix == "c/model/config.json":
            put(store, prefix, data=b"\1")
        return original(self, prefix)

    monkeypatch.setattr(WritableDirectory, "list", list_and_renew)
    assert "c/model/config.json" not in ok(gc(store))["removed"]
    assert "c/model/config.json" in keys(store)


def test_what_fails_is_left_to_the_next_run(store, monkeypatch):
    put(store, *GARBAGE)
    age(store)
    original = WritableDirectory.delete

    def failing(self, key):
        if key == GARBAGE[1]:
            raise Rejected("store.io", "busy", subject=key)
        original(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(WritableDirectory, "delete", failing)
        assert ok(gc(store))["removed"] == [GARBAGE[0], *GARBAGE[2:]]
    assert ok(gc(store))["removed"] == [GARBAGE[1]]


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        (Draft(features={"read": [], "write": ["new"]}), "feature.unsupported"),
        (Draft(sealed=lambda root: root + b" "), "root.digest"),
        (Draft(items={"m": Item()}, drop=("m/manifest-3f9c2a71d0b84e55.msgpack.zst",)), "manifest.missing"),
        (Draft(items={"m": Item()}).with_item("m", raw=lambda raw: raw[:-1]), "manifest.syntax"),
    ],
)
def test_a_store_that_is_not_understood_is_left_alone(store, draft, code):
    put(store, *GARBAGE)
    for key, data in build(draft).items():
        put(store, f"x/{key}", data=data)
    age(store)
    assert refused(gc(store))[0] == code
    assert set(GARBAGE) <= keys(store)


def test_a_tree_that_is_not_understood_does_no_harm(store):
    draft = Draft(items={"m": Item(tree={"x": msgpack.ExtType(99, b"1")})})
    for key, data in build(draft).items():
        put(store, f"x/{key}", data=data)
    put(store, *GARBAGE)
    age(store)
    assert ok(gc(store))["removed"] == GARBAGE


def test_a_bucket_is_collected_by_its_own_clock():
    with Simulator(page=3) as simulator:
        simulator.clock.offset = -30 * DAY
        store = s3(simulator)
        save(store)
        before = dict(simulator.objects)
        ok(request(store, node_map(), checkpoint="d"))
        for key in simulator.objects:
            simulator.set_age(key, DAY - 100)
        assert ok(gc(store))["removed"] == []
        ok(delete(store, "d"))
        for key in simulator.objects:
            simulator.set_age(key, DAY + 100)
        assert len(ok(gc(store))["removed"]) == 2
        assert set(simulator.objects) == set(before)


# Copies


def copy(source, to, checkpoint="c", name="copy"):
    return {"op": "copy", "store": source, "checkpoint": checkpoint, "to": to, "as": name}


@pytest.fixture
def other(tmp_path):
    return directory(tmp_path / "other")


def test_a_copy_is_verbatim_and_young(store, other):
    digest = save(store)["digest"]
    put(store, "c/notes")
    age(store)
    assert ok(copy(store, other))["digest"] == digest
    there = snapshot(other).objects
    assert there == {f"copy{key[1:]}": data for key, data in snapshot(store).objects.items() if key != "c/notes"}
    assert all(time.time() - one.mtime < 60 for one in WritableDirectory(other["path"]).list(""))
    assert ok(copy(store, other))["digest"] == digest
    carried(store, "d", "c")
    assert refused(copy(store, other, "d"))[0] == "checkpoint.exists"
    assert refused(copy(store, other, "x", "y"))[0] == "checkpoint.missing"
    assert refused(copy(store, other, name="..")) == ("key.invalid", "open")


def test_a_copy_takes_along_what_it_uses_of_others(store, other):
    save(store)
    carried(store, "d", "c")
    ok(copy(store, other, "d"))
    assert verify(WritableDirectory(other["path"]), "copy", deep=True) == []
    assert refused(copy(store, other, "d", "c")) == ("usage.invalid", "commit")
    ok(copy(store, store, "d"))
    assert verify(WritableDirectory(store["path"]), "copy", deep=True) == []


def test_objects_that_are_in_the_way_are_not_replaced(store, other):
    save(store)
    put(other, "copy/model/config.json", data=b"x")
    assert refused(copy(store, other)) == ("asset.digest", "read")
    put(other, "copy/model/config.json", data=b"\1")
    put(other, f".tombstones/copy.{JUNK}.json")
    assert refused(copy(store, other)) == ("usage.invalid", "commit")
    WritableDirectory(other["path"]).delete(f".tombstones/copy.{JUNK}.json")
    assert answer(copy(store, other))["result"] == "ok"


def test_damage_is_not_copied(store, other):
    save(store)
    (key,) = (key for key in keys(store) if key.endswith(".safetensors"))
    data = snapshot(store).objects[key]
    put(store, key, data=data[:-1] + bytes([data[-1] ^ 1]))
    assert refused(copy(store, other))[0] == "block.digest"
    assert keys(other) == set()


def test_unknown_names_are_copied_as_they_are(store, other):
    new = Tensor("n", "NEW", (2,), b"1234", bits=16)
    draft = Draft(
        items={"m": Item(tensors=(new,), shards=(Shard(0),)), "t": Item(tree={"x": msgpack.ExtType(99, b"1")})}
    )
    draft = draft.with_(features={"read": [], "write": ["new"]})
    for key, data in build(draft).items():
        put(store, f"c/{key}", data=data)
    ok(copy(store, other))
    assert len(keys(other)) == len(keys(store))


def test_a_bucket_without_the_condition_gets_no_copy(store):
    save(store)
    with Simulator(ignore_conditions=True) as simulator:
        assert refused(copy(store, s3(simulator))) == ("store.condition", "commit")
        assert simulator.objects == {}
