"""What the processes do that are killed: save in a tight loop, or copy."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial

import numpy as np

import pyckpt
import pyckpt.frameworks
from pyckpt.manager import KeepEvery

LAST, EVERY = 3, 7
THAW = 5
"""Every so many steps what is otherwise frozen changes."""
NUMPY = pyckpt.LoadOptions(framework="numpy")


def filled(step):
    frozen = np.arange(60_000, dtype=np.uint32) * 5 + step // THAW
    return {"model": {"w": np.arange(50_000, dtype=np.uint32) * 3 + step, "frozen": frozen}, "extra": {"step": step}}


def tight_loop(environment, acknowledged, store, background, referring):
    """Saves every step; says so as soon as the save is committed."""
    alone(environment)
    state = filled(0)
    manager = pyckpt.CheckpointManager(
        store,
        save_every_n_steps=1,
        keep_last_n=LAST,
        keep=[KeepEvery(EVERY)],
        verify_saved="shallow",
        grace=timedelta(0),
        on_exists="replace",
        async_save=background,
        options=pyckpt.SaveOptions(reference="newest" if referring else None),
    )
    found = manager.restore(state, verify="deep", on_damage="raise", options=NUMPY)
    assert state["extra"]["step"] == found.step
    os.write(acknowledged, found.step.to_bytes(8, "little"))
    step = found.step
    while True:
        step += 1
        for name, value in filled(step)["model"].items():
            state["model"][name][...] = value
        state["extra"]["step"] = step
        handle = manager.step(step, state)
        assert handle is not None
        handle.committed.add_done_callback(partial(acknowledge, acknowledged, step))


def acknowledge(acknowledged, step, committed):
    if committed.exception() is None:
        os.write(acknowledged, step.to_bytes(8, "little"))


def copier(environment, begun, source, target):
    """Copies; says when it begins."""
    alone(environment)
    os.write(begun, bytes(8))
    pyckpt.copy(source, target, threads=2)


def alone(environment):
    os.environ.update(environment)
    # One process needs no torch.
    pyckpt.frameworks._torch_wanted = lambda: False


class Pipe:
    """The writing end of a pipe, on its way into another process."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __reduce__(self):
        from multiprocessing.reduction import DupFd

        duplicate = DupFd(self._descriptor)
        return _opened, (duplicate,)


def _opened(duplicate):
    return duplicate.detach()
