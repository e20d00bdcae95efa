"""Listing, deleting and garbage collection."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.collect import collect_garbage
from pyckpt.errors import Corrupt, NotFound, UsageError
from pyckpt.storage.local import LocalStore


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def save(url, seed=0, **keywords):
    value = {"model": {"w": np.full(1000, seed, np.float32)}}
    return pyckpt.save(url, value, assets={"model": {"config.json": b"%d" % seed}}, **keywords)


def age(path, seconds=1e6):
    """Makes everything below a directory older."""
    for root, _, files in os.walk(path):
        for name in files:
            os.utime(os.path.join(root, name), (time.time() - seconds,) * 2)


def files(path):
    return sorted(os.path.relpath(os.path.join(r, f), path) for r, _, fs in os.walk(path) for f in fs)


def test_newest_is_by_sequence_not_by_name_or_time(tmp_path):
    for name in ("step_9", "step_100", "step_20"):
        save(tmp_path / name)
    age(tmp_path / "step_20")
    assert [url.rsplit("/")[-1] for url in pyckpt.list(tmp_path)] == ["step_20", "step_100", "step_9"]
    assert pyckpt.latest(tmp_path).endswith("step_20")
    assert pyckpt.latest(tmp_path / "empty") is None


def test_damaged_root_is_passed_over_with_a_warning(tmp_path, caplog):
    save(tmp_path / "a")
    save(tmp_path / "b")
    root = tmp_path / "b" / "checkpoint.json"
    root.write_bytes(root.read_bytes().replace(b"pyckpt", b"pyckpT"))
    assert pyckpt.latest(tmp_path).endswith("a")
    assert "'b'" in caplog.text


def test_delete_leaves_a_tombstone_and_the_bytes(tmp_path):
    save(tmp_path / "a")
    save(tmp_path / "b", 1)
    before = files(tmp_path / "a")
    pyckpt.delete(tmp_path / "a")
    assert [url.rsplit("/")[-1] for url in pyckpt.list(tmp_path)] == ["b"]
    assert files(tmp_path / "a") == [name for name in before if name != "checkpoint.json"]
    with pytest.raises(NotFound):
        pyckpt.open(tmp_path / "a", framework="numpy")
    with pytest.raises(NotFound):
        pyckpt.delete(tmp_path / "a")
    assert pyckpt.gc(tmp_path).keys == ()
    assert pyckpt.gc(tmp_path, dry_run=True, grace=0).keys
    gone = pyckpt.gc(tmp_path, grace=0)
    assert len(gone.keys) == 4  # object, manifest, asset, tombstone
    assert files(tmp_path / "a") == []
    assert pyckpt.verify(tmp_path / "b").ok


def test_a_name_can_be_used_again(tmp_path):
    save(tmp_path / "a")
    pyckpt.delete(tmp_path / "a")
    save(tmp_path / "a", 5)
    assert pyckpt.verify(tmp_path / "a").ok
    age(tmp_path)
    pyckpt.gc(tmp_path)
    assert pyckpt.verify(tmp_path / "a").ok
    assert pyckpt.load(tmp_path / "a")["model"]["w"][0] == 5


def test_an_equal_asset_is_not_shared_with_a_deleted_checkpoint(tmp_path):
    save(tmp_path / "a", 1)
    pyckpt.delete(tmp_path / "a")
    save(tmp_path / "a", 1)
    age(tmp_path)
    pyckpt.gc(tmp_path)
    assert pyckpt.verify(tmp_path / "a").ok


def test_foreign_files_are_never_removed(tmp_path):
    save(tmp_path / "a")
    foreign = ["notes.txt", "a/notes.txt", "logs/run/events.out", "a/model/extra.bin", "b/model/weights.safetensors"]
    for name in foreign:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    age(tmp_path)
    pyckpt.delete(tmp_path / "a")
    age(tmp_path)
    pyckpt.gc(tmp_path)
    assert set(foreign) <= set(files(tmp_path))


def test_leftovers_of_an_attempt_go_after_the_grace_period(tmp_path):
    save(tmp_path / "a")
    attempt = "0123456789abcdef"
    leftovers = [f"b/.attempt-{attempt}", f"b/model/{attempt}-00000.safetensors", f"b/model/{attempt}.d/config.json"]
    for name in leftovers:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert pyckpt.gc(tmp_path).kept_for_grace == 3
    age(tmp_path / "b")
    assert sorted(pyckpt.gc(tmp_path).keys) == sorted(leftovers)
    assert pyckpt.verify(tmp_path / "a").ok


def test_nothing_is_collected_while_a_root_can_not_be_read(tmp_path):
    save(tmp_path / "a")
    save(tmp_path / "b")
    pyckpt.delete(tmp_path / "b")
    age(tmp_path)
    root = tmp_path / "a" / "checkpoint.json"
    good = root.read_bytes()
    root.write_bytes(good[:-3])
    before = files(tmp_path)
    with pytest.raises(UsageError, match="nothing was removed"):
        pyckpt.gc(tmp_path)
    assert files(tmp_path) == before
    with pytest.raises(Corrupt):
        pyckpt.delete(tmp_path / "a")
    root.write_bytes(good)
    manifest = next((tmp_path / "a/model").glob("manifest-*"))
    data = manifest.read_bytes()
    manifest.write_bytes(data[:-1])
    with pytest.raises(UsageError, match="nothing was removed"):
        pyckpt.gc(tmp_path)
    assert files(tmp_path) == before


def test_a_deleted_checkpoint_with_a_damaged_manifest_stops_collection_for_its_grace_alone(tmp_path):
    save(tmp_path / "a")
    save(tmp_path / "b")
    (manifest,) = (tmp_path / "a").glob("model/manifest-*")
    manifest.write_bytes(manifest.read_bytes()[:-1] + b"?")
    pyckpt.delete(tmp_path / "a")
    with pytest.raises(UsageError, match="the tombstone of 'a'"):
        pyckpt.gc(tmp_path, grace=100)
    age(tmp_path)
    before = files(tmp_path / "b")
    first = pyckpt.gc(tmp_path, grace=100)
    assert [each.reason for each in first.judged if each.kind == "tombstone"] == ["waiting"]
    # With the manifest gone, the tombstone can be read, and says what asset is left.
    pyckpt.gc(tmp_path, grace=100)
    assert files(tmp_path) == [f"b/{each}" for each in before]
    assert pyckpt.verify(tmp_path / "b").ok


def test_a_save_whose_marker_was_collected_gives_up(tmp_path, monkeypatch):
    save(tmp_path / "a")
    real = LocalStore.info

    def without_marker(self, key):
        return None if "/.attempt-" in key else real(self, key)

    monkeypatch.setattr(LocalStore, "info", without_marker)
    with pytest.raises(pyckpt.PyckptError) as caught:
        save(tmp_path / "b")
    assert caught.value.code == "save.aborted"
    assert not (tmp_path / "b" / "checkpoint.json").exists()


def test_grace_must_not_be_negative(tmp_path):
    with pytest.raises(UsageError):
        collect_garbage(LocalStore(str(tmp_path)), grace=-1)
