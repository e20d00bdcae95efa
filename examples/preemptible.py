"""Training that may be stopped at any moment: SIGTERM saves, and the same line again goes on where it stopped.

    torchrun --standalone --nproc-per-node 4 examples/preemptible.py STORE 1000

``preemptible.sh`` runs it for a scheduler; ``kubernetes/job.yaml`` and ``argo/workflow.yaml`` run that.
"""

import logging
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import pyckpt
from pyckpt.manager import BeforePreemption

store, last = sys.argv[1], int(sys.argv[2])
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
dist.init_process_group("gloo")

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
trained = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
state = {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG(on_resize="reseed")}

manager = pyckpt.CheckpointManager(
    store,
    save_every=timedelta(minutes=20),  # what a node that dies without a warning may cost
    keep_last_n=2,
    preemption=BeforePreemption(),  # SIGTERM: save at the next step, leave with exit code 75
)
with manager:
    resumed = manager.restore(state)
    for step in range(resumed.step + 1, last + 1):
        x = torch.randn(16, 8)
        loss = (trained(x).squeeze(1) - x.sum(dim=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == resumed.step + 1 and dist.get_rank() == 0:
            print(f"training from step {step}", flush=True)
        manager.step(step, state)
    if last > resumed.step:
        manager.save(last, state)
dist.destroy_process_group()
