"""What goes wrong with an object store is told on every rank."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from unittest import mock

import pytest

pytest.importorskip("torch")
pytest.importorskip("obstore", reason="obstore is not installed")

import torch
from torch import nn

import pyckpt
from pyckpt.engine.listing import list_checkpoints
from pyckpt.errors import StoreError
from pyckpt.manager import KeepLast, Tier
from pyckpt.storage.url import open_store
from tests.ranks.pool import values

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


def model(seed):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1024, 2048), nn.Linear(2048, 511))
    return fully_shard(net, mesh=init_device_mesh("cpu", (2,)))


def failing(rank, url, environment):
    with mock.patch.dict(os.environ, environment):
        try:
            pyckpt.save(url, {"model": model(1)})
        except StoreError as error:
            return str(error)
    return None


def test_wrong_key_is_told_on_every_rank(ranks, seaweed):
    environment = {**seaweed.environment(), "AWS_SECRET_ACCESS_KEY": "wrong"}
    told = values(ranks(2).outcomes(failing, "s3://ready/refused/step_1", environment))
    assert all("403" in text for text in told), told


def tiered(rank, fast, slow, environment, steps):
    with mock.patch.dict(os.environ, environment):
        tiers = [Tier(fast, KeepLast(1)), Tier(slow, KeepLast(2))]
        with pyckpt.CheckpointManager(tiers=tiers, tier_wait=timedelta(seconds=30)) as manager:
            found = manager.restore({"model": model(0)}, promote=True)
            for step in steps:
                manager.save(step, {"model": model(step)})
    return found.step, found.tier


def test_a_tier_behind_a_directory(ranks, seaweed, tmp_path):
    fast, slow = str(tmp_path / "fast"), "s3://ready/tiers"
    assert values(ranks(2).outcomes(tiered, fast, slow, seaweed.environment(), (1, 2, 3))) == [(0, "")] * 2
    assert [url[-1] for url in pyckpt.list(fast)] == ["3"]
    shutil.rmtree(fast)
    assert values(ranks(2).outcomes(tiered, fast, slow, seaweed.environment(), ())) == [(3, slow)] * 2
    assert [url[-1] for url in pyckpt.list(fast)] == ["3"]
    assert pyckpt.verify(f"{fast}/step-00000003").ok
    shutil.rmtree(fast)
    assert values(ranks(2).outcomes(tiered, fast, slow, seaweed.environment(), (4,))) == [(3, slow)] * 2
    with mock.patch.dict(os.environ, seaweed.environment()):
        listed = list_checkpoints(open_store(slow))
    assert [(each.name[-1], each.root.sequence) for each in listed] == [("4", 4), ("3", 3)]
