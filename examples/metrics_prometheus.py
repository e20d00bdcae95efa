"""What saves and restores tell, as metrics that Prometheus scrapes from the training process.

    pip install torch prometheus_client
    python examples/metrics_prometheus.py STORE [PORT]

An alert that is worth having: ``time() - checkpoint_last_timestamp_seconds > 3600``.
"""

import sys
from urllib.request import urlopen

import torch
from prometheus_client import Counter, Gauge, Histogram, start_http_server

import pyckpt

store, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.AdamW(model.parameters())
state = {"model": model, "optimizer": optimizer}

outcomes = Counter("checkpoint_saves", "Saves by what came of them", ["outcome"])
written = Counter("checkpoint_written_bytes", "Bytes that saves wrote")
deleted = Counter("checkpoint_deleted", "Checkpoints that retention deleted")
problems = Counter("checkpoint_problems", "Slow saves, warnings, deletions that failed")
last_step = Gauge("checkpoint_last_step", "Step of the newest checkpoint")
last_time = Gauge("checkpoint_last_timestamp_seconds", "When it was known to be committed")
seconds = Histogram("checkpoint_save_seconds", "Seconds of a save", buckets=(0.1, 1, 10, 60, 300, 1800))
blocked = Histogram("checkpoint_blocked_seconds", "Seconds that training waited", buckets=(0.01, 0.1, 1, 10, 60))
restore_seconds = Gauge("checkpoint_restore_seconds", "Seconds of the last restore")


def saved(event):
    """Called by ``step`` and ``close``, on every rank."""
    if event.rank != 0:
        return
    if event.report is None:
        outcomes.labels("failed" if event.error else "skipped").inc()
        return
    outcomes.labels("done").inc()
    written.inc(event.report.written)
    seconds.observe(event.report.seconds)
    blocked.observe(event.report.blocked)
    last_step.set(event.step)
    last_time.set_to_current_time()
    problems.inc(bool(event.slow) + len(event.report.warnings))
    if event.retention is not None:
        deleted.inc(len(event.retention.deleted))
        problems.inc(len(event.retention.problems))


def restored(found):
    """Called by ``restore``."""
    if found.report is not None:
        restore_seconds.set(found.report.seconds)


server, _ = start_http_server(port, addr="127.0.0.1")  # on rank 0
manager = pyckpt.CheckpointManager(
    store, save_every_n_steps=10, keep_last_n=2, async_save=True, on_save=saved, on_restore=restored
)
with manager:
    begun = manager.restore(state).step
    for step in range(begun + 1, begun + 31):
        optimizer.zero_grad()
        loss = model(torch.randn(16, 64)).square().mean()
        loss.backward()
        optimizer.step()
        manager.step(step, state, {"loss": loss})
    manager.wait()

with urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as page:
    print("".join(line for line in page.read().decode().splitlines(True) if line.startswith("checkpoint_")))
