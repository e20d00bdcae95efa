"""What the commands say of a checkpoint whose bytes lie in others."""

from __future__ import annotations

import numpy as np
import pytest

import pyckpt


@pytest.fixture
def store(tmp_path):
    base = np.random.default_rng(0).standard_normal(2000)
    for step in range(2):
        state = {"model": {"base": base, "lora": np.full(500, float(step))}}
        pyckpt.save(tmp_path / f"s{step}", state, options=pyckpt.SaveOptions(reference="newest"))
    pyckpt.save(tmp_path / "s2", {"x": {"v": np.ones(3)}}, carry={"policy": ("s1", "model")})
    return tmp_path


def test_list_says_which_stand_alone(run, store):
    listed = {each["name"]: each for each in run("list", store, "--json").json["checkpoints"]}
    assert {name: (each["needs"], each["stands_alone"]) for name, each in listed.items()} == {
        "s0": ([], True),
        "s1": (["s0"], False),
        "s2": (["s0", "s1"], False),
    }
    assert "s0, s1" in run("list", store).out


def test_inspect_says_how_much_lies_where(run, store):
    assert "model  other · 2 tensors · 19.5 KiB · 15.6 KiB in s0" in run("inspect", store / "s1").out.splitlines()
    assert any(line.endswith("15.6 KiB in s0 · 3.9 KiB in s1") for line in run("inspect", store / "s2").out.splitlines())
    assert " in s" not in run("inspect", store / "s0").out


def test_delete_says_who_needs_it_and_verify_that_it_is_gone(run, store, tmp_path_factory):
    ran = run("delete", store / "s0", "--yes", "--now")
    assert "what these use of it stays: s2, s1" in ran.out
    ran = run("verify", store / "s2", "--json")
    assert (ran.status, ran.json["ok"], ran.json["objects"]) == (0, True, 3)
    assert any("s0" in text for text in ran.json["remarks"])
    assert run("list", store, "--json").json["checkpoints"][0]["gone"] == ["s0"]
    sums = tmp_path_factory.mktemp("sums") / "SHA256SUMS"
    assert run("verify", store / "s2", "--sha256sums", sums).status == 0
    assert sorted(line.split("  ")[1].split("/")[0] for line in sums.read_text().splitlines()) == [
        "checkpoint.json", "x", "x"
    ]  # fmt: skip
    assert run("diff", store / "s1", store / "s2").status == 1
