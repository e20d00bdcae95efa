"""Weights from a trainer to a generator after every step, each in a layout of its own, with nothing in between.

    torchrun --standalone --nproc-per-node 4 examples/push_weights.py

The trainer has its model over all ranks with FSDP2; the generator has it over the last two with tensor parallelism.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import pyckpt


def network() -> nn.Module:
    """A perceptron."""
    return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))


def main() -> None:
    """Trains and generates in turn."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    torch.manual_seed(0)
    trainer = network().to(device)
    fully_shard(trainer, mesh=init_device_mesh(device, (ranks,)))
    optimizer = torch.optim.AdamW(trainer.parameters(), lr=1e-2)

    last_two = DeviceMesh(device, [ranks - 2, ranks - 1])
    generator = None
    if rank >= ranks - 2:
        generator = parallelize_module(network().to(device), last_two, {"0": ColwiseParallel(), "2": RowwiseParallel()})

    push = pyckpt.Resharder(trainer, generator)
    if rank == 0:
        print(push.describe())
    inputs = torch.randn(32, 64, device=device)
    for step in range(1, 4):
        optimizer.zero_grad()
        loss = (trainer(inputs) - inputs).square().mean()
        loss.backward()
        optimizer.step()
        report = push.run()
        if generator is not None:
            with torch.no_grad():
                error = (generator(inputs) - inputs).square().mean().item()
            if rank == ranks - 1:
                took = f"{report.received:,} bytes in {report.seconds:.3f} s"
                print(f"step {step}: generator at {error:.4f}, {took}", flush=True)
    with torch.no_grad():
        wanted = (trainer(inputs) - inputs).square().mean().item()
    if generator is not None and abs(error - wanted) > 1e-5 * wanted:
        raise SystemExit(f"the generator is at {error}, the trainer at {wanted}")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
