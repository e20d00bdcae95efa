"""Shards that did not change are referenced at their origin, and whatever can't be referenced is written anew."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.external import standing_root
from pyckpt.engine.open import load_item
from pyckpt.errors import Corrupt, PyckptError, UsageError
from pyckpt.format.keys import tombstone_key
from pyckpt.format.root import decode_root
from pyckpt.storage.local import LocalStore

BLOCK = 4096


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def options(reference="newest", **more):
    return pyckpt.SaveOptions(reference=reference, block_bytes=BLOCK, threads=2, **more)


def state(step=0):
    """A frozen base, a tensor whose last block changes, one that changes all over, and small ones packed together."""
    random = np.random.default_rng(7)
    tied = random.standard_normal((50, 20))
    late = np.zeros(3000)
    late[-1] = step
    base = {"w": random.standard_normal((100, 64)), "tied": tied, "again": tied, "late": late, "i": np.arange(3)}
    return {
        "model": {**base, "lora": np.full(700, float(step)), "none": np.zeros((0, 2))},
        "optimizer": {"m": np.full(2000, float(step)), "step": step},
    }


def objects(directory, name):
    return sum(path.stat().st_size for path in (directory / name).rglob("*.safetensors"))


def rows(directory, name, item="model"):
    """Object rows of an item, by the key in the store."""
    store = LocalStore(directory)
    opened = load_item(store, name, item, standing_root(store, name))
    return dict(zip(opened.object_keys, opened.manifest.objects, strict=True))


def assert_loads(url, expected):
    loaded = pyckpt.load(url)
    for item, tensors in expected.items():
        for key, value in tensors.items():
            assert np.array_equal(loaded[item][key], value), key
    assert loaded["model"]["tied"] is loaded["model"]["again"]
    report = pyckpt.verify(url)
    assert report.ok, report.findings


def test_only_what_changed_is_written(tmp_path):
    first = pyckpt.save(tmp_path / "a", state(0), options=options())
    assert (first.referenced, first.warnings, first.external) == (0, (), ())
    second = pyckpt.save(tmp_path / "b", state(1), options=options())
    changed = 3000 * 8 + 700 * 8 + 2000 * 8
    assert second.external == ("a",)
    assert objects(tmp_path, "b") == second.written == changed + 2 * 4096
    assert second.referenced == second.bytes - changed
    assert (second.referenced_shards, second.shards) == (4, 7)
    assert (second.unchanged_shards, second.compared_shards, second.warnings) == (3, 6, ())
    assert {*second.phases} == {"collect", "begin", "plan", "compare", "write", "commit"}
    assert set(second.throughput) == {"write", "compare", "total"}
    third = pyckpt.save(tmp_path / "c", state(2), options=options("b"))
    assert third.written == second.written
    assert third.external == ("a",)
    for step, name in enumerate("abc"):
        assert_loads(tmp_path / name, state(step))


def test_rows_are_those_of_the_origin(tmp_path):
    for step, name in enumerate("abc"):
        pyckpt.save(tmp_path / name, state(step), options=options())
    origin, third = rows(tmp_path, "a"), rows(tmp_path, "c")
    shared = origin.keys() & third.keys()
    assert len(shared) == 1
    for key in shared:
        one, two = origin[key], third[key]
        assert (two.key, two.store_key) == (None, key)
        for field in ("size", "data_start", "header_digest", "digest", "block"):
            assert getattr(one, field) == getattr(two, field)


def test_nothing_changed_is_a_stale_snapshot_and_writes_no_object(tmp_path):
    pyckpt.save(tmp_path / "a", state(0), options=options())
    again = pyckpt.save(tmp_path / "b", state(0), options=options())
    assert again.written == objects(tmp_path, "b") == 0
    assert ["stale" in text for text in again.warnings] == [True]
    one = pyckpt.save(tmp_path / "c", {**state(0), "optimizer": state(1)["optimizer"]}, options=options())
    assert one.warnings == ()
    carried = pyckpt.save(tmp_path / "d", {"optimizer": state(2)["optimizer"]}, carry={"model": "c"})
    assert carried.warnings == ()
    assert pyckpt.save(tmp_path / "e", {}, carry={"model": "d"}).warnings == ()
    part = pyckpt.save(tmp_path / "n", {"model": state(0)["model"], "new": {"v": np.ones(9)}}, options=options())
    assert (part.unchanged_shards, part.compared_shards, part.warnings) == (5, 5, ())
    coded = [pyckpt.save(tmp_path / name, state(0), options=options(codec="zstd")) for name in "fg"]
    assert ["stale" in text for text in coded[1].warnings] == [True]


def test_no_object_is_kept_for_shards_of_no_bytes(tmp_path):
    empty = {"none": np.zeros((0, 2)), "nil": np.zeros(0)}
    pyckpt.save(tmp_path / "a", {"model": {"w": np.ones(9), **empty}}, options=options())
    report = pyckpt.save(tmp_path / "b", {"model": {"w": np.zeros(9), **empty}}, options=options())
    assert (report.referenced_shards, report.external) == (0, ())
    assert pyckpt.load(tmp_path / "b")["model"]["none"].shape == (0, 2)


@pytest.mark.parametrize(("first", "second"), [("none", "zstd"), ("zstd", "planes"), ("planes", "none")])
def test_the_codec_may_change(tmp_path, first, second):
    pyckpt.save(tmp_path / "a", state(0), options=options(codec=first, codec_level=3))
    report = pyckpt.save(tmp_path / "b", state(1), options=options(codec=second))
    assert report.external == ("a",)
    assert report.referenced_shards == 4
    assert_loads(tmp_path / "b", state(1))
    third = pyckpt.save(tmp_path / "c", state(2), options=options(codec=first))
    assert third.external == ("a",)
    assert_loads(tmp_path / "c", state(2))


@pytest.mark.parametrize("other", [{"digest": "sha256"}, {"block_bytes": 8192}])
def test_other_digests_are_not_compared(tmp_path, other):
    pyckpt.save(tmp_path / "a", state(0), options=pyckpt.SaveOptions(**{"block_bytes": BLOCK, **other}))
    report = pyckpt.save(tmp_path / "b", state(0), options=options())
    assert report.referenced == 0
    assert_loads(tmp_path / "b", state(0))


def test_other_shapes_and_dtypes_are_written_anew(tmp_path):
    value = np.arange(4096, dtype=np.int32)
    pyckpt.save(tmp_path / "a", {"x": {name: value.copy() for name in "abce"}}, options=options())
    changed = {"a": value.reshape(64, 64), "b": value.view(np.uint32), "d": value, "e": value.copy()}
    report = pyckpt.save(tmp_path / "b", {"x": changed}, options=options())
    assert (report.referenced, report.referenced_shards) == (value.nbytes, 1)
    assert pyckpt.verify(tmp_path / "b").ok


def test_objects_stay_as_long_as_they_are_referenced(tmp_path):
    for step, name in enumerate("abc"):
        pyckpt.save(tmp_path / name, state(step), options=options())
    pyckpt.delete(tmp_path / "a")
    assert pyckpt.gc(tmp_path, grace=0).bytes > 0
    assert objects(tmp_path, "a")
    for step, name in ((1, "b"), (2, "c")):
        assert_loads(tmp_path / name, state(step))
    # The origin has no root any more, so nothing new may refer to it.
    report = pyckpt.save(tmp_path / "d", state(3), options=options())
    assert report.external == ()
    assert "'a'" in report.warnings[0]
    pyckpt.delete(tmp_path / "b")
    pyckpt.delete(tmp_path / "c")
    pyckpt.gc(tmp_path, grace=0)
    assert not objects(tmp_path, "a") + objects(tmp_path, "b") + objects(tmp_path, "c")
    assert_loads(tmp_path / "d", state(3))


def damage_object(directory):
    next((directory / "a" / "model").glob("*.safetensors")).unlink()


def shorten_object(directory):
    path = next((directory / "a" / "model").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])


def damage_manifest(directory):
    path = next((directory / "a" / "model").glob("manifest-*"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def damage_root(directory):
    path = directory / "a" / "checkpoint.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence": 1', b'"sequence": 2'))


def remove_root(directory):
    (directory / "a" / "checkpoint.json").unlink()


def begin_deletion(directory):
    data = (directory / "a" / "checkpoint.json").read_bytes()
    LocalStore(directory).put(tombstone_key("a", decode_root(data).digest), data)


def add_feature(directory):
    path = directory / "a" / "checkpoint.json"
    fields = json.loads(path.read_bytes())
    fields["features"]["write"] = ["zz-later"]
    text = json.dumps({**fields, "digest": "0" * 64}, separators=(",", ":")).encode()
    import hashlib

    path.write_bytes(text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1))
    assert decode_root(path.read_bytes()).features_write == ("zz-later",)


DAMAGE = [damage_object, shorten_object, damage_manifest, damage_root, remove_root, begin_deletion, add_feature]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_base_damages_nothing_else(tmp_path, damage):
    pyckpt.save(tmp_path / "a", state(0), options=options())
    damage(tmp_path)
    report = pyckpt.save(tmp_path / "b", state(0), options=options("a"))
    assert rows(tmp_path, "b").keys() == {f"b/model/{report.attempt}-00000.safetensors"}
    assert any("anew" in text for text in report.warnings), report.warnings
    assert_loads(tmp_path / "b", state(0))
    if damage not in (damage_object, shorten_object):
        with pytest.raises(PyckptError) as found:
            pyckpt.save(tmp_path / "c", {}, carry={"model": "a"})
        assert found.value.code in (
            "manifest.digest", "root.digest", "checkpoint.missing", "external.missing", "feature.unsupported"
        )  # fmt: skip
        assert not (tmp_path / "c").exists()


def test_the_newest_that_stands_is_taken(tmp_path):
    pyckpt.save(tmp_path / "z", state(0), options=options())
    pyckpt.save(tmp_path / "a", state(1), options=options(None))
    begin_deletion(tmp_path)
    assert pyckpt.save(tmp_path / "b", state(2), options=options()).external == ("z",)


@pytest.mark.parametrize("how", ["delete", "replace"])
def test_a_base_that_goes_while_the_save_runs(tmp_path, how):
    """What was to be referenced is written after all, in a second look at the same state."""
    pyckpt.save(tmp_path / "a", state(0), options=options())

    def remove(done, total):
        if (tmp_path / "a" / "checkpoint.json").exists() and not gone:
            gone.append(done)
            pyckpt.delete(tmp_path / "a")
            if how == "replace":
                pyckpt.save(tmp_path / "a", state(5))

    gone = []
    report = pyckpt.save(tmp_path / "b", state(1), options=options("a", progress=remove))
    assert gone
    assert (report.external, report.referenced) == ((), 0)
    assert len(report.warnings) == 1
    assert "after all" in report.warnings[0]
    assert len(rows(tmp_path, "b")) == 2
    pyckpt.delete(tmp_path / "a") if how == "replace" else None
    pyckpt.gc(tmp_path, grace=0)
    assert_loads(tmp_path / "b", state(1))


@pytest.mark.parametrize("budget", [None, 20_000])
def test_saves_in_the_background_reference_too(tmp_path, budget):
    pyckpt.save(tmp_path / "a", state(0), options=options())
    changing = state(1)
    handle = pyckpt.save_async(tmp_path / "b", changing, options=options(staging_bytes=budget))
    for tensors in changing.values():
        for value in tensors.values():
            if isinstance(value, np.ndarray):
                value.fill(9)
    report = handle.wait(60)
    assert report.external == ("a",)
    assert report.referenced_shards == 4
    assert_loads(tmp_path / "b", state(1))


def test_a_base_that_goes_when_the_state_may_change_already(tmp_path):
    """Of a state that was too large to copy, what was lost can't be written any more: there is no such checkpoint."""
    pyckpt.save(tmp_path / "a", state(0), options=options())

    def remove(done, total):
        if (tmp_path / "a" / "checkpoint.json").exists():
            pyckpt.delete(tmp_path / "a")

    chosen = options("a", staging_bytes=20_000, progress=remove)
    with pytest.raises(PyckptError, match="deleted while the save ran"):
        pyckpt.save_async(tmp_path / "b", state(1), options=chosen).wait(60)
    assert pyckpt.list(tmp_path) == []
    assert not objects(tmp_path, "b")


