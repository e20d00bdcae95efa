"""A training loop that saves, forgets and resumes by itself, and leaves in good order when it is asked to.

    python examples/managed.py STORE 30        # trains to step 30; the same line again with a larger number goes on
    torchrun --standalone --nproc-per-node 4 examples/managed.py STORE 30
"""

import logging
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

import pyckpt
from pyckpt.manager import BeforePreemption, KeepBest, OnSignal

store, last = sys.argv[1], int(sys.argv[2])
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
if "RANK" in os.environ:
    dist.init_process_group("gloo")

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
state = {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG(on_resize="reseed")}


def dashboard(event):
    """Where TensorBoard, W&B or Prometheus would get their figures, on the rank that talks to them."""
    if event.rank == 0 and event.report is not None:
        print(f"dashboard: checkpoint/seconds {event.report.seconds:.2f}, checkpoint/bytes {event.report.bytes}")


manager = pyckpt.CheckpointManager(
    store,
    save_every_n_steps=10,
    save_every=timedelta(minutes=30),  # whichever comes first
    policies=[OnSignal()],  # kill -USR1 saves now
    preemption=BeforePreemption(),  # SIGTERM saves and leaves with exit code 75: run me again
    keep_last_n=2,
    keep=[KeepBest(1, "loss")],
    verify_saved="deep",  # before anything older goes
    async_save=True,  # training goes on while that is done
    tolerate_failures=3,  # a store that is down for a while does not end the run
    on_save=dashboard,
)
with manager:
    resumed = manager.restore(state)
    for step in range(resumed.step + 1, last + 1):
        x = torch.randn(16, 8)
        optimizer.zero_grad()
        loss = (model(x).squeeze(1) - x.sum(dim=1)).square().mean()
        loss.backward()
        if dist.is_initialized():
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
        optimizer.step()
        manager.step(step, state, {"loss": loss})
if dist.is_initialized():
    dist.destroy_process_group()
