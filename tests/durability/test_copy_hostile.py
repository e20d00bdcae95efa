"""Copies of what strangers made, into stores that hold more than that, and commits whose place was taken and is free."""

from __future__ import annotations

import hashlib
import os
import time

import msgpack
import pytest

from pyckpt.engine.collect import GRACE_SECONDS, collect_garbage
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.delete import delete
from pyckpt.engine.verify import verify
from pyckpt.errors import Corrupt, InvalidKey, SaveAborted, StoreError
from pyckpt.format.digest import digest
from pyckpt.storage.base import AlreadyThere
from pyckpt.storage.local import LocalStore
from tests.durability.forge import change_manifest, change_root, read_root
from tests.durability.kill_points import reachable, save_one
from tests.durability.test_copy import LIMIT, contents
from tests.storage.faulty import FaultyStore


def object_of(store, name="step_1"):
    return next(key for key in reachable(store, name) if "/model/" in key and key.endswith(".safetensors"))


def forge_other_bytes(store):
    """Changes what step_3 uses of an object of step_1, and the digest in its manifest with it."""
    key = object_of(store)
    data = bytearray(store.get(key, limit=LIMIT))

    def change(record):
        row = record["objects"][0]
        start = row["data_start"]
        data[start] ^= 1
        record["shards"]["columns"]["block_digest"] = digest(row["digest"], bytes(data[start : start + 8]))

    change_manifest(store, "step_3", "model", change)
    store.put(key, bytes(data))
    assert verify(store, "step_3", threads=1).ok


def damage_root(store):
    store.put("step_1/checkpoint.json", store.get("step_1/checkpoint.json", limit=LIMIT)[:-1])


def age_root(store):
    change_root(store, "step_1", lambda root: root.update(features={"read": ["x-new"], "write": ["x-new"]}))


