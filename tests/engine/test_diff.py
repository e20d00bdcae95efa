"""What diff sees, by digest and by value."""

from __future__ import annotations

import numpy as np
import pytest

import pyckpt


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def test_every_kind_of_difference(tmp_path):
    a = {
        "model": {"same": np.ones(5000), "changed": np.ones(5000), "gone": np.ones(1), "cast": np.ones(3)},
        "x": {"step": 1, "nan": float("nan"), "list": [1, 2]},
        "only": {"v": 1},
    }
    b = {
        "model": {
            "same": np.ones(5000),
            "changed": np.arange(5000.0),
            "new": np.ones(1),
            "cast": np.ones(3, np.float32),
        },
        "x": {"step": 2, "nan": float("nan"), "list": [1, 2]},
    }
    pyckpt.save(tmp_path / "a", a)
    pyckpt.save(tmp_path / "b", b)
    found = {(each.item, each.path): each.change for each in pyckpt.diff(tmp_path / "a", tmp_path / "b").differences}
    assert found == {
        ("model", "changed"): "bytes",
        ("model", "gone"): "only in A",
        ("model", "new"): "only in B",
        ("model", "cast"): "dtype",
        ("x", "step"): "value",
        ("only", ""): "only in A",
    }
    assert pyckpt.diff(tmp_path / "a", tmp_path / "a").equal


def test_other_layouts_need_values(tmp_path):
    value = {"model": {"w": np.random.default_rng(0).standard_normal(3_000_000)}}
    pyckpt.save(tmp_path / "a", value)
    pyckpt.save(tmp_path / "b", value, options=pyckpt.SaveOptions(block_bytes=4096, digest="sha256"))
    assert [each.change for each in pyckpt.diff(tmp_path / "a", tmp_path / "b").differences] == ["unknown"]
    assert pyckpt.diff(tmp_path / "a", tmp_path / "b", values=True).equal
    value["model"]["w"][-1] += 1
    pyckpt.save(tmp_path / "c", value, options=pyckpt.SaveOptions(codec="planes"))
    assert [each.change for each in pyckpt.diff(tmp_path / "a", tmp_path / "c").differences] == ["bytes"]
