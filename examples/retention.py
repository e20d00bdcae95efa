"""What a run keeps: the newest, the best, every so many steps, and what was pinned; the rest goes.

python examples/retention.py STORE
"""

import logging
import sys
from datetime import timedelta

import numpy as np

import pyckpt
from pyckpt.manager import KeepBest, KeepEvery

store = sys.argv[1]
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)

losses = {10: 5.0, 20: 2.0, 30: 3.0, 40: 0.5, 50: 2.5, 60: 2.4, 70: 2.3}
with pyckpt.CheckpointManager(
    store,
    save_every_n_steps=10,
    keep_last_n=2,  # 60 and 70
    keep=[KeepBest(1, "loss"), KeepEvery(50)],  # 40, and 50
    verify_saved="deep",  # before an older one goes, the new one has been read back
    grace=timedelta(days=1),  # whoever is reading a deleted one can finish
) as manager:
    for step in range(1, 71):
        state = {"model": {"w": np.full(1000, step, np.float32)}}
        if step == 25:
            manager.save(step, state, pin=True)  # for ever
        manager.step(step, state, {"loss": losses.get(step, 9.0)})

for checkpoint in pyckpt.list(store):
    print("kept", checkpoint.rpartition("/")[2])
waiting = pyckpt.gc(store, dry_run=True)
print(f"{waiting.kept_for_grace} objects of deleted checkpoints wait for the end of the grace period")
gone = pyckpt.gc(store, grace=0)  # nobody else is at work here
for each in gone.judged[:2]:
    print(each.key, each.reason, each.by)
