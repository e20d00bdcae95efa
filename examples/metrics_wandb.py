"""What saves and restores tell, in Weights & Biases.

    pip install torch wandb
    python examples/metrics_wandb.py STORE                        # WANDB_MODE=offline keeps it on this machine
"""

import sys

import torch
import wandb

import pyckpt

store = sys.argv[1]
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.AdamW(model.parameters())
state = {"model": model, "optimizer": optimizer}
run = wandb.init(project="pyckpt-example")
# A save in the background is told of some steps later, and W&B's own step can't go back.
run.define_metric("checkpoint/*", step_metric="checkpoint/step")


def saved(event):
    """Called by ``step`` and ``close``, on every rank."""
    if event.rank != 0:
        return
    if event.report is None:
        run.alert(title=f"step {event.step} was not saved", text=str(event.error or event.skipped))
        return
    figures = {
        "step": event.step,
        "seconds": event.report.seconds,
        "blocked_seconds": event.report.blocked,
        "bytes_written": event.report.written,
        "deleted": 0 if event.retention is None else len(event.retention.deleted),
        **{f"phase_{phase}": seconds for phase, seconds in event.report.phases.items()},
    }
    run.log({f"checkpoint/{name}": value for name, value in figures.items()})
    # The checkpoint of the best loss is found again from the run's page, and the run from the checkpoint's metadata.
    run.summary["checkpoint/url"], run.summary["checkpoint/digest"] = event.report.url, event.report.digest
    if event.slow:
        run.alert(title=f"saving step {event.step} was slow", text=event.slow)


def restored(found):
    """Called by ``restore``."""
    if found.report is not None:
        run.log({"checkpoint/step": found.step, "checkpoint/restore_seconds": found.report.seconds})


manager = pyckpt.CheckpointManager(
    store,
    save_every_n_steps=10,
    keep_last_n=2,
    async_save=True,
    metadata={"wandb_run": run.id},
    on_save=saved,
    on_restore=restored,
)
with run, manager:
    begun = manager.restore(state).step
    for step in range(begun + 1, begun + 31):
        optimizer.zero_grad()
        loss = model(torch.randn(16, 64)).square().mean()
        loss.backward()
        optimizer.step()
        run.log({"loss": loss.item()})
        manager.step(step, state, {"loss": loss})
    manager.wait()
    print("last checkpoint:", run.summary["checkpoint/url"])
