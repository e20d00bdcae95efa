"""Tiers with several ranks: all agree on the tier; directories of two nodes that are one store."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import pyckpt
from pyckpt.errors import Corrupt
from pyckpt.manager import KeepLast, Tier

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

WAIT = timedelta(seconds=20)


def model(seed):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(seed)
    size = torch.distributed.get_world_size()
    return fully_shard(nn.Linear(256, 64), mesh=init_device_mesh("cpu", (size,)))


def values(net):
    return net.weight.full_tensor().detach().sum().item()


def node_of(rank):
    return "ab"[rank // 2]


def tiers_of(rank, base, *, nodes):
    fast = Tier(f"{base}/{{node}}", KeepLast(2), scope="node", node=lambda: node_of(rank)) if nodes else Tier(f"{base}/fast", KeepLast(2))
    return [fast, Tier(f"{base}/slow")]


def save(rank, base, nodes, async_save, steps=(1, 2, 3)):
    sums = {}
    with pyckpt.CheckpointManager(
        tiers=tiers_of(rank, base, nodes=nodes), tier_wait=WAIT, async_save=async_save, grace=timedelta(hours=1)
    ) as manager:
        for step in steps:
            net = model(step)
            sums[step] = values(net)
            manager.save(step, {"model": net})
    return sums


def restore(rank, base, nodes, size=None, **more):
    net = model(0)
    with pyckpt.CheckpointManager(tiers=tiers_of(rank, base, nodes=nodes), tier_wait=WAIT) as manager:
        found = manager.restore({"model": net}, **more)
    why = [(each.name, each.code, each.tier) for each in found.passed]
    return found.step, found.tier, found.digest, why, values(net)


def names(directory):
    return [Path(url).name[-1] for url in pyckpt.list(directory)]


@pytest.mark.parametrize("async_save", [False, True])
def test_ranks_agree_on_the_tier(ranks, tmp_path, async_save):
    base = str(tmp_path)
    sums = ranks(4).run(save, base, False, async_save)[0]
    assert names(f"{base}/fast") == ["3", "2"]
    assert names(f"{base}/slow") == ["3", "2", "1"]
    # Only rank 3 reads what is damaged.
    path = next((tmp_path / "fast" / "step-00000003" / "model").glob("*-00003.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = ranks(4).run(restore, base, False)
    assert [each[:2] for each in found] == [(3, f"{base}/slow")] * 4
    assert all(each == found[0] for each in found)
    assert found[0][3] == [("step-00000003", "block.digest", f"{base}/fast")]
    assert found[0][4] == sums[3]


def files_of(directory, name):
    return {path.name for path in (Path(directory) / name / "model").iterdir()}


def test_two_nodes_are_one_store(ranks, tmp_path):
    base = str(tmp_path)
    sums = ranks(4).run(save, base, True, False)[0]
    a, b = files_of(f"{base}/a", "step-00000003"), files_of(f"{base}/b", "step-00000003")
    assert {name[16:] for name in a} == {"-00000.safetensors", "-00001.safetensors", *(n[16:] for n in a & b)}
    assert {name[16:] for name in b} == {"-00002.safetensors", "-00003.safetensors", *(n[16:] for n in a & b)}
    assert all(name.startswith("manifest-") for name in a & b)
    assert a & b
    # Roots are on both, retention is done on both, and rank 0 copied what lies on the other node.
    assert names(f"{base}/a") == names(f"{base}/b") == ["3", "2"]
    assert names(f"{base}/slow") == ["3", "2", "1"]
    assert pyckpt.verify(f"{base}/slow/step-00000003").ok
    assert not pyckpt.verify(f"{base}/a/step-00000003").ok
    assert (tmp_path / "a/step-00000003/checkpoint.json").read_bytes() == (
        tmp_path / "b/step-00000003/checkpoint.json"
    ).read_bytes()

    found = ranks(4).run(restore, base, True)
    assert {each[:2] for each in found} == {(3, f"{base}/{{node}}")}
    assert found[0][4] == sums[3]

    # One node is lost, and an empty one takes its place: the next tier has it all.
    shutil.rmtree(f"{base}/b")
    found = ranks(4).run(restore, base, True)
    assert {each[:2] for each in found} == {(3, f"{base}/slow")}
    assert found[0][3] == [("step-00000003", "object.missing", f"{base}/{{node}}")]
    assert found[0][4] == sums[3]

    # Without the next tier there is nothing to go on with, and nobody starts afresh.
    shutil.rmtree(f"{base}/slow")
    outcomes = ranks(4).outcomes(restore, base, True)
    assert all(isinstance(one.error, Corrupt) and one.error.code == "object.missing" for one in outcomes)

    # What is saved now is newer, on both nodes.
    sums = ranks(4).run(save, base, True, False, (4,))[0]
    assert names(f"{base}/b")[0] == names(f"{base}/a")[0] == "4"
    assert ranks(4).run(restore, base, True)[0][4] == sums[4]


def test_a_name_that_nodes_do_not_agree_on(ranks, tmp_path):
    """A node that was away has missed a deletion, and a new checkpoint of the same name."""
    base = str(tmp_path)
    ranks(4).run(save, base, True, True, (1, 2))
    shutil.copytree(f"{base}/b", f"{base}/kept")
    sums = ranks(4).run(save, base, True, True, (2,))[0]
    shutil.copytree(f"{base}/kept", f"{base}/b", dirs_exist_ok=True)
    found = ranks(4).run(restore, base, True)
    assert {each[:2] for each in found} == {(2, f"{base}/{{node}}")}
    assert found[0][4] == sums[2]


def clash(rank, base):
    """One path, one node as the ranks have it, and two directories."""
    before = os.getcwd()
    os.makedirs(f"{base}/{rank % 2}", exist_ok=True)
    os.chdir(f"{base}/{rank % 2}")
    try:
        with pyckpt.CheckpointManager(tiers=[Tier("run", scope="node", node=lambda: "same")]) as manager:
            manager.save(1, {"model": {"w": torch.zeros(3)}})
    finally:
        os.chdir(before)


def test_a_node_has_one_directory(ranks, tmp_path):
    outcomes = ranks(4).outcomes(clash, str(tmp_path))
    assert [one.error.code for one in outcomes] == ["store.split"] * 4
