"""A process that saves in a tight loop is killed at any moment, again and again: what it acknowledged is not lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from datetime import timedelta
from functools import partial

import numpy as np
import pytest

import pyckpt
from pyckpt.manager import KeepEvery

pytestmark = pytest.mark.ranks

LAST, EVERY = 3, 7
KILLS = int(os.environ.get("PYCKPT_KILLS", "12"))
NUMPY = pyckpt.LoadOptions(framework="numpy")


def filled(step):
    return {"model": {"w": np.arange(50_000, dtype=np.uint32) * 3 + step}, "extra": {"step": step}}


def tight_loop(store, acknowledged, background):
    """Saves every step; says so as soon as the save is committed."""
    # One process needs no torch.
    pyckpt.frameworks._torch_wanted = lambda: False
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
    )
    found = manager.restore(state, verify="deep", on_damage="raise", options=NUMPY)
    assert state["extra"]["step"] == found.step
    os.write(acknowledged, found.step.to_bytes(8, "little"))
    step = found.step
    while True:
        step += 1
        state["model"]["w"] += 1
        state["extra"]["step"] = step
        handle = manager.step(step, state)
        assert handle is not None
        handle.committed.add_done_callback(partial(acknowledge, acknowledged, step))


def acknowledge(acknowledged, step, committed):
    if committed.exception() is None:
        os.write(acknowledged, step.to_bytes(8, "little"))


def test_nothing_acknowledged_is_lost(tmp_path, monkeypatch):
    import pyckpt.frameworks

    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)
    store = tmp_path / "run"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numpy", "pyckpt.manager", __name__])
    chance = random.Random(5)
    last, everything = 0, set()
    for number in range(KILLS):
        ours, theirs = os.pipe()
        process = context.Process(target=tight_loop, args=(str(store), _Pipe(theirs), number % 2 == 1), daemon=True)
        process.start()
        os.close(theirs)
        with open(ours, "rb") as acknowledged:
            begun = int.from_bytes(acknowledged.read(8), "little")
            # A save may have been committed without a word, but nothing that was acknowledged is forgotten.
            assert last <= begun <= last + 1
            process.join(chance.uniform(0.01, 0.4))
            assert process.is_alive()
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            rest = acknowledged.read()
        steps = [int.from_bytes(rest[at : at + 8], "little") for at in range(0, len(rest), 8)]
        last = max([begun, *steps])
        everything |= {begun, *steps} - {0}
        listed = {pyckpt.open(url).metadata["step"] for url in pyckpt.list(store)}
        kept = {step for step in everything if step % EVERY == 0 or step > last + 1 - LAST}
        assert kept <= listed
        for step in listed:
            url = store / f"step-{step:08d}"
            loaded = pyckpt.load(url, options=NUMPY)
            assert loaded["extra"]["step"] == step
            assert loaded["model"]["w"].tobytes() == filled(step)["model"]["w"].tobytes()
    assert last > KILLS


class _Pipe:
    """The writing end of a pipe, on its way into another process."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __reduce__(self):
        from multiprocessing.reduction import DupFd

        duplicate = DupFd(self._descriptor)
        return _opened, (duplicate,)


def _opened(duplicate):
    return duplicate.detach()
