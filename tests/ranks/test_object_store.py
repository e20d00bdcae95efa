"""What goes wrong with an object store is told on every rank."""

from __future__ import annotations

import os
from unittest import mock

import pytest

pytest.importorskip("torch")
pytest.importorskip("obstore", reason="obstore is not installed")

import torch
from torch import nn

import pyckpt
from pyckpt.errors import StoreError
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
