"""Leaves of DTensors are found again while nothing about them has changed, and never after it has."""

import gc
import weakref

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from pyckpt.torch.collect import collect
from pyckpt.torch.leaf import KnownLeaves


@pytest.fixture(scope="module")
def mesh():
    assert not dist.is_initialized()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield DeviceMesh("cpu", [0])
    dist.destroy_process_group()


def leaves(state, seen):
    (item,) = collect({"model": state}, seen=seen)
    return item.tree


def dtensor(mesh, placement=None, value=0.0):
    return DTensor.from_local(torch.full((4, 2), value), mesh, [placement or Shard(0)], run_check=False)


def test_found_again_after_changes_in_place(mesh):
    seen = KnownLeaves()
    state = {"w": dtensor(mesh), "b": torch.zeros(3)}
    first = leaves(state, seen)["w"]
    state["w"].add_(1.0)
    assert leaves(state, seen)["w"] is first
    assert leaves(state, KnownLeaves())["w"] is not first


def test_made_anew_for_another_object(mesh):
    seen = KnownLeaves()
    state = {"w": dtensor(mesh)}
    first = leaves(state, seen)["w"]
    state["w"] = dtensor(mesh, value=2.0)
    again = leaves(state, seen)["w"]
    assert again is not first
    assert again.pieces[0].source.tensor.data_ptr() == state["w"].to_local().data_ptr()


def test_made_anew_when_the_memory_or_the_layout_is_replaced(mesh):
    seen = KnownLeaves()
    state = {"w": dtensor(mesh)}
    leaves(state, seen)
    # As FSDP2 does when it moves its shards to another device.
    state["w"]._local_tensor = torch.ones(4, 2)
    memory = leaves(state, seen)["w"].pieces[0].source.tensor
    assert memory.data_ptr() == state["w"]._local_tensor.data_ptr()
    state["w"]._spec = dtensor(mesh, Replicate())._spec
    leaf = leaves(state, seen)["w"]
    assert leaf is not leaves(state, KnownLeaves())["w"]
    assert leaves(state, seen)["w"] is leaf


def test_a_tensor_that_left_the_state_is_let_go(mesh):
    seen = KnownLeaves()
    state = {"w": dtensor(mesh)}
    leaves(state, seen)
    memory = weakref.ref(state["w"])
    state["w"] = dtensor(mesh)
    leaves(state, seen)
    leaves(state, seen)
    gc.collect()
    assert memory() is None


def test_a_tied_tensor_is_one_leaf(mesh):
    seen = KnownLeaves()
    tied = dtensor(mesh)
    for _ in range(2):
        tree = leaves({"a": tied, "b": tied}, seen)
        assert tree["a"] is tree["b"]
