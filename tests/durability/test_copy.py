"""Copies: the same bytes and the same digest, or no root; what is there already is used, never what is wrong."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import msgpack
import pytest

from pyckpt.engine import copy_plan
from pyckpt.engine.collect import GRACE_SECONDS, collect_garbage
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.delete import delete
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.verify import verify
from pyckpt.errors import AlreadyExists, Corrupt, NotFound, PyckptError, SaveAborted, StoreError, UsageError
from pyckpt.format.keys import tombstone_key
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from tests.durability.forge import change_manifest, change_root
from tests.durability.kill_points import check_listed, committed, killed, reachable, save_one
from tests.storage.faulty import FaultyStore
from tests.storage.faulty_os import FaultyOs

LIMIT = 1 << 28


@pytest.fixture
def small_chunks(monkeypatch):
    """Objects of some kilobytes go in several chunks."""
    monkeypatch.setattr(copy_plan, "CHUNK_BYTES", 4096)


def contents(store, keys=None):
    """Key -> bytes of all objects, or of those."""
    return {key: store.get(key, limit=LIMIT) for key in (keys or [info.key for info in store.list("")])}


def roots(store):
    return [key for key in contents(store) if key.endswith("/checkpoint.json")]


def check_copy(source, target, name):
    """The target has exactly what the checkpoint consists of, byte for byte."""
    assert contents(target) == contents(source, reachable(source, name))
    assert verify(target, name, threads=1).ok


@pytest.mark.parametrize("mode", ["direct", "writeback"])
@pytest.mark.parametrize("name", ["step_1", "step_2", "step_3"])
def test_a_copy_is_the_same_bytes(source, tmp_path, name, mode, small_chunks):
    memory = MemoryStore(f"copy-{tmp_path.name}")
    report = copy_checkpoint(source, name, memory)
    assert report.sent == sum(map(len, contents(memory).values()))
    check_copy(source, memory, name)
    back = LocalStore(tmp_path / "back", mode)
    copy_checkpoint(memory, name, back, threads=3)
    check_copy(source, back, name)
    root = next(each.root for each in list_checkpoints(source) if each.name == name)
    assert report.digest == root.digest
    assert report.checkpoints == tuple(each.checkpoint for each in root.external)


def test_what_is_used_of_others_comes_along_and_stays(source, target):
    copy_checkpoint(source, "step_2", target)
    assert committed(target) == {"step_2"}
    assert [key for key in contents(target) if key.startswith("step_1/model/")]
    before = contents(target)
    collect_garbage(target, grace=0)
    assert contents(target) == before
    report = verify(target, "step_2", threads=1)
    assert report.ok
    assert "step_1" in report.remarks[0]
    # The origin itself adds what the carrier doesn't use, and finds the rest.
    again = copy_checkpoint(source, "step_1", target)
    assert again.found > 0
    check_listed(target, {"step_1", "step_2"})
    delete(target, "step_1")
    collect_garbage(target, grace=0)
    assert contents(target, before) == before


FIRST = 4096 + 8
"""Bytes of the header and the first tensor of the model's object."""


class Unsteady(FaultyStore):
    """Gives a wrong last byte in reads from the beginning of a model's object that go beyond its first block."""

    def open_reader(self, key):
        reader = self.inner.open_reader(key)
        inner = reader.read_into

        def read_into(offset, views):
            inner(offset, views)
            if offset == 0 and "/model/" in key and len(views[-1]) > FIRST:
                views[-1][-1] ^= 1

        reader.read_into = read_into
        return reader


def test_what_is_read_beyond_a_chunk_is_compared_with_what_was_checked(source, tmp_path, monkeypatch):
    monkeypatch.setattr(copy_plan, "CHUNK_BYTES", FIRST)
    with pytest.raises(Corrupt, match="different bytes"):
        copy_checkpoint(Unsteady(source), "step_1", LocalStore(tmp_path / "target", "direct"))
    assert roots(LocalStore(tmp_path / "target")) == []


def test_another_name(source, target):
    assert copy_checkpoint(source, "step_2", target, target_name="kept").url.endswith("target/kept")
    assert verify(target, "kept", threads=1).ok
    with pytest.raises(UsageError, match="another checkpoint"):
        copy_checkpoint(source, "step_2", target, target_name="step_1")
    copy_checkpoint(source, "step_2", source, target_name="twin")
    assert verify(source, "twin", threads=1).ok