def test_files_that_open_as_they_lie_reference_nothing(tmp_path):
    with pytest.raises(UsageError, match="reference"):
        options(layout="whole")
    pyckpt.save(tmp_path / "a", state(0), options=options())
    report = pyckpt.save(tmp_path / "b", state(0), options=options(whole=["model"]))
    assert rows(tmp_path, "b").keys() == {f"b/model/{report.attempt}-00000.safetensors"}
    assert rows(tmp_path, "b", "optimizer").keys() == {next(iter(rows(tmp_path, "a", "optimizer")))}


def test_another_store_is_refused(tmp_path):
    pyckpt.save(tmp_path / "one" / "a", state(0))
    for call in (
        lambda: pyckpt.save(tmp_path / "two" / "b", state(0), options=options(tmp_path / "one" / "a")),
        lambda: pyckpt.save(tmp_path / "two" / "b", {}, carry={"model": tmp_path / "one" / "a"}),
    ):
        with pytest.raises(UsageError, match="another store"):
            call()
    assert pyckpt.list(tmp_path / "two") == []


def test_an_item_is_carried_over(tmp_path):
    assets = {"model": {"config.json": b"{}", "sub/vocab.txt": b"x"}}
    pyckpt.save(tmp_path / "a", state(0), assets=assets)
    second = pyckpt.save(tmp_path / "b", {"optimizer": state(1)["optimizer"]}, carry={"model": tmp_path / "a"})
    assert (second.items, second.external, second.warnings) == (("optimizer", "model"), ("a",), ())
    assert second.bytes == second.referenced + second.written - 4096
    handle = pyckpt.save_async(tmp_path / "c", {"x": {"v": 1}}, carry={"policy": ("b", "model")})
    assert handle.wait(60).external == ("a",)
    assert pyckpt.open(tmp_path / "c").asset("policy", "sub/vocab.txt") == b"x"
    pyckpt.delete(tmp_path / "a", grace=0)
    pyckpt.delete(tmp_path / "b", grace=0)
    assert pyckpt.verify(tmp_path / "c").ok
    assert np.array_equal(pyckpt.load(tmp_path / "c")["policy"]["w"], state(0)["model"]["w"])
    # Its origin has no root any more.
    with pytest.raises(Corrupt) as found:
        pyckpt.save(tmp_path / "d", {}, carry={"model": ("c", "policy")})
    assert found.value.code == "external.missing"
    pyckpt.delete(tmp_path / "c", grace=0)
    pyckpt.gc(tmp_path, grace=0)
    assert [path.name for path in tmp_path.rglob("*") if path.suffix in (".safetensors", ".zst")] == []


