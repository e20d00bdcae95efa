"""A process that was forked has no part in its parent's manager: it can be ended, and it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

import pyckpt
from pyckpt.manager import BeforePreemption, OnSignal, flight
from pyckpt.storage.local import LocalStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def stay(runs):
    runs.set()
    time.sleep(60)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_can_be_terminated(tmp_path):
    with pyckpt.CheckpointManager(tmp_path / "run", preemption=BeforePreemption()):
        context = multiprocessing.get_context("fork")
        runs = context.Event()
        process = context.Process(target=stay, args=(runs,))
        process.start()
        assert runs.wait(30)
        process.terminate()
        process.join(20)
        ended = process.exitcode
        process.kill()
        process.join()
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert ended == -signal.SIGTERM


def test_managers_that_are_closed_in_any_order_give_the_signal_back(tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    one, two, three = (pyckpt.CheckpointManager(tmp_path / "run", policies=[OnSignal()]) for _ in range(3))
    two.close()
    one.close()
    three.close()
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_ends_while_its_parent_saves(tmp_path, monkeypatch):
    go, create = threading.Event(), LocalStore.create_writer

    def held(store, key, size):
        assert go.wait(60)
        return create(store, key, size)

    monkeypatch.setattr(LocalStore, "create_writer", held)
    manager = pyckpt.CheckpointManager(tmp_path / "run", save_every_n_steps=1, async_save=True)
    manager.step(1, {"model": {"w": np.zeros(100)}})
    child = os.fork()
    if not child:
        # What the end of the interpreter does.
        manager.__exit__(SystemExit, SystemExit(), None)
        flight._finish()
        manager.close()
        os._exit(7)
    limit = threading.Timer(20, os.kill, (child, signal.SIGKILL))
    limit.start()
    _, status = os.waitpid(child, 0)
    limit.cancel()
    go.set()
    manager.close()
    assert os.waitstatus_to_exitcode(status) == 7
    assert len(pyckpt.list(tmp_path / "run")) == 1
