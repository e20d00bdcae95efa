"""A frozen base with small adapters: the second save writes next to nothing."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from benchmarks.incremental import Adapted, stored_bytes

OPTIONS = pyckpt.SaveOptions(reference="newest")


def test_the_second_save_writes_less_than_two_percent(tmp_path):
    model = Adapted(55)
    optimizer = model.optimizer()
    trained = [each.nbytes for each in model.parameters() if each.requires_grad]
    frozen = [each.nbytes for each in model.parameters() if not each.requires_grad]
    assert sum(frozen) >= 50_000_000
    assert sum(trained) < 0.01 * sum(frozen)
    state = {"model": model, "optimizer": optimizer}
    model.train_step(optimizer)
    first = pyckpt.save(tmp_path / "1", state, options=OPTIONS)
    model.train_step(optimizer)
    second = pyckpt.save(tmp_path / "2", state, options=OPTIONS)
    assert stored_bytes(tmp_path / "2") < 0.02 * stored_bytes(tmp_path / "1")
    assert second.written < 0.02 * first.written
    assert second.referenced == sum(frozen)
    parts = {name: each for name, each in model.named_parameters() if each.requires_grad}
    third = pyckpt.save(
        tmp_path / "3", {"adapters": parts, "optimizer": pyckpt.with_model(optimizer, model)}, carry={"model": "1"}
    )
    assert stored_bytes(tmp_path / "3") < 0.02 * stored_bytes(tmp_path / "1")
    assert (third.external, third.warnings) == (("1",), ())
    fresh = Adapted(55)
    restored = fresh.optimizer()
    pyckpt.load(tmp_path / "2", into={"model": fresh, "optimizer": restored})
    for one, two in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, two)
    assert pyckpt.verify(tmp_path / "3").ok


def test_memory_in_another_order_is_compared_as_well(tmp_path):
    state = {"x": {"turned": torch.randn(3000, 700).t(), "every": torch.randn(9000)[::3]}}
    first = pyckpt.save(tmp_path / "1", state, options=OPTIONS)
    assert pyckpt.save(tmp_path / "2", state, options=OPTIONS).written == 0
    state["x"]["turned"][-1, -1] += 1
    third = pyckpt.save(tmp_path / "3", state, options=OPTIONS)
    assert (third.referenced, third.external) == (4 * 3000, ("1",))
    assert third.written > 0.9 * first.written
    loaded = pyckpt.load(tmp_path / "3")["x"]
    assert torch.equal(loaded["turned"], state["x"]["turned"])
    assert torch.equal(loaded["every"], state["x"]["every"])
