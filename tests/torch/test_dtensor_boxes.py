"""The regions of DTensors against what torch itself puts on each rank."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.tensor.placement_types import Shard, _StridedShard

from pyckpt.torch.dtensor import Split, held_boxes, replica_group, split_runs


def rows(runs):
    return [i for start, stop in runs for i in range(start, stop)]


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=3), st.data())
def test_splits_are_those_of_the_placements(size, steps, data):
    index = torch.arange(size)
    runs = ((0, size),) if size else ()
    for count, factor in steps:
        placement = _StridedShard(0, split_factor=factor) if factor else Shard(0)
        mine = data.draw(st.integers(0, count - 1))
        parts, _ = placement._split_tensor(index, count, with_padding=False)
        index = parts[mine]
        runs = split_runs(runs, count, mine, factor)
    assert rows(runs) == index.tolist()


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 4))
def test_fsdp_over_tensor_parallel_is_cut_right_to_left(size, dp, tp):
    # FSDP2 over a tensor-parallel dimension: tp is cut first, whatever the order of the mesh.
    index = torch.arange(size)
    for d in range(dp):
        for t in range(tp):
            inner = Shard(0)._split_tensor(index, tp, with_padding=False)[0][t]
            want = Shard(0)._split_tensor(inner, dp, with_padding=False)[0][d].tolist()
            splits = [Split(0, dp, d, tp), Split(0, tp, t)]
            boxes = held_boxes((size,), splits, (len(want),))
            assert boxes is not None
            assert [i for b in boxes for i in range(b.box.offset[0], b.box.offset[0] + b.box.size[0])] == want


def test_a_cross_product_of_runs():
    splits = [Split(0, 2, 1, 2), Split(1, 2, 0, 3)]
    boxes = held_boxes((8, 6), splits, (4, 3))
    grid = torch.arange(48).view(8, 6)
    want = grid[[2, 3, 6, 7]][:, [0, 2, 4]]
    got = torch.full((4, 3), -1)
    assert len(boxes) == 6
    for held in boxes:
        (r, c), (h, w) = held.box.offset, held.box.size
        got[held.local[0] : held.local[0] + h, held.local[1] : held.local[1] + w] = grid[r : r + h, c : c + w]
    assert torch.equal(got, want)


def test_a_local_shape_that_contradicts():
    assert held_boxes((8,), [Split(0, 2, 0)], (3,)) is None
    assert held_boxes((1, 7), [Split(0, 4, 3)], (0, 7)) == ()
    assert held_boxes((), [], ()) is not None


@pytest.mark.parametrize(("cut", "want"), [((True, True), (5,)), ((True, False), (3, 4, 5)), ((False, True), (2, 5)), ((False, False), (0, 1, 2, 3, 4, 5))])
def test_replica_groups(cut, want):
    mesh = torch.arange(6).view(2, 3)
    assert replica_group(mesh, (1, 2), cut) == want
    assert math.prod(mesh.shape) == 6