def test_an_item_of_a_manifest_that_references(tmp_path):
    for step, name in enumerate("abc"):
        pyckpt.save(tmp_path / name, state(step), options=options())
    report = pyckpt.save(tmp_path / "d", {}, carry={"model": "newest"})
    assert report.external == ("a", "c")
    fourth = pyckpt.save(tmp_path / "e", {"model": state(3)["model"]}, options=options())
    assert fourth.external == ("a",)
    fifth = pyckpt.save(tmp_path / "f", {"model": state(2)["model"]}, options=options("d"))
    assert fifth.external == ("a", "c")
    assert fifth.written == 0


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    pyckpt.save(tmp_path / "a", state(0))
    carry = {"model": "a", "x": ("a", "nope"), "y": "missing", "bad/name": "a"}
    with pytest.raises(UsageError) as found:
        pyckpt.save(tmp_path / "b", {"model": {"v": 1}}, carry=carry)
    wrong = {each.key: each.code for each in found.value.findings}
    assert wrong == {"model": "usage.invalid", "x": "item.missing", "y": "checkpoint.missing", "bad/name": "key.invalid"}
    assert not (tmp_path / "b").exists()
    with pytest.raises(UsageError, match="assets"):
        pyckpt.save(tmp_path / "b", {}, carry={"model": "a"}, assets={"model": {"config.json": b"{}"}})
    assert pyckpt.list(tmp_path) == [str(tmp_path / "a")]


def test_an_origin_that_goes_while_an_item_is_carried_over(tmp_path):
    pyckpt.save(tmp_path / "a", state(0))

    def remove(done, total):
        if (tmp_path / "a" / "checkpoint.json").exists():
            pyckpt.delete(tmp_path / "a")

    with pytest.raises(Corrupt) as found:
        pyckpt.save(
            tmp_path / "b",
            {"optimizer": state(1)["optimizer"]},
            carry={"model": "a"},
            options=pyckpt.SaveOptions(progress=remove),
        )
    assert found.value.code == "external.missing"
    assert pyckpt.list(tmp_path) == []
    assert not objects(tmp_path, "b")
