"""Shared reads into targets that lie otherwise than what is stored: overlapping, flat, made in inference mode."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.format.geometry import Box, Region

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SHAPE = (96, 130)


def weight():
    return torch.arange(SHAPE[0] * SHAPE[1], dtype=torch.float32).view(SHAPE)


def save_tied(rank, url):
    if rank == 0:
        tied = weight()
        options = pyckpt.SaveOptions(collective=False, block_bytes=4096)
        pyckpt.save(url, {"model": {"embed": tied, "head": tied, "other": weight() + 1}}, options=options)


@pytest.fixture(scope="module")
def saved(ranks, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("shared") / "step")
    ranks(4).run(save_tied, url)
    return url


def load_untied(rank, url, order, transposed):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, zeros

    mesh = init_device_mesh("cpu", (4,))
    made = {
        "embed": torch.zeros(SHAPE[::-1]).T if transposed else torch.zeros(SHAPE),
        "head": zeros(SHAPE, device_mesh=mesh, placements=[Shard(1)]),
        "other": torch.zeros(SHAPE),
    }
    target = {name: made[name] for name in order}
    pyckpt.load(url, into={"model": target}, options=pyckpt.LoadOptions(replicas="exchange"))
    columns = weight().chunk(4, dim=1)[rank]
    return [
        torch.equal(target["embed"], weight()),
        torch.equal(target["head"].to_local(), columns),
        torch.equal(target["other"], weight() + 1),
    ]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("order", [("embed", "head", "other"), ("other", "head", "embed")])
def test_a_tied_tensor_goes_whole_and_in_parts_to_each_rank(ranks, saved, order, transposed):
    assert ranks(4).run(load_untied, saved, order, transposed) == [[True] * 3] * 4


def load_flat(rank, url):
    flat = torch.zeros(SHAPE[0] * SHAPE[1])
    rule = pyckpt.Declared(SHAPE, (Region.of_box(Box.whole(SHAPE)),), (0, 1, 2, 3))
    target = {"embed": flat, "head": flat, "other": torch.zeros(SHAPE)}
    layout = {"model": {"embed": rule, "head": rule}}
    pyckpt.load(url, into={"model": target}, layout=layout, options=pyckpt.LoadOptions(replicas="exchange"))
    return torch.equal(flat.view(SHAPE), weight())


def test_a_whole_box_in_flat_memory(ranks, saved):
    assert ranks(4).run(load_flat, saved) == [True] * 4


def load_in_inference_mode(rank, url, transposed):
    with torch.inference_mode():
        made = torch.zeros(SHAPE[::-1]).T if transposed else torch.zeros(SHAPE)
    target = {"embed": made, "head": torch.zeros(SHAPE), "other": torch.zeros(SHAPE)}
    before = target["other"]._version
    pyckpt.load(url, into={"model": target}, options=pyckpt.LoadOptions(replicas="exchange"))
    with torch.inference_mode():
        pyckpt.load(url, into={"model": target}, options=pyckpt.LoadOptions(replicas="exchange"))
    return (
        torch.equal(target["embed"], weight()),
        torch.equal(target["head"], weight()),
        target["other"]._version >= before + 2,
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_targets_of_inference_mode(ranks, saved, transposed):
    assert ranks(3).run(load_in_inference_mode, saved, transposed) == [(True, True, True)] * 3


def push_to_inference(rank):
    mode = torch.inference_mode() if rank else torch.no_grad()
    with mode:
        target = {"w": torch.zeros(SHAPE), "small": torch.zeros(3, 4).T}
    state = {"w": weight(), "small": torch.arange(12.0).view(4, 3)} if rank == 0 else None
    with torch.inference_mode():
        resharder = pyckpt.Resharder(state, target)
    resharder.run()
    return torch.equal(target["w"], weight()) and torch.equal(target["small"], torch.arange(12.0).view(4, 3))


def test_live_targets_of_inference_mode(ranks):
    assert ranks(2).run(push_to_inference) == [True, True]


def save_stages(rank, url):
    pyckpt.save(url, {f"stage{rank}": {"w": torch.full((4, 4), float(rank))}, "all": {"n": 3}})


def load_stages(rank, url, replicas):
    """Each rank has objects for the item of its stage alone, and rank 0 none that the others have."""
    target = {"w": torch.zeros(4, 4)}
    options = pyckpt.LoadOptions(replicas=replicas)
    pyckpt.load(url, into={f"stage{rank}": target} if rank < 2 else {}, options=options)
    return float(target["w"].sum())


@pytest.mark.parametrize("replicas", ["read", "auto"])
def test_ranks_load_different_items(ranks, tmp_path, replicas):
    url = str(tmp_path / "step")
    ranks(3).run(save_stages, url)
    assert ranks(3).run(load_stages, url, replicas) == [0.0, 16.0, 0.0]