def damage_manifest(store):
    key = read_root(store, "step_1")["items"]["model"]["manifest"]["key"]
    data = store.get(f"step_1/{key}", limit=LIMIT)
    store.put(f"step_1/{key}", data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("break_one", [damage_root, age_root, damage_manifest])
def test_what_an_unreadable_checkpoint_may_use_is_never_replaced(source, target, break_one):
    copy_checkpoint(source, "step_1", target)
    break_one(target)
    before = contents(target)
    if break_one is not damage_manifest:
        # The same bytes are used, but not for its sake: old ones are written anew.
        assert copy_checkpoint(source, "step_2", target, target_name="good").found > 0
        delete(target, "good")
        long_ago = time.time() - GRACE_SECONDS
        for key in before:
            os.utime(os.path.join(target.root, key), (long_ago, long_ago))
        copy_checkpoint(source, "step_2", target, target_name="good", verify=False)
        assert target.info(object_of(source)).modified > long_ago + 60
        target.delete("good/checkpoint.json")
        before = contents(target)
    forge_other_bytes(source)
    with pytest.raises(Corrupt, match="'step_1', of which something can't be read"):
        copy_checkpoint(source, "step_3", target, target_name="evil", verify=False)
    assert contents(target) == before
    assert object_of(source) in before


def test_sizes_are_looked_up_before_they_are_believed(source, target):
    change_manifest(source, "step_3", "model", lambda record: record["objects"][0].update(size=1 << 62))
    with pytest.raises(Corrupt) as caught:
        copy_checkpoint(source, "step_3", target)
    assert caught.value.code == "object.size"
    assert contents(target) == {}
    copy_checkpoint(source, "step_1", target)
    with pytest.raises(Corrupt, match="'step_1' uses them"):
        copy_checkpoint(source, "step_3", target)


def test_collection_does_not_stop_at_trees_of_a_later_version(source):
    change_manifest(source, "step_1", "numbers", lambda record: record.update(tree={"x": msgpack.ExtType(99, b"1")}))
    change_manifest(source, "step_1", "packed", lambda record: record["objects"][0].update(digest="blake9"))
    before = {key for key in reachable(source, "step_3") | {"step_1/checkpoint.json"} if "/packed/" not in key}
    collect_garbage(source, grace=0)
    assert before <= contents(source).keys()
    delete(source, "step_1")
    collected = collect_garbage(source, grace=0)
    assert any("/numbers/" in key for key in collected.keys)
    assert verify(source, "step_3", threads=1).ok


@pytest.mark.parametrize("place", ["tests/unit/conftest.py", ".github/workflows/x.yml", "run/step_9/checkpoint.json"])
def test_assets_of_others_go_to_places_of_checkpoints_only(source, target, tmp_path, place):
    name, _, asset = place.split("/")
    source.put(place, b"x")
    digest = hashlib.sha256(b"x").hexdigest()

    def change(root):
        root["external"] = [{"checkpoint": name, "digest": "0" * 64}]
        root["items"]["model"]["assets"][asset] = {"store_key": place, "size": 1, "sha256": digest}

    change_root(source, "step_1", change)
    target.put("tests/unit/test_all.py", b"")
    save_one(LocalStore(tmp_path / "target" / "run"), "step_1")
    before = contents(target)
    with pytest.raises(InvalidKey, match="no checkpoint") as caught:
        copy_checkpoint(source, "step_1", target)
    assert caught.value.key == place
    assert contents(target) == before
    copy_checkpoint(source, "step_1", target, standalone=True)
    assert place not in contents(target)


def test_the_clock_is_not_asked_for_every_object(source, target):
    """Object stores tell it by an object that is written for that."""
    copy_checkpoint(source, "step_1", target)
    target.delete("step_1/checkpoint.json")
    asked = []

    class Clock(FaultyStore):
        def now(self):
            asked.append(1)
            return self.inner.now()

    assert copy_checkpoint(source, "step_1", Clock(target, count_only=True)).found > 0
    assert 1 <= len(asked) <= 3


def test_tombstones_of_carriers_go_in_the_end(source):
    """The assets that they reached are files of another name, whose own tombstone has gone before."""
    delete(source, "step_1")
    collect_garbage(source, grace=0)
    for name in ("step_2", "step_3"):
        delete(source, name)
    collect_garbage(source, grace=0)
    assert not list(source.list(".tombstones/"))


def test_one_object_that_stays_does_not_keep_the_others(target):
    """And of an attempt whose marker stays nothing goes: by the marker it sees that it was collected."""
    one, two = "a/model/" + "1" * 16 + "-0000{}.safetensors", "b/model/" + "2" * 16 + "-00000.safetensors"
    keys = [one.format(number) for number in range(3)]
    for key in (*keys, two, "b/.attempt-" + "2" * 16):
        target.put(key, b"x")

    class Locked(FaultyStore):
        def delete(self, key):
            if key == keys[0] or "/.attempt-" in key:
                raise StoreError("store.io", "locked", key=key)
            super().delete(key)

    with pytest.raises(StoreError, match=r"2 of 5 objects could not be removed: locked"):
        collect_garbage(Locked(target, count_only=True), grace=0)
    assert contents(target).keys() == {keys[0], two, "b/.attempt-" + "2" * 16}


class Taken(FaultyStore):
    """Says that a root is in the way, which is gone when one looks."""

    def put_new(self, key, data):
        if key.endswith("/checkpoint.json"):
            raise AlreadyThere(key)
        super().put_new(key, data)


@pytest.mark.parametrize("how", ["save", "copy", "standalone"])
def test_a_root_that_was_in_the_way_may_have_been_ones_own(source, target, how):
    """A request whose answer was lost may still be carried out: what such a root would reach has to stay."""
    store = Taken(target, count_only=True)
    with pytest.raises(SaveAborted, match="which"):
        if how == "save":
            save_one(store, "new")
        else:
            copy_checkpoint(source, "step_1", store, target_name="new", standalone=how == "standalone")
    kinds = {key.rpartition(".")[2] for key in contents(target)}
    assert {"safetensors", "zst"} <= kinds


def test_the_marker_is_the_last_thing_that_a_standalone_copy_looks_at(source, target):
    class Slow(FaultyStore):
        """A collector comes while the roots are listed."""

        def list_names(self, prefix):
            for info in list(self.inner.list("alone/")):
                if "/.attempt-" in info.key:
                    self.inner.delete(info.key)
            return self.inner.list_names(prefix)

    with pytest.raises(SaveAborted, match="marker"):
        copy_checkpoint(source, "step_1", Slow(target, count_only=True), target_name="alone", standalone=True)
    assert not [key for key in contents(target) if key.endswith((".safetensors", "checkpoint.json", ".zst"))]
