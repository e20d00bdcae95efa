"""A rank that fails between two exchanges, though it lives on: nobody waits for its tensors."""

from __future__ import annotations

import time
from contextlib import nullcontext
from unittest import mock

import pytest

pytest.importorskip("torch")

import torch

import pyckpt

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

LIMITS = {"timeout": 40.0, "silence": 24.0}
ROWS = 64
WHOLE = [
    "pyckpt.engine.writer.plan_shards",
    "pyckpt.engine.save._check_marker",
    "pyckpt.torch.whole.WholeTensors._allocate",
]


def sharded():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (3,))
    return {name: distribute_tensor(torch.ones(ROWS, 8), mesh, [Shard(0)]) for name in "abcdef"}


def failing(rank, victim, where, call):
    """Seconds and text of the error of a call in which ``where`` fails on one rank."""
    begin = time.monotonic()
    broken = mock.patch(where, side_effect=MemoryError("none left")) if rank == victim else nullcontext()
    with broken:
        with pytest.raises((pyckpt.PyckptError, MemoryError)) as caught:
            call()
    return str(caught.value), time.monotonic() - begin


def save_whole(rank, url, victim, where):
    options = pyckpt.SaveOptions(whole=True, whole_budget_bytes=4096, **LIMITS)
    return failing(rank, victim, where, lambda: pyckpt.save(url, {"model": sharded()}, options=options))


@pytest.mark.parametrize("where", WHOLE)
@pytest.mark.parametrize("victim", [0, 1])
def test_before_tensors_are_brought_together(ranks, tmp_path, victim, where):
    for rank, (text, seconds) in enumerate(ranks(3).run(save_whole, str(tmp_path / "step"), victim, where)):
        assert "none left" in text
        assert seconds < 12
        assert rank == victim or f"rank {victim}" in text
    assert pyckpt.list(tmp_path) == []


def load_shared(rank, url, victim, where):
    options = pyckpt.LoadOptions(replicas="exchange", **LIMITS)
    target = {name: torch.zeros(ROWS, 8) for name in "abcdef"}
    return failing(rank, victim, where, lambda: pyckpt.load(url, into={"model": target}, options=options))


@pytest.mark.parametrize("victim", [0, 1])
def test_before_what_was_read_is_passed_on(ranks, tmp_path, victim):
    url = str(tmp_path / "step")
    pyckpt.save(url, {"model": {name: torch.ones(ROWS, 8) for name in "abcdef"}})
    for rank, (text, seconds) in enumerate(ranks(3).run(load_shared, url, victim, "pyckpt.engine.fill.plan_shared_load")):
        assert "none left" in text
        assert seconds < 12
        assert rank == victim or f"rank {victim}" in text
