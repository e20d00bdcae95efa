"""What is easily got wrong at first is refused by name, or said in the log."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

import pyckpt
from pyckpt.errors import UsageError
from pyckpt.manager import Every, EveryNSteps, KeepLast, KeepYounger

STATE = {"model": {"w": np.arange(4.0)}}


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda store: pyckpt.load(pyckpt.latest(store)), "latest gives None"),
        (lambda _: pyckpt.LoadOptions(dtype="float32"), "error, widen, cast"),
        (lambda _: pyckpt.LoadOptions(on_resize="ignore"), "error, nearest, reseed"),
        (lambda _: pyckpt.LoadOptions(framework="jax"), "auto, torch, numpy"),
        (lambda store: pyckpt.CheckpointManager(store, save_every=20), "a timedelta"),
        (lambda _: Every(20), "a timedelta"),
        (lambda _: KeepYounger(20), "a timedelta"),
        (lambda store: pyckpt.CheckpointManager(store, grace=0), "a timedelta"),
        (lambda store: pyckpt.CheckpointManager(store, policies=EveryNSteps(1)), "a list"),
        (lambda store: pyckpt.CheckpointManager(store, policies=[lambda _: True]), "needs and should_save"),
        (lambda store: pyckpt.CheckpointManager(store, keep=KeepLast(1)), "a list"),
        (lambda store: pyckpt.CheckpointManager(store, keep=[3]), "with keep"),
    ],
)
def test_refused(call, key, tmp_path):
    with pytest.raises(UsageError, match=key):
        call(tmp_path)


def test_an_item_that_the_state_has_not(tmp_path):
    with pyckpt.CheckpointManager(tmp_path, items=["modle"]) as manager, pytest.raises(UsageError, match="are: model;"):
        manager.save(1, STATE)


def test_a_manager_that_would_never_save_says_so_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "pyckpt"), pyckpt.CheckpointManager(tmp_path) as manager:
        manager.step(1, STATE)
        manager.step(2, STATE)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["nothing says when to save"]


def test_a_line_says_what_was_referenced(tmp_path, caplog):
    options = pyckpt.SaveOptions(reference="newest")
    state = {"base": {"w": np.arange(1000.0)}, "step": {"n": np.zeros(2)}}
    with caplog.at_level(logging.INFO, "pyckpt"), pyckpt.CheckpointManager(tmp_path, options=options) as manager:
        manager.save(1, state)
        state["step"]["n"] += 1
        manager.save(2, state)
    first, second = [record.message for record in caplog.records]
    assert "8016 bytes in" in first
    assert re.search(r": 8016 bytes \(\d+ written, 8000 referenced\) in ", second)


def test_a_handle_says_what_it_is(tmp_path):
    handle = pyckpt.save_async(tmp_path / "1", STATE)
    handle.wait()
    assert repr(handle) == f"<SaveHandle '{tmp_path}/1': committed>"
    again = pyckpt.save_async(tmp_path / "1", STATE)
    with pytest.raises(FileExistsError):
        again.wait()
    assert repr(again).endswith(": failed>")


def test_copy_into_a_store(tmp_path):
    pyckpt.save(tmp_path / "a" / "step-1", STATE)
    report = pyckpt.copy(tmp_path / "a" / "step-1", f"{tmp_path}/b/")
    assert report.url == f"{tmp_path}/b/step-1"
