"""What several ranks can't save together is refused on every one of them, and nothing is left behind."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import pyckpt
from pyckpt.errors import (
    AlreadyExists,
    Corrupt,
    PyckptError,
    RankError,
    StateDiverged,
    UnsupportedState,
    UsageError,
)

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 4
LIMITS = {"timeout": 20.0, "silence": 5.0}


def save(rank, store, make, options):
    pyckpt.save(f"{store}/bad", make(rank), options=pyckpt.SaveOptions(**LIMITS, **options(rank)))


def save_good(rank, store, name):
    return pyckpt.save(f"{store}/{name}", {"model": {"w": torch.arange(12.0), "n": 3}}).digest


def nothing(rank):
    return {}


def refused(ranks, store, make, options=nothing, *, function=save):
    """The errors of all ranks, after it was seen that nothing was committed or left, and that a good save follows."""
    outcomes = ranks(SIZE).outcomes(function, str(store), make, options)
    assert all(one.error is not None for one in outcomes), [one.trace or one.value for one in outcomes]
    assert pyckpt.list(store) == []
    assert files(store) == []
    digests = ranks(SIZE).run(save_good, str(store), "good")
    assert len(set(digests)) == 1
    assert pyckpt.verify(f"{store}/good").ok
    return [one.error for one in outcomes]


def files(store):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(store) for name in names)


def says(error, *parts):
    text = str(error)
    missing = [part for part in parts if part not in text]
    assert not missing, f"{missing} not in:\n{text}"


# Values that differ


def buffers(rank):
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        for param in net.parameters():
            param.fill_(1.0)
    net[1].running_mean.fill_(1.0 if rank != 2 else 5.0)
    return {"model": net}


@pytest.mark.parametrize("replicas", ["sample", "full"])
def test_buffer_that_differs(ranks, tmp_path, replicas):
    for error in refused(ranks, tmp_path, buffers, sample if replicas == "sample" else full):
        assert type(error) is StateDiverged
        assert error.code == "state.diverged"
        assert [finding.key for finding in error.findings] == ["model/1.running_mean"]
        says(error, "ranks 0, 1, 3 | rank 2", "layout=", "per_rank()", 'replicas="first"')


def sample(rank):
    return {"replicas": "sample"}


def full(rank):
    return {"replicas": "full"}


def first(rank):
    return {"replicas": "first"}


def trust(rank):
    return {"replicas": "trust"}


@pytest.mark.parametrize("options", [first, trust])
def test_buffer_that_differs_is_accepted_on_demand(ranks, tmp_path, options):
    ranks(SIZE).run(save, str(tmp_path), buffers, options)
    mean = pyckpt.load(f"{tmp_path}/bad")["model"]["1.running_mean"]
    assert set(mean.tolist()) <= {1.0, 5.0}
    if options is first:
        assert mean.tolist() == [1.0, 1.0, 1.0]


def large(rank):
    """The difference lies where no sample looks, and rank 0 is the one that differs."""
    value = torch.zeros(4 << 20, dtype=torch.uint8)
    value[300_000] = 7 if rank == 0 else 0
    return {"model": {"deep.table": value}}


def test_difference_outside_of_the_sample(ranks, tmp_path):
    errors = refused(ranks, tmp_path / "full", large, full)
    says(errors[3], "model/deep.table", "rank 0 | ranks 1, 2, 3")
    ranks(SIZE).run(save, str(tmp_path / "first"), large, first)
    assert pyckpt.load(f"{tmp_path}/first/bad")["model"]["deep.table"][300_000] == 7
    ranks(SIZE).run(save, str(tmp_path / "sample"), large, sample)


def experts(rank):
    return {"model": {"shared": torch.ones(3), "experts.0.up": torch.full((2, 2), float(rank))}}


def test_experts_that_nobody_declared(ranks, tmp_path):
    for error in refused(ranks, tmp_path, experts):
        assert error.code == "state.diverged"
        assert [finding.key for finding in error.findings] == ["model/experts.0.up"]
        says(error, "rank 0 | rank 1 | rank 2 | rank 3", "layout=")


def optimizers(rank):
    net = nn.Linear(2, 2)
    with torch.no_grad():
        for param in net.parameters():
            param.fill_(1.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.0)
    for param in net.parameters():
        param.grad = torch.full_like(param, float(rank == 1))
    optimizer.step()
    return {"model": net, "optim": optimizer}


def test_moments_that_differ(ranks, tmp_path):
    for error in refused(ranks, tmp_path, optimizers):
        assert error.code == "state.diverged"
        keys = {finding.key for finding in error.findings}
        assert keys == {f"optim/state/{p}/{m}" for p in ("weight", "bias") for m in ("exp_avg", "exp_avg_sq")}
        says(error, "ranks 0, 2, 3 | rank 1")


def scalars(rank):
    return {"other": {"epoch": 3, "loader": {"position": 10 + (rank == 3)}}}


def test_scalar_that_differs(ranks, tmp_path):
    for error in refused(ranks, tmp_path, scalars):
        assert error.code == "state.diverged"
        says(error, "loader/position", "ranks 0, 1, 2: 10", "rank 3: 11", "per_rank()")


def shapes(rank):
    return {"model": {"w": torch.ones(3 + (rank == 1), 2), "b": torch.ones(2)}}


def test_other_shape_under_one_name(ranks, tmp_path):
    for error in refused(ranks, tmp_path, shapes):
        assert error.code == "state.diverged"
        says(error, "model/w", "[3, 2]", "[4, 2]", "rank 0", "rank 1")


def dtypes(rank):
    return {"model": {"w": torch.ones(3, dtype=torch.float64 if rank == 2 else torch.float32)}}


def test_other_dtype_under_one_name(ranks, tmp_path):
    for error in refused(ranks, tmp_path, dtypes):
        assert error.code == "state.diverged"
        says(error, "model/w", "F32", "F64", "rank 2")


def tree(rank):
    return {"model": {"w": torch.ones(3), "more": 5 if rank == 0 else {"deep": 5}}}


def test_other_tree_on_one_rank(ranks, tmp_path):
    for error in refused(ranks, tmp_path, tree):
        assert error.code == "state.diverged"
        says(error, "more", "rank 0: 5", "ranks 1, 2, 3: a map of 1")


def steps(rank):
    return {"model": {"w": torch.ones(3)}, "other": {"step": 100 if rank != 1 else 99}}


def test_other_step_on_one_rank(ranks, tmp_path):
    for error in refused(ranks, tmp_path, steps):
        assert error.code == "state.diverged"
        says(error, "step", "99", "100", "rank 1")


def names(rank):
    return {"model": {"w": torch.ones(3)}, "optim" if rank else "sgd": {"x": 1}}


def test_path_of_a_value_begins_with_its_item(ranks, tmp_path):
    for error in refused(ranks, tmp_path, scalars):
        assert [finding.key for finding in error.findings] == ["other/loader/position"]


def test_items_may_be_of_some_ranks_only(ranks, tmp_path):
    ranks(SIZE).run(save, str(tmp_path), names, nothing)
    assert set(pyckpt.load(f"{tmp_path}/bad")) == {"model", "optim", "sgd"}


# Placements and regions


def partial(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial

    mesh = init_device_mesh("cpu", (SIZE,))
    tensor = DTensor.from_local(torch.ones(2, 2), mesh, [Partial()], run_check=False)
    return {"model": {"blocks": {"0": {"sum": tensor}}, "w": torch.ones(2)}}


def test_partial_placement(ranks, tmp_path):
    for error in refused(ranks, tmp_path, partial):
        assert type(error) is UsageError
        assert error.code == "state.partial"
        says(error, "model/blocks/0/sum", "Partial", "redistribute")


def parts(rank):
    return {"model": {"experts.up": torch.full((2, 3), float(rank))}}


def gap(rank):
    return {"layout": {"model": {"experts.*": pyckpt.Shard(0, rank, SIZE + 1)}}}


def overlap(rank):
    return {"layout": {"model": {"experts.*": pyckpt.Shard(0, min(rank, 2), SIZE)}}}


def outside(rank):
    return {"layout": {"model": {"experts.*": pyckpt.Shard(0, rank, SIZE, size=7)}}}


def right(rank):
    return {"layout": {"model": {"experts.*": pyckpt.Shard(0, rank, SIZE)}}}


@pytest.mark.parametrize("options", [gap, overlap])
def test_regions_that_do_not_tile(ranks, tmp_path, options):
    for error in refused(ranks, tmp_path, parts, options):
        if options is gap:
            assert type(error) is Corrupt
            assert error.code == "tiling.inexact"
        else:
            # Two ranks that declare one region hold different bytes of it, which is found first.
            assert error.code in ("state.diverged", "tiling.inexact")
        says(error, "model", "experts.up", "layout=")


def test_regions_that_do_not_fit_one_rank(ranks, tmp_path):
    errors = refused(ranks, tmp_path, parts, outside)
    assert type(errors[3]) is UsageError
    assert errors[3].code == "state.layout"
    says(errors[3], "model/experts.up")
    for error in errors[1:3]:
        assert error.code == "rank.failed"
        says(error, "rank 3", "model/experts.up", "state.layout")


def test_the_right_regions_are_taken(ranks, tmp_path):
    ranks(SIZE).run(save, str(tmp_path), parts, right)
    value = pyckpt.load(f"{tmp_path}/bad")["model"]["experts.up"]
    assert torch.equal(value, torch.arange(4.0).repeat_interleave(2)[:, None].expand(8, 3))


# One rank's failure


class Foreign:
    """Nothing that the format can say."""


def unsupported(rank):
    return {"other": {"config": {"a": 1, "thing": Foreign() if rank == 2 else 1}}}


def test_unsupported_object_on_one_rank(ranks, tmp_path):
    errors = refused(ranks, tmp_path, unsupported)
    assert type(errors[2]) is UnsupportedState
    assert errors[2].code == "state.unsupported"
    says(errors[2], "other/config/thing", "Foreign", "state_dict()")
    for rank in (0, 1, 3):
        assert type(errors[rank]) is RankError
        assert errors[rank].code == "rank.failed"
        says(errors[rank], "rank 2", "other/config/thing", "state.unsupported")


class Exploding:
    """An object whose state can't be had on one rank."""

    def __init__(self, rank):
        self.rank = rank

    def state_dict(self):
        if self.rank == 1:
            raise ZeroDivisionError("no state today")
        return {"a": 1}

    def load_state_dict(self, state):
        raise NotImplementedError


