"""Live moves on accelerators: within one device, and between several. Skips where there are none."""

from __future__ import annotations

import pytest
import torch

import pyckpt

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="this machine has no accelerator")


def trained(device: torch.device, seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(300, 500), torch.nn.Linear(500, 7)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(9, 300, device=device)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_within_one_device():
    device = torch.accelerator.current_accelerator()
    model, optimizer = trained(device, 0)
    other, its_optimizer = trained(device, 1)
    pyckpt.reshard({"model": model, "optim": optimizer}, {"model": other, "optim": its_optimizer})
    for name, tensor in model.state_dict().items():
        assert other.state_dict()[name].device.type == device.type
        assert torch.equal(other.state_dict()[name], tensor)
    for mine, theirs in zip(model.parameters(), other.parameters()):
        for name, tensor in optimizer.state[mine].items():
            assert torch.equal(its_optimizer.state[theirs][name], tensor)


def test_between_device_and_host_and_dtypes():
    device = torch.accelerator.current_accelerator()
    wide = torch.randn(40, 50, device=device).T
    host = {"w": torch.zeros(50, 40, dtype=torch.bfloat16)}
    pyckpt.reshard({"w": wide}, host, options=pyckpt.ReshardOptions(dtype="cast"))
    assert torch.equal(host["w"], wide.cpu().bfloat16())
    back = {"w": torch.zeros(50, 40, device=device)}
    pyckpt.reshard(host, back, options=pyckpt.ReshardOptions(dtype="widen"))
    assert torch.equal(back["w"].cpu(), host["w"].float())
    whole = pyckpt.reshard({"w": wide}, "whole", options=pyckpt.ReshardOptions(device=device))
    assert whole["w"].device.type == device.type
    assert torch.equal(whole["w"], wide)


def between(rank: int, size: int, port: int) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate, Shard

    device = torch.accelerator.current_accelerator()
    assert device is not None
    torch.accelerator.set_device_index(rank)
    backend = dist.get_default_backend_for_device(device)
    dist.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    try:
        mesh = init_device_mesh(device.type, (size,))
        torch.manual_seed(0)
        reference = torch.nn.Sequential(torch.nn.Linear(301, 515), torch.nn.Linear(515, 7)).to(device)
        model = torch.nn.Sequential(torch.nn.Linear(301, 515), torch.nn.Linear(515, 7)).to(device)
        model.load_state_dict(reference.state_dict())
        fully_shard(model, mesh=mesh)
        rules = {"*.weight": (mesh, [Shard(1)]), "*.bias": (mesh, [Replicate()])}
        options = pyckpt.ReshardOptions(budget_bytes=1 << 20, timeout=60.0, silence=20.0)
        resharder = pyckpt.Resharder(model, rules, options=options)
        for _ in range(3):
            report = resharder.run()
        assert report.sent > 0
        assert report.buffers <= report.planned_buffers <= 1 << 20
        for name, want in reference.state_dict().items():
            got = resharder.value[name]
            assert got.to_local().device == torch.device(device.type, rank)
            assert torch.equal(got.full_tensor(), want), name
        # From the device of one rank to the host of another.
        into = {name: torch.zeros_like(t, device="cpu") for name, t in reference.state_dict().items()}
        pyckpt.reshard(model, into if rank == 1 else None, options=options)
        if rank == 1:
            assert all(torch.equal(into[name], t.cpu()) for name, t in reference.state_dict().items())
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(torch.accelerator.device_count() < 2, reason="fewer than two accelerators")
def test_between_devices():
    import socket

    from torch import multiprocessing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(between, (2, port), nprocs=2)
