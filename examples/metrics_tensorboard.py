"""What saves and restores tell, as curves in TensorBoard.

    pip install torch tensorboard
    python examples/metrics_tensorboard.py STORE LOGS
    tensorboard --logdir LOGS
"""

import sys

import torch
from torch.utils.tensorboard import SummaryWriter

import pyckpt

store, logs = sys.argv[1:]
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.AdamW(model.parameters())
state = {"model": model, "optimizer": optimizer}
writer = SummaryWriter(logs)


def saved(event):
    """Called by ``step`` and ``close``, on every rank."""
    if event.rank != 0:
        return
    if event.report is None:
        writer.add_text("checkpoint/not saved", str(event.error or event.skipped), event.step)
        return
    report, kept = event.report, event.retention
    writer.add_scalar("checkpoint/seconds", report.seconds, event.step)
    writer.add_scalar("checkpoint/seconds that training waited", report.blocked, event.step)
    writer.add_scalar("checkpoint/bytes written", report.written, event.step)
    for phase, seconds in report.phases.items():
        writer.add_scalar(f"checkpoint phases/{phase}", seconds, event.step)
    if kept is not None:
        writer.add_scalar("checkpoint/deleted", len(kept.deleted), event.step)
    for trouble in (event.slow, *report.warnings, *(kept.problems if kept else ())):
        if trouble:
            writer.add_text("checkpoint/warnings", trouble, event.step)


def restored(found):
    """Called by ``restore``."""
    if found.report is not None:
        writer.add_scalar("checkpoint/restore seconds", found.report.seconds, found.step)
        writer.add_scalar("checkpoint/restore bytes read", found.report.read, found.step)


manager = pyckpt.CheckpointManager(
    store, save_every_n_steps=10, keep_last_n=2, async_save=True, on_save=saved, on_restore=restored
)
with writer, manager:
    begun = manager.restore(state).step
    for step in range(begun + 1, begun + 31):
        optimizer.zero_grad()
        loss = model(torch.randn(16, 64)).square().mean()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)
        manager.step(step, state, {"loss": loss})
    manager.wait()
print(f"tensorboard --logdir {logs}")
