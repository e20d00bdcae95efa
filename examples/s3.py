"""The same loop with its checkpoints in a bucket, on Amazon S3 or whatever speaks its protocol.

    export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_REGION=us-east-1
    export AWS_ENDPOINT_URL=https://…          # where it is not Amazon's
    python examples/s3.py s3://bucket/run 30
"""

import logging
import sys

import numpy as np

import pyckpt

store, last = sys.argv[1], int(sys.argv[2])
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)

state = {"model": {"w": np.zeros((256, 1024), np.float32)}}
with pyckpt.CheckpointManager(store, save_every_n_steps=10, keep_last_n=2) as manager:
    resumed = manager.restore(state)
    for step in range(resumed.step + 1, last + 1):
        state["model"]["w"] += 1
        saved = manager.step(step, state)
        if saved is not None and saved.wait().weak:
            print("this server does not honour conditional writes: one job at a time")

newest = pyckpt.latest(store)
row = pyckpt.open(newest)["model"]["w"][100:101]  # fetches these 4 KiB alone
print(f"{newest}: row 100 is {row.min():g} throughout, {pyckpt.verify(newest).ok=}")