def test_an_existing_root_decides(source, target):
    first = copy_checkpoint(source, "step_1", target)
    again = copy_checkpoint(source, "step_1", target)
    assert (again.already_there, again.sent, again.digest) == (True, 0, first.digest)
    before = contents(target)
    with pytest.raises(AlreadyExists):
        copy_checkpoint(source, "step_3", target, target_name="step_9")
        copy_checkpoint(source, "step_1", target, target_name="step_9")
    assert contents(target, before) == before
    with pytest.raises(NotFound):
        copy_checkpoint(source, "step_9", target)


def test_damage_anywhere_is_named_and_never_committed(source, target, small_chunks):
    keys = reachable(source, "step_2") - {"step_2/checkpoint.json"}
    assert len(keys) == 7
    for key in sorted(keys):
        good = source.get(key, limit=LIMIT)
        for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-1], good + b"\0", None):
            source.delete(key) if bad is None else source.put(key, bad)
            shutil.rmtree(target.root, ignore_errors=True)
            with pytest.raises(PyckptError) as caught:
                copy_checkpoint(source, "step_2", target)
            assert caught.value.key == key
            assert isinstance(caught.value, Corrupt | NotFound)
            assert roots(target) == []
        source.put(key, good)
    copy_checkpoint(source, "step_2", target)
    check_copy(source, target, "step_2")


def test_damage_says_which_block(source, target):
    key = next(key for key in reachable(source, "step_1") if "model" in key and key.endswith(".safetensors"))
    data = bytearray(source.get(key, limit=LIMIT))
    data[-1] ^= 1
    source.put(key, data)
    with pytest.raises(Corrupt, match=r"block 0 of entry 'w' of item 'model', bytes 4104 to 5304") as caught:
        copy_checkpoint(source, "step_1", target)
    assert caught.value.code == "block.digest"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_killed_at_every_call_goes_on(source, target, when):
    counter = FaultyOs()
    with counter:
        copy_checkpoint(source, "step_2", target)
    whole = contents(target)
    made = [call for call in counter.calls if call[0] in ("link", "replace")]
    assert len(made) == len(whole)
    for number in range(1 + (when == "after"), counter.count + 1, 5):
        shutil.rmtree(target.root)

        def act(number=number):
            with FaultyOs(fail_at=number, when=when):
                copy_checkpoint(source, "step_2", LocalStore(target.root), threads=2)

        assert killed(act)
        store = LocalStore(target.root)
        kept = contents(store)
        assert kept.items() <= whole.items()
        report = copy_checkpoint(source, "step_2", store)
        if "step_2/checkpoint.json" in kept:
            assert report.already_there
        else:
            assert report.sent == sum(map(len, whole.values())) - sum(map(len, kept.values()))
        assert contents(store) == whole
        store.remove_leftovers(store.now() + 1)
        assert {str(path.relative_to(target.root)) for path in _files(target.root)} == set(whole)


def _files(root):
    return [path for path in Path(root).rglob("*") if path.is_file()]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_fails_at_every_change(source, when):
    inner = MemoryStore("copy-faulty")
    counted = FaultyStore(inner, count_only=True)
    copy_checkpoint(source, "step_3", counted)
    whole = contents(inner)
    for number in range(1, counted.count + 1):
        inner.clear()
        with pytest.raises(PyckptError):
            copy_checkpoint(source, "step_3", FaultyStore(inner, fail_at=number, when=when))
        assert contents(inner).items() <= whole.items()
        copy_checkpoint(source, "step_3", inner)
        assert contents(inner) == whole
    inner.clear()


def break_off(source, target):
    """Leaves a copy of ``step_2`` that lacks only its root."""
    copy_checkpoint(source, "step_2", target)
    target.delete("step_2/checkpoint.json")
    return contents(target)


def test_what_was_found_is_checked_unless_sizes_will_do(source, target, small_chunks):
    whole = break_off(source, target)
    key = next(key for key in whole if key.endswith(".safetensors"))
    target.put(key, whole[key][:-1] + b"?")
    report = copy_checkpoint(source, "step_2", target)
    assert contents(target, whole) == whole
    assert len(whole[key]) < report.sent < len(whole[key]) + 4096
    target.delete("step_2/checkpoint.json")
    target.put(key, whole[key][:-1] + b"?")
    assert copy_checkpoint(source, "step_2", target, verify=False).sent < 4096
    assert not verify(target, "step_2", threads=1).ok