def exploding(rank):
    return {"scheduler": Exploding(rank)}


def test_error_of_the_users_own_code(ranks, tmp_path):
    outcomes = ranks(SIZE).outcomes(save, str(tmp_path), exploding, nothing)
    assert "ZeroDivisionError: no state today" in outcomes[1].trace
    for rank in (0, 2, 3):
        assert outcomes[rank].error.code == "rank.failed"
        says(outcomes[rank].error, "rank 1", "ZeroDivisionError", "no state today")
    assert files(tmp_path) == []
    ranks(SIZE).run(save_good, str(tmp_path), "good")


def save_twice(rank, store, make, options):
    pyckpt.save(f"{store}/good", make(rank), options=pyckpt.SaveOptions(**LIMITS))


def test_existing_name(ranks, tmp_path):
    digest = ranks(SIZE).run(save_good, str(tmp_path), "good")[0]
    before = files(tmp_path)
    outcomes = ranks(SIZE).outcomes(save_twice, str(tmp_path), steps_equal, nothing)
    for one in outcomes:
        assert type(one.error) is AlreadyExists
        assert one.error.code == "checkpoint.exists"
        says(one.error, f"{tmp_path}/good", "delete")
    assert files(tmp_path) == before
    assert pyckpt.verify(f"{tmp_path}/good").digest == digest
    ranks(SIZE).run(save_good, str(tmp_path), "next")
    assert len(pyckpt.list(tmp_path)) == 2


