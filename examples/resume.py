"""A loop that can be cut off anywhere: the same line again goes on from the newest sound checkpoint.

    python examples/resume.py STORE 30
    python examples/resume.py STORE 40 20      # back to step 20, and on from there
"""

import logging
import sys

import torch

import pyckpt

store, last = sys.argv[1], int(sys.argv[2])
back_to = int(sys.argv[3]) if len(sys.argv) > 3 else None
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)

torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
state = {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG()}

with pyckpt.CheckpointManager(store, save_every_n_steps=10) as manager:
    resumed = manager.restore(state, step=back_to)
    for passed in resumed.passed:
        print(f"passed over {passed.name}: {passed.code}")
    for step in range(resumed.step + 1, last + 1):
        x = torch.randn(16, 8)
        loss = (model(x).squeeze(1) - x.sum(dim=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        manager.step(step, state, {"loss": loss.item()})
print(f"step {last}, weights {model.weight.sum().item():.9f}")
