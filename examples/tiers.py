"""A run on three tiers: it loses its fast disk, goes on from the next tier, and fills the disk again.

    python examples/tiers.py DIRECTORY
"""

import logging
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import torch

import pyckpt
from pyckpt.manager import KeepLast, Tier

base = Path(sys.argv[1])
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
tiers = [
    Tier(base / "nvme", keep=KeepLast(2)),  # /nvme/run, or /dev/shm/run for checkpoints in RAM
    Tier(base / "bucket", keep=timedelta(days=90)),  # s3://bucket/run
    Tier(base / "cold", keep=None, every=2),  # every second one, for ever
]


def train(last):
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(model.parameters())
    state = {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG()}
    with pyckpt.CheckpointManager(tiers=tiers, save_every_n_steps=10) as manager:
        resumed = manager.restore(state, promote=True)
        print(f"begins after step {resumed.step}, from {resumed.tier or 'nothing'}")
        for step in range(resumed.step + 1, last + 1):
            optimizer.zero_grad()
            model(torch.randn(8, 64)).square().mean().backward()
            optimizer.step()
            manager.step(step, state)


train(40)
shutil.rmtree(base / "nvme")
print("the disk is gone")
train(60)
for tier in tiers:
    print(f"{tier.url}: {', '.join(Path(url).name for url in pyckpt.list(tier.url))}")