def test_bytes_without_a_digest_are_compared_with_the_source(source, target):
    copy_checkpoint(source, "step_3", target)
    target.delete("step_3/checkpoint.json")
    key = next(key for key in contents(target) if key.startswith("step_1/"))
    good = target.get(key, limit=LIMIT)
    assert source.get(key, limit=LIMIT) == good
    # The last bytes are those of a tensor that step_3 does not use.
    target.put(key, good[:-1] + b"?")
    assert copy_checkpoint(source, "step_3", target).sent > len(good)
    assert target.get(key, limit=LIMIT) == good


def test_old_leftovers_are_sent_again(source, target):
    whole = break_off(source, target)
    long_ago = time.time() - GRACE_SECONDS
    for key in whole:
        os.utime(os.path.join(target.root, key), (long_ago, long_ago))
    report = copy_checkpoint(source, "step_2", target)
    assert report.found == 0
    assert all(time.time() - info.modified < 60 for info in target.list(""))


def test_collection_beside_a_copy(source, target):
    collected = []

    class Collecting(FaultyStore):
        def step(self, what, key, change):
            done = super().step(what, key, change)
            if what in ("close", "put", "put_new") and not key.endswith("/checkpoint.json"):
                collected.append(collect_garbage(self.inner, grace=grace))
            return done

    grace = 3600.0
    copy_checkpoint(source, "step_2", Collecting(target, count_only=True))
    check_copy(source, target, "step_2")
    assert all(not each.keys for each in collected)
    shutil.rmtree(target.root)
    grace = 0.0
    with pytest.raises(SaveAborted, match="gone"):
        copy_checkpoint(source, "step_2", Collecting(target, count_only=True))
    assert roots(target) == []


def test_collection_leaves_what_is_written_again_meanwhile(target):
    first, second = (f"c/model/{'0' * 15}{number}-00000.safetensors" for number in (1, 2))
    long_ago = time.time() - GRACE_SECONDS
    for key in (first, second):
        target.put(key, b"old")
        os.utime(os.path.join(target.root, key), (long_ago, long_ago))

    class Writing(FaultyStore):
        def step(self, what, key, change):
            if (what, key) == ("delete", first):
                target.put(second, b"new")
            return super().step(what, key, change)

    collect_garbage(Writing(target, count_only=True), grace=3600)
    assert contents(target) == {second: b"new"}


def test_a_deletion_beside_a_copy(source, target):
    class Deleting(FaultyStore):
        def step(self, what, key, change):
            if self.count == 0:
                delete(source, "step_1")
                if now:
                    collect_garbage(source, grace=0)
            return super().step(what, key, change)

    now = False
    with pytest.raises(NotFound) as caught:
        copy_checkpoint(source, "step_1", Deleting(target, count_only=True))
    assert caught.value.code == "checkpoint.missing"
    assert roots(target) == []
    save_one(source, "step_1")
    now = True
    with pytest.raises((Corrupt, NotFound)) as caught:
        copy_checkpoint(source, "step_1", Deleting(target, count_only=True))
    assert caught.value.code in ("object.missing", "asset.missing", "manifest.missing")
    assert roots(target) == []


def test_what_a_checkpoint_of_the_target_uses_is_never_replaced(source, target):
    copy_checkpoint(source, "step_1", target)
    key = next(key for key in reachable(source, "step_1") if "model" in key and key.endswith(".safetensors"))
    bad = target.get(key, limit=LIMIT)[:-1] + b"?"
    target.put(key, bad)
    # Its root says what the copy expects: believed, as after any commit.
    assert copy_checkpoint(source, "step_2", target).found > 0
    # It says something else: looked at.
    target.delete("step_2/checkpoint.json")
    size = len(bad) + 4096
    target.put(key, bad.ljust(size, b"?"))
    with pytest.raises(Corrupt, match="'step_1' uses them") as caught:
        copy_checkpoint(source, "step_2", target)
    assert caught.value.key == key
    assert len(target.get(key, limit=LIMIT)) == size
    assert committed(target) == {"step_1"}


def test_a_checkpoint_relied_on_is_deleted_meanwhile(source, target):
    copy_checkpoint(source, "step_1", target)

    class Deleting(FaultyStore):
        def step(self, what, key, change):
            if self.count == 0:
                delete(target, "step_1")
            return super().step(what, key, change)

    with pytest.raises(Corrupt, match="deleted meanwhile") as caught:
        copy_checkpoint(source, "step_2", Deleting(target, count_only=True))
    assert caught.value.code == "external.missing"
    copy_checkpoint(source, "step_2", target)
    collect_garbage(target, grace=0)
    assert verify(target, "step_2", threads=1).ok


