"""Copies that stand alone: the same tensors in a checkpoint that needs no other one."""

from __future__ import annotations

import pytest

from pyckpt.engine import copy_plan
from pyckpt.engine.collect import collect_garbage
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.delete import delete
from pyckpt.engine.diff import diff
from pyckpt.engine.open import open_root
from pyckpt.engine.verify import verify
from pyckpt.errors import AlreadyExists, Corrupt, PyckptError, Unsupported
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from tests.durability.forge import change_root
from tests.durability.kill_points import reachable, save_one
from tests.durability.test_copy import LIMIT, contents, roots
from tests.storage.faulty import FaultyStore


@pytest.mark.parametrize("mode", ["direct", "writeback"])
@pytest.mark.parametrize("name", ["step_1", "step_2", "step_3"])
def test_the_same_tensors_and_nothing_of_others(source, tmp_path, name, mode, monkeypatch):
    monkeypatch.setattr(copy_plan, "CHUNK_BYTES", 4096)
    target = LocalStore(tmp_path / "target", mode)
    save_one(target, "earlier", 5)
    report = copy_checkpoint(source, name, target, standalone=True)
    old, new = open_root(source, name), open_root(target, name)
    assert report.digest == new.root.digest != old.root.digest
    assert (new.root.external, new.root.origin, new.root.sequence) == ((), old.root.digest, 2)
    assert (new.root.metadata, new.root.parent) == (old.root.metadata, old.root.parent)
    assert {each.split("/")[0] for each in reachable(target, name)} == {name}
    assert verify(target, name, threads=1).ok
    assert diff(old, new, values=True).equal
    assert new.item("numbers").tree == old.item("numbers").tree
    for item, entry in old.root.items.items():
        found = new.root.items[item]
        assert (found.kind, found.tensors, found.shards, found.bytes) == (
            entry.kind,
            entry.tensors,
            entry.shards,
            entry.bytes,
        )
        assert {name: asset.sha256 for name, asset in found.assets.items()} == {
            name: asset.sha256 for name, asset in entry.assets.items()
        }
    written = sum(len(data) for key, data in contents(target, reachable(target, name)).items())
    assert report.sent == written - len(target.get(f"{name}/checkpoint.json", limit=LIMIT))
    before = contents(target)
    collect_garbage(target, grace=0)
    assert contents(target) == before


def test_it_outlives_what_it_came_from(source):
    copy_checkpoint(source, "step_2", source, target_name="kept", standalone=True)
    for name in ("step_1", "step_2", "step_3"):
        delete(source, name)
    collect_garbage(source, grace=0)
    assert verify(source, "kept", threads=1).ok
    left = {key for key in contents(source) if not key.startswith("kept/")}
    assert left == {"step_2/model/config.json", "step_2/model/vocab/a.txt"}  # might be anybody's files


def test_once_is_enough(source, tmp_path):
    target = LocalStore(tmp_path / "target")
    first = copy_checkpoint(source, "step_2", target, standalone=True)
    again = copy_checkpoint(source, "step_2", target, standalone=True)
    assert (again.already_there, again.digest, again.sent) == (True, first.digest, 0)
    with pytest.raises(AlreadyExists):
        copy_checkpoint(source, "step_2", target)
    with pytest.raises(AlreadyExists):
        copy_checkpoint(source, "step_1", target, target_name="step_2", standalone=True)


def test_damage_is_named_and_nothing_stays(source, tmp_path):
    target = LocalStore(tmp_path / "target")
    for key in sorted(reachable(source, "step_2") - {"step_2/checkpoint.json"}):
        good = source.get(key, limit=LIMIT)
        for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-1], None):
            source.delete(key) if bad is None else source.put(key, bad)
            with pytest.raises(PyckptError) as caught:
                copy_checkpoint(source, "step_2", target, standalone=True)
            assert caught.value.key == key
            assert {each for each in contents(target) if not each.endswith((".json", ".txt"))} == set()
        source.put(key, good)
    key = next(key for key in reachable(source, "step_1") if key.endswith(".safetensors"))
    source.put(key, b"\0" + source.get(key, limit=LIMIT)[1:])
    with pytest.raises(Corrupt) as caught:
        copy_checkpoint(source, "step_1", target, standalone=True)
    assert caught.value.code == "object.header_digest"
    assert roots(target) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_fails_at_every_change(source, when):
    inner = MemoryStore("alone-faulty")
    counted = FaultyStore(inner, count_only=True)
    copy_checkpoint(source, "step_3", counted, standalone=True)
    for number in range(1, counted.count + 1):
        inner.clear()
        try:
            copy_checkpoint(source, "step_3", FaultyStore(inner, fail_at=number, when=when), standalone=True)
        except PyckptError:
            pass
        if roots(inner):
            assert verify(inner, "step_3", threads=1).ok
        collect_garbage(inner, grace=0)
        copy_checkpoint(source, "step_3", inner, standalone=True)
        assert verify(inner, "step_3", threads=1).ok
    inner.clear()


def test_features_that_only_writers_have_to_know_are_refused(source, tmp_path):
    change_root(source, "step_1", lambda root: root["features"].update(write=["x-new"]))
    target = LocalStore(tmp_path / "target")
    with pytest.raises(Unsupported):
        copy_checkpoint(source, "step_1", target, standalone=True)
    copy_checkpoint(source, "step_1", target)
