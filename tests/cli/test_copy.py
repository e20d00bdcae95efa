"""``pyckpt copy``."""

import shutil

import pyckpt

from .conftest import flip

KEYS = {
    "url",
    "source",
    "digest",
    "checkpoints",
    "already_there",
    "objects",
    "sent",
    "found",
    "unchecked",
    "weak",
    "seconds",
}


def digests(store):
    return {url.rpartition("/")[2]: pyckpt.open(url).digest for url in pyckpt.list(store)}


def test_copy(run, store, tmp_path):
    there = tmp_path / "there"
    ran = run("copy", store / "step_100", there / "kept")
    assert (ran.status, ran.err) == (0, "")
    first, second = ran.out.splitlines()
    assert first.split() == [str(there / "kept"), digests(store)["step_100"]]
    assert second.startswith("copied  ")
    assert run("copy", store / "step_100", there / "kept").out.splitlines()[1] == "already there"
    assert run("copy", store / "step_100", f"{there}/").status == 0
    assert digests(there) == {name: digests(store)["step_100"] for name in ("kept", "step_100")}


def test_copy_as_json(run, store, tmp_path):
    (made,) = run("copy", store / "step_100", tmp_path / "there/x", "--json").json["copies"]
    assert set(made) == KEYS
    assert (made["already_there"], made["found"], made["unchecked"], made["checkpoints"]) == (False, 0, 0, [])
    assert made["digest"] == digests(store)["step_100"]


def test_copies_of_a_store(run, store, tmp_path):
    there = tmp_path / "there"
    assert run("copy", store, there, "--newest").status == 0
    assert list(digests(there)) == ["step_200"]
    ran = run("copy", store, there, "--all", "--json")
    assert ran.status == 0
    assert [each["already_there"] for each in ran.json["copies"]] == [False, True]
    assert digests(there) == digests(store)
    assert pyckpt.latest(there) == f"{there}/step_200"


def test_copies_of_a_store_with_damage(run, store, tmp_path):
    flip(store / "step_100/checkpoint.json", 200)
    ran = run("copy", store, tmp_path / "there", "--all")
    assert ran.status == 1
    assert "root.digest" in ran.err
    assert list(digests(tmp_path / "there")) == ["step_200"]
    path = next((store / "step_200/model").glob("*.safetensors"))
    flip(path, path.stat().st_size - 1)
    shutil.rmtree(tmp_path / "there")
    ran = run("copy", store, tmp_path / "there", "--all", "--json")
    assert ran.status == 1
    assert {each["error"]["code"] for each in ran.json["copies"]} == {"block.digest", "root.digest"}
    assert digests(tmp_path / "there") == {}


def test_refusals(run, store, tmp_path):
    assert run("copy", store / "step_100", store / "step_200").status == 1
    ran = run("copy", store / "step_10", tmp_path / "there/x")
    assert ran.status == 1
    assert "did you mean step_100" in ran.err
    assert run("copy", store, tmp_path / "there", "--all", "--newest").status == 2
    assert run("copy", store / "step_100", "s3://").status == 2
    (tmp_path / "empty").mkdir()
    assert run("copy", tmp_path / "empty", tmp_path / "there", "--newest").status == 1
    assert run("copy", tmp_path / "empty", tmp_path / "there", "--all").out.startswith("no checkpoints in ")


def test_a_copy_that_stands_alone(run, store, tmp_path):
    ran = run("copy", store / "step_100", tmp_path / "there/v1", "--standalone", "--json")
    (made,) = ran.json["copies"]
    assert made["digest"] == digests(tmp_path / "there")["v1"] != digests(store)["step_100"]
    assert run("diff", store / "step_100", tmp_path / "there/v1").status == 0
    lines = [line.split() for line in run("inspect", tmp_path / "there/v1").out.splitlines()]
    assert ["copy", "of", digests(store)["step_100"]] in lines