def test_a_checkpoint_of_the_target_whose_deletion_was_broken_off(source, target):
    digest = copy_checkpoint(source, "step_1", target).digest
    target.put(tombstone_key("step_1", digest), target.get("step_1/checkpoint.json", limit=LIMIT))
    before = {info.key: info.modified for info in target.list("step_1/")}
    assert copy_checkpoint(source, "step_2", target).found > 0
    # Its assets might go with it at any time, objects only when they are old.
    after = {info.key: info.modified for info in target.list("step_1/")}
    assert after == before
    long_ago = time.time() - GRACE_SECONDS
    for key in before:
        os.utime(os.path.join(target.root, key), (long_ago, long_ago))
    target.delete("step_2/checkpoint.json")
    copy_checkpoint(source, "step_2", target)
    assert all(target.info(key).modified > long_ago + 60 for key in reachable(target, "step_2"))
    key = next(key for key in before if key.endswith(".safetensors"))
    target.put(key, b"?")
    target.delete("step_2/checkpoint.json")
    with pytest.raises(Corrupt, match="'step_1' uses them"):
        copy_checkpoint(source, "step_2", target)


def test_an_asset_beside_a_tombstone_gets_a_new_time(source, target):
    copy_checkpoint(source, "step_1", target)
    delete(target, "step_1")
    before = target.info("step_1/model/config.json").modified
    copy_checkpoint(source, "step_1", target)
    assert target.info("step_1/model/config.json").modified > before


def test_what_a_later_version_wrote_is_copied_as_it_is(source, target):
    change_manifest(source, "step_1", "numbers", lambda record: record.update(tree={"x": msgpack.ExtType(99, b"1")}))
    change_manifest(source, "step_1", "packed", lambda record: record["objects"][0].update(digest="blake9"))
    change_root(source, "step_1", lambda root: root.update({"x-acme": [1]}))
    report = copy_checkpoint(source, "step_1", target)
    assert report.unchecked > 4096
    copied = contents(target)
    assert copied == contents(source, copied)
    target.delete("step_1/checkpoint.json")
    key = next(key for key in copied if "/packed/" in key and key.endswith(".safetensors"))
    target.put(key, copied[key][:-1] + b"?")
    copy_checkpoint(source, "step_1", target)
    assert contents(target) == copied


def test_somebodys_file_at_the_key_of_an_asset(source, target):
    target.put("step_1/model/config.json", b"mine")
    with pytest.raises(Corrupt, match="another file there"):
        copy_checkpoint(source, "step_1", target)
    assert target.get("step_1/model/config.json", limit=9) == b"mine"
    assert roots(target) == []
    target.put("step_1/model/config.json", b"1")
    copy_checkpoint(source, "step_1", target)


def test_assets_of_a_deleted_checkpoint_get_a_new_time(source, target):
    copy_checkpoint(source, "step_1", target)
    delete(target, "step_1")
    long_ago = time.time() - 2 * GRACE_SECONDS
    for info in list(target.list("")):
        os.utime(os.path.join(target.root, info.key), (long_ago, long_ago))
    copy_checkpoint(source, "step_1", target)
    collect_garbage(target)
    check_listed(target, {"step_1"})


def test_two_copies_at_once(source, target, small_chunks):
    outcomes = []
    start = threading.Barrier(3)

    def work():
        start.wait()
        try:
            outcomes.append(copy_checkpoint(source, "step_2", LocalStore(target.root), threads=2))
        except BaseException as error:
            outcomes.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.already_there for each in outcomes].count(False) == 1
    check_copy(source, target, "step_2")


def test_a_weak_store_is_refused(source, target):
    class Weak(FaultyStore):
        conditional_put = "emulated"

    with pytest.raises(StoreError, match="create-if-absent") as caught:
        copy_checkpoint(source, "step_1", Weak(target, count_only=True))
    assert caught.value.code == "store.condition"
    assert copy_checkpoint(source, "step_1", Weak(target, count_only=True), accept_weak_store=True).weak


def test_progress_counts_every_byte_once(source, target):
    seen = []
    copy_checkpoint(source, "step_2", target, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
