"""State on an accelerator: saved from the device and loaded to it, in place. Skips where there is none."""

from __future__ import annotations

import pytest
import torch

import pyckpt

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="this machine has no accelerator")


def trained(device: torch.device, seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(300, 500), torch.nn.BatchNorm1d(500), torch.nn.Linear(500, 7)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(9, 300, device=device)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_device_to_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    model, optimizer = trained(device, 0)
    pyckpt.save(tmp_path / "step", {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG()})
    other, its_optimizer = trained(device, 1)
    pyckpt.load(tmp_path / "step", into={"model": other, "optimizer": its_optimizer})
    for name, tensor in model.state_dict().items():
        assert other.state_dict()[name].device.type == device.type
        assert torch.equal(other.state_dict()[name], tensor)
    for mine, theirs in zip(model.parameters(), other.parameters()):
        for name, tensor in optimizer.state[mine].items():
            assert torch.equal(its_optimizer.state[theirs][name], tensor)


def test_fresh_tensors_on_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    model, _ = trained(device, 0)
    transposed = torch.randn(40, 50, device=device).T
    pyckpt.save(tmp_path / "step", {"model": model, "x": {"transposed": transposed}})
    loaded = pyckpt.load(tmp_path / "step", device=device)
    assert torch.equal(loaded["x"]["transposed"], transposed)
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in model.state_dict().items())


def test_random_state_of_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    pyckpt.save(tmp_path / "step", {"rng": pyckpt.RNG()})
    first = torch.randn(5, device=device)
    pyckpt.load(tmp_path / "step", into={"rng": pyckpt.RNG()})
    assert torch.equal(torch.randn(5, device=device), first)
