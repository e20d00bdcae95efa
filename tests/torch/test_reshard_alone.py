"""Live moves without a process group: one process, between objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyckpt
from pyckpt.errors import StateMismatch, UsageError
from pyckpt.format.geometry import Box, Region


def trained(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 + seed)
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_module_and_optimizer():
    model, optimizer = trained(0)
    other, its_optimizer = trained(1)
    other = other.to(memory_format=torch.channels_last)
    its_optimizer = torch.optim.AdamW(other.parameters(), lr=5.0)
    resharder = pyckpt.Resharder({"model": model, "optim": optimizer}, {"model": other, "optim": its_optimizer})
    assert "0 bytes on the wire" in resharder.describe()
    assert resharder.value == {}
    report = resharder.run()
    assert (report.sent, report.received, report.waves, report.buffers, report.planned_buffers) == (0, 0, 0, 0, 0)
    assert report.tensors == 7 + 3 * 4
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert its_optimizer.param_groups[0]["lr"] == 0.1
    for mine, theirs in zip(model.parameters(), other.parameters()):
        assert all(torch.equal(its_optimizer.state[theirs][name], t) for name, t in optimizer.state[mine].items())


def test_fresh_tensors_and_arrays():
    values = np.arange(12.0).reshape(3, 4)
    boxes = tuple(Region.of_box(Box((row, 1), (1, 2))) for row in (0, 2))
    state = {"a": values, "t": torch.arange(12).view(3, 4).T}
    rules = {"a": pyckpt.Declared((3, 4), boxes), "t": pyckpt.Declared((4, 3), (Region.flat((4, 3), 2, 7),))}
    got = pyckpt.reshard(state, rules)
    assert got["a"].tolist() == [1, 2, 9, 10]
    assert got["t"].tolist() == state["t"].reshape(-1)[2:7].tolist()
    whole = pyckpt.reshard(state, "whole", options=pyckpt.ReshardOptions(dtype=torch.float32))
    assert whole["a"].dtype == torch.float32
    assert torch.equal(whole["t"], state["t"])
    target = {"a": np.zeros((3, 4)), "t": torch.zeros(4, 3, dtype=torch.int64)}
    assert pyckpt.reshard(state, target) is not None
    assert (target["a"] == values).all()
    assert torch.equal(target["t"], state["t"])


def test_refusals():
    with pytest.raises(StateMismatch):
        pyckpt.reshard({"a": torch.ones(3)}, {"a": torch.ones(4)})
    memory = torch.arange(8.0)
    with pytest.raises(UsageError, match="shares memory"):
        pyckpt.reshard({"a": memory[:4]}, {"a": memory[2:6]})
    with pytest.raises(UsageError, match="whole"):
        pyckpt.reshard({"a": memory}, "everything")


def test_values_are_those_of_the_moment():
    model, _ = trained(0)
    other, _ = trained(1)
    resharder = pyckpt.Resharder(model, other)
    with torch.no_grad():
        model[0].weight.fill_(3.0)
    model.load_state_dict({name: t.clone() for name, t in model.state_dict().items()}, assign=True)
    other.load_state_dict({name: t.clone() for name, t in other.state_dict().items()}, assign=True)
    resharder.run()
    assert other[0].weight.eq(3.0).all()
    model.half()
    with pytest.raises(StateMismatch, match="new Resharder"):
        resharder.run()
