"""Copies of a checkpoint beside ``cp -r``: to another directory of the disk, and to memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import pyckpt
from benchmarks.timing import Arms, drop_caches, fsync_tree, wipe
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.storage.url import open_store

__all__ = ["copies"]

TENSORS, BYTES = 64, 1 << 24
MEMORY = "/dev/shm"


def copies(directory: str, repetitions: int) -> Iterator[tuple[Arms, int]]:
    """A checkpoint of 1 GB, warm in the page cache and cold, to the same disk and to memory."""
    run = Path(directory) / "run"
    run.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    state = {"model": {f"w{n}": np.frombuffer(rng.bytes(BYTES), np.float32) for n in range(TENSORS)}}
    pyckpt.save(run / "step", state)
    del state
    size = TENSORS * BYTES
    places = [("the same disk", directory)]
    if os.path.isdir(MEMORY) and shutil.disk_usage(MEMORY).free > 2 * size:
        places.append(("memory (tmpfs)", MEMORY))
    for where, parent in places:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            for cold in (False, True):
                arms = _arms(run, Path(folder) / "there", cold=cold)
                arms.title = f"copy of 1 GB to {where}, source {'cold' if cold else 'in the page cache'}"
                arms.run(repetitions)
                yield arms, size


def _arms(run: Path, there: Path, *, cold: bool) -> Arms:
    arms = Arms("")

    def setup() -> None:
        wipe(str(there))
        there.mkdir()
        if cold:
            drop_caches(str(run))
        else:
            subprocess.run(["/bin/sh", "-c", f"cat {run}/step/*/* > /dev/null"], check=True)

    def plain() -> None:
        subprocess.run(["/bin/cp", "-r", str(run / "step"), str(there / "step")], check=True)

    def durable() -> None:
        plain()
        fsync_tree(str(there))

    def verified() -> None:
        durable()
        assert pyckpt.verify(there / "step").ok

    def copy() -> None:
        copy_checkpoint(open_store(run), "step", open_store(there))

    def alone() -> None:
        copy_checkpoint(open_store(run), "step", open_store(there), standalone=True)

    arms.add("cp -r, fsync", durable, setup)
    arms.add("cp -r, not durable", plain, setup)
    arms.add("cp -r, fsync, then pyckpt verify", verified, setup)
    arms.add("pyckpt copy (durable, verified)", copy, setup)
    arms.add("pyckpt copy --standalone", alone, setup)
    return arms
