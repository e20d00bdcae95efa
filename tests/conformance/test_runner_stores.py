"""Stores of a case as they are made, watched and compared."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request

import pytest
from runner_suite import write_case

from conformance.runner.materialise import Scene
from conformance.runner.placing import placed
from conformance.runner.snapshot import Snapshot, after_findings, of_directory
from conformance.runner.suite import SuiteError, load_cases


@pytest.fixture
def scene_of(tmp_path):
    scenes = []

    def make(files=None, **members):
        write_case(tmp_path / "suite", f"c{len(scenes)}", files=files, **members)
        scenes.append(Scene(load_cases(tmp_path / "suite")[f"c{len(scenes)}"]))
        return scenes[-1].__enter__()

    yield make
    for scene in scenes:
        scene.__exit__(None, None, None)


def test_a_case_without_stores_has_an_empty_one(scene_of):
    scene = scene_of()
    assert scene.message("main") == {"kind": "directory", "path": str(scene.path("main"))}
    assert os.listdir(scene.path("main")) == []


def test_files_are_copies_of_now(scene_of, tmp_path):
    scene = scene_of({"s/c/x": b"1"}, stores={"main": {"from": "s"}})
    original = tmp_path / "suite/a/c0/s/c/x"
    (scene.path("main") / "c/x").write_bytes(b"2")
    assert original.read_bytes() == b"1"
    os.utime(original, (0, 0))
    again = scene_of({"s/c/x": b"1"}, stores={"main": {"from": "s"}})
    assert abs((again.path("main") / "c/x").stat().st_mtime - time.time()) < 60


def test_pads_links_and_ages(scene_of):
    scene = scene_of(
        {"s/c/x": b"1", "s/c/y": b"1", "outside/secret": b"3"},
        stores={"main": {
            "from": "s",
            "pads": [{"path": "c/x", "byte": 0, "count": 1 << 30}, {"path": "c/y", "byte": 65, "count": 3 << 20}],
            "links": {"c/out": "$outside/secret", "c/in": "x", "d": "$outside"},
            "ages": {"c/x": 100, "*": 5000},
        }},
    )  # fmt: skip
    store = scene.path("main")
    status = (store / "c/x").stat()
    assert (status.st_size, status.st_blocks * 512 < 1 << 20) == ((1 << 30) + 1, True)
    assert (store / "c/y").read_bytes() == b"1" + b"A" * (3 << 20)
    assert (store / "c/out").read_bytes() == b"3"
    assert (store / "d/secret").read_bytes() == b"3"
    assert os.readlink(store / "c/in") == "x"
    assert 95 < time.time() - status.st_mtime < 160
    assert 4995 < time.time() - (store / "c/y").stat().st_mtime < 5060
    assert set(scene.snapshot("main").objects) == {"c/x", "c/y", "c/out", "c/in", "d"}


def test_what_changes_outside_is_found(scene_of):
    scene = scene_of({"outside/secret": b"3"})
    assert scene.outside_findings() == []
    (scene.path("main").parent.parent / "outside/secret").write_bytes(b"4")
    (scene.path("main").parent / "beside").write_bytes(b"4")
    (scene.path("main").parent.parent / "stray").write_bytes(b"4")
    assert scene.outside_findings() == ["outside/secret changed", "stray is new", "stores/beside is new"]


def test_stores_over_s3(scene_of):
    scene = scene_of(
        {"s/c/x": b"12", "t/d/y": b"3"},
        stores={"main": {"from": "s", "kind": "s3", "clock": 1000, "ages": {"*": 60}, "page": 1,
                         "faults": [{"kind": "fail", "method": "GET", "at": 2, "status": 500}]},
                "other": {"from": "t", "kind": "s3", "ignore_conditions": True},
                "plain": {"from": "t"}},
    )  # fmt: skip
    message = scene.message("main")
    assert (message["kind"], message["prefix"]) == ("s3", "")
    url = f"{message['endpoint']}/{message['bucket']}/c/x"
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"12"
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(url)
    assert scene.message("other")["endpoint"] != message["endpoint"]
    assert set(scene.snapshot("main").objects) == {"c/x"}
    view = scene.view("main") / "c/x"
    assert view.read_bytes() == b"12"
    assert 55 < time.time() - view.stat().st_mtime < 120
    with pytest.raises(SuiteError):
        scene.simulator("plain")


@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_reset_gives_what_was_saved(scene_of, kind):
    scene = scene_of({"s/c/x": b"1"}, stores={"main": {"from": "s", "kind": kind, "ages": {"*": 500}}})

    def put(key, data):
        if kind == "directory":
            (scene.path("main") / key).write_bytes(data)
        else:
            message = scene.message("main")
            url = f"{message['endpoint']}/{message['bucket']}/{key}"
            urllib.request.urlopen(urllib.request.Request(url, data, method="PUT")).close()

    put("c/y", b"2")
    before = scene.snapshot("main")
    scene.save()
    for _ in range(2):
        put("c/z", b"3")
        put("c/x", b"4")
        assert scene.snapshot("main").differences(before) == ["c/x changed", "c/z is gone"]
        scene.reset()
        assert scene.snapshot("main") == before
        assert 495 < time.time() - (scene.view("main") / "c/x").stat().st_mtime < 560


def test_what_has_to_hold_afterwards(tmp_path):
    for key in ("c/a", "c/b", "d/a"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(key.encode())
    before = of_directory(tmp_path)
    (tmp_path / "c/.tmp-0123456789abcdef").write_bytes(b"")
    assert after_findings({"unchanged": True, "only": ["c/*", "d/a"]}, before, of_directory(tmp_path)) == []
    (tmp_path / "c/a").write_bytes(b"other")
    (tmp_path / "d/a").unlink()
    (tmp_path / "e").write_bytes(b"e")
    now = of_directory(tmp_path)

    def find(**wanted):
        return after_findings(wanted, before, now)

    assert find(present=["c/a", "c/*", "*/b"], absent=["d/*", "x"], same=["c/b", "x"]) == []
    assert find(present=["d/a"]) == ["d/a is not there"]
    assert find(absent=["c/*"]) == ["c/a is still there", "c/b is still there"]
    assert find(only=["c/*", "f"]) == ["f is not there", "e should not be there"]
    assert find(unchanged=True) == ["c/a changed", "d/a is gone", "e is new"]
    assert find(same=["*/a", "c/b"]) == ["c/a changed", "d/a is gone"]
    assert find(content={"e": {"size": 1, "sha256": hashlib.sha256(b"e").hexdigest()}}) == []
    assert "found nothing" in find(content={"d/a": {"size": 1, "sha256": "0"}})[0]
    many = after_findings({"present": [str(each) for each in range(20)]}, Snapshot({}), Snapshot({}))
    assert (len(many), many[-1]) == (9, "and 12 more")


def test_requests_get_the_places_of_the_run(scene_of):
    scene = scene_of(stores={"main": {}, "far": {"kind": "s3"}})
    request = {"op": "copy", "store": "$main", "to": "$far", "as": "$main", "expect": "$digest", "out": "$out",
               "writers": [{"trees": {"model": ["text", "$main"]}}, {"store": "$far", "trees": {}}]}  # fmt: skip
    made = placed(request, scene, "ab")
    assert made.request["store"] == scene.message("main")
    assert made.request["to"] == made.request["writers"][1]["store"] == scene.message("far")
    assert made.request["writers"][0] == request["writers"][0]
    assert (made.request["expect"], made.request["as"]) == ("ab", "$main")
    assert made.request["out"] == str(made.out)
    assert os.listdir(made.out) == []
    assert placed(request, scene, "ab").out != made.out
    model = placed({"op": "restore", "target": {"kind": "model", "out": "$out"}}, scene, None)
    assert model.request["target"]["out"] == str(model.out)
    with pytest.raises(SuiteError, match="no response before"):
        placed(request, scene, None)
    with pytest.raises(SuiteError, match="there is no store nowhere"):
        placed({"op": "list", "store": "$nowhere"}, scene, None)


def test_a_case_without_its_directory_is_a_mistake_of_the_suite(tmp_path):
    write_case(tmp_path, "c", stores={"main": {"from": "nothing"}})
    with pytest.raises(SuiteError, match="nothing"), Scene(load_cases(tmp_path)["c"]):
        pass
