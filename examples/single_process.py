"""Save and load a model with its optimizer and everything else that a run needs, in one process.

    python examples/single_process.py [STORE]
"""

import sys
import tempfile

import torch

import pyckpt

store = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()


def training(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "rng": pyckpt.RNG()}


def step(state):
    x = torch.randn(16, 8)
    state["optimizer"].zero_grad()
    loss = (state["model"](x).squeeze(1) - x.sum(dim=1)).square().mean()
    loss.backward()
    state["optimizer"].step()
    state["scheduler"].step()
    return loss.item()


state = training(seed=0)
for number in range(1, 21):
    loss = step(state)
    if number % 10 == 0:
        report = pyckpt.save(f"{store}/step-{number}", state, metadata={"step": number, "loss": loss})
        print(f"saved {report.url}: {report.tensors} tensors, {report.bytes} bytes, digest {report.digest[:12]}")
expected = step(state)

# Another process, another day: objects of the same shape, filled in place from the newest checkpoint.
state = training(seed=1)
newest = pyckpt.latest(store)
pyckpt.load(newest, into=state)
print(f"resumed from {newest} at step {pyckpt.open(newest).metadata['step']}")
if step(state) != expected:  # the random state was restored too, so the next step is the same to the last bit
    sys.exit("the resumed run went another way")
print("the next step is the same as in the run that was not interrupted")