def steps_equal(rank):
    return {"model": {"w": torch.zeros(3)}}


# Stores that are not one


def save_own_directory(rank, store, make, options):
    """The same path on every rank, but rank 2 sees another directory there, as on another node's own disk."""
    own = f"{store}-nodes/{2 if rank == 2 else 0}"
    os.makedirs(own, exist_ok=True)
    before = os.getcwd()
    os.chdir(own)
    try:
        save(rank, "/proc/self/cwd", make, options)
    finally:
        os.chdir(before)


@pytest.mark.skipif(not os.path.exists("/proc/self/cwd"), reason="needs a path that differs by process")
def test_node_local_store(ranks, tmp_path):
    outcomes = ranks(SIZE).outcomes(save_own_directory, str(tmp_path), steps_equal, nothing)
    errors = [one.error for one in outcomes]
    assert all(isinstance(error, RankError) for error in errors), [one.trace for one in outcomes]
    assert errors[2].code == "store.split"
    says(errors[2], "rank 2", "rank 0", "shared store")
    for rank in (0, 1, 3):
        assert errors[rank].code == "rank.failed"
        says(errors[rank], "rank 2", "store.split")
    assert files(f"{tmp_path}-nodes") == []
    ranks(SIZE).run(save_good, str(tmp_path), "good")


def save_to_other_urls(rank, store, make, options):
    save(rank, f"{store}/node{rank // 2}", make, options)


def test_ranks_with_different_urls(ranks, tmp_path):
    """No waiting for the long limit: the ranks are there, they only say different things."""
    outcomes = ranks(SIZE).outcomes(save_to_other_urls, str(tmp_path), steps_equal, nothing)
    for one in outcomes:
        assert isinstance(one.error, PyckptError), one.trace
        says(one.error, "node0", "node1")
        assert one.seconds < LIMITS["timeout"] / 2
    assert outcomes[0].error.key == outcomes[1].error.key == "rank 2, rank 3"
    assert outcomes[2].error.key == outcomes[3].error.key == "rank 0"
    assert files(tmp_path) == []
    ranks(SIZE).run(save_good, str(tmp_path), "good")


# Loads


def load_uneven(rank, store, make, options):
    target = {"model": {"w": torch.zeros(12 if rank != 1 else 13), "n": 0}}
    try:
        pyckpt.load(f"{store}/good", into=target, options=pyckpt.LoadOptions(**LIMITS))
    finally:
        assert not target["model"]["w"].any(), "changed by a load that failed"


def test_load_that_fits_on_some_ranks_changes_none(ranks, tmp_path):
    ranks(SIZE).run(save_good, str(tmp_path), "good")
    outcomes = ranks(SIZE).outcomes(load_uneven, str(tmp_path), None, None)
    for outcome in outcomes:
        assert outcome.error.code == "state.mismatch"
        says(outcome.error, "rank 1", "model/w", "[12]", "[13]")
