"""What can't be moved is refused on every rank, all of it at once, and nothing has moved."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.errors import RankError, StateDiverged, StateMismatch, UnsupportedState, UsageError
from pyckpt.format.geometry import Box, Region
from tests.ranks.seats import Seats

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 4
LIMITS = {"timeout": 30.0, "silence": 8.0}


def line():
    return Seats(0, SIZE).mesh(SIZE)


def spread(values, *placements):
    from torch.distributed.tensor import Shard, distribute_tensor

    return distribute_tensor(values, line(), list(placements) or [Shard(0)], src_data_rank=None)


def attempt(rank, make):
    """One move that must fail; a good one afterwards shows that the ranks are in step."""
    state, target, options = make(rank)
    before = {name: t.clone() for name, t in target.items() if type(t) is torch.Tensor} if isinstance(target, dict) else {}
    try:
        pyckpt.reshard(state, target, options=pyckpt.ReshardOptions(**LIMITS, **options))
    finally:
        assert all(torch.equal(target[name], t) for name, t in before.items())
        good = pyckpt.reshard({"w": torch.ones(4)}, {"w": torch.zeros(4)}, options=pyckpt.ReshardOptions(**LIMITS))
        assert good["w"].all()


def refused(ranks, make):
    outcomes = ranks(SIZE).outcomes(attempt, make)
    assert all(one.error is not None for one in outcomes), [one.trace or one.value for one in outcomes]
    return [one.error for one in outcomes]


def says(error, *parts):
    text = str(error)
    for part in parts:
        assert part in text, f"{part!r} not in\n{text}"


def misfits(rank):
    state = {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(3), "c.bias": torch.ones(2), "d": torch.ones(1)}
    target = {
        "a.weight": torch.zeros(2, 3),
        "b.weight": torch.zeros(3, dtype=torch.float64),
        "c.bais": torch.zeros(2),
        "d": torch.zeros(1),
    }
    return state, target, {}


def test_everything_that_differs_at_once(ranks):
    for error in refused(ranks, misfits):
        assert isinstance(error, StateMismatch)
        says(error, "nothing was moved", "[3, 2]", "[2, 3]", "F32", "F64", "nearest: c.bias", "ReshardOptions(strict=False)")
        assert "checkpoint" not in str(error)
        assert [finding.key for finding in error.findings] == [
            "state/a.weight",
            "state/b.weight",
            "state/c.bais",
            "state/c.bias",
        ]


def on_one_rank(rank):
    state = {"a": torch.ones(3), "b": torch.ones(2)}
    return state, {"a": torch.zeros(3), "b": torch.zeros(4 if rank == 2 else 2)}, {}


def test_a_misfit_on_one_rank(ranks):
    for error in refused(ranks, on_one_rank):
        assert isinstance(error, StateMismatch)
        says(error, "state/b", "rank 2")


def left_out(rank):
    from torch.distributed.tensor import Shard

    state = {"layers.0.weight": torch.ones(3), "layers.1.weight": torch.ones(3), "head.weigth": torch.ones(3)}
    return state, {"layers.*": (line(), [Shard(0)]), "head.weight": (line(), [Shard(0)])}, {}


def two_match(rank):
    from torch.distributed.tensor import Shard

    state = {"layers.0.weight": torch.ones(3), "layers.1.weight": torch.ones(3), "z": torch.ones(3)}
    rules = {
        "layers.*": (line(), [Shard(0)]),
        "*.weight": (line(), [Shard(0)]),
        "layers.1.weight": (line(), [Shard(0)]),
        "z": (line(), [Shard(0)]),
    }
    return state, rules, {}


def test_names_that_no_rule_or_two_rules_match(ranks):
    for error in refused(ranks, left_out):
        assert [finding.key for finding in error.findings] == ["state/head.weigth"]
        says(error, "the target has no", "nearest: head.weight")
    for error in refused(ranks, two_match):
        # A full name goes before patterns.
        assert [finding.key for finding in error.findings] == ["state/layers.0.weight"]
        says(error, "*.weight, layers.*")


def gaps(rank):
    own = Region.of_box(Box((2 * rank, 0), (2, 3)))
    declared = pyckpt.Declared((9, 3), (own,))
    state = {"w": torch.ones(2, 3), "v": torch.ones(2, 3), "whole": torch.ones(2)}
    return state, "whole", {"layout": {"state": {"w": declared, "v": declared}}}


def test_what_the_ranks_do_not_hold(ranks):
    errors = refused(ranks, gaps)
    for error in errors:
        assert isinstance(error, UsageError)
        assert error.code == "state.layout"
        says(error, "27 elements", "24 of them")
        assert sorted(finding.key for finding in error.findings) == ["state/v", "state/w"]


def diverged(rank):
    state = {"same": torch.ones(4), "norm.weight": torch.full((3,), float(rank == 2)), "step": torch.tensor(rank // 2)}
    return state, {"same": torch.zeros(4), "norm.weight": torch.zeros(3), "step": torch.tensor(0)}, {}


def ways_out(rank):
    from torch.distributed.tensor import DTensor, Replicate

    state, target, _ = diverged(rank)
    pyckpt.reshard(state, target, options=pyckpt.ReshardOptions(**LIMITS, replicas="first"))
    assert target["norm.weight"].tolist() == [0, 0, 0]
    assert target["step"] == 0
    state, target, _ = diverged(rank)
    pyckpt.reshard(state, target, options=pyckpt.ReshardOptions(**LIMITS, replicas="trust"))
    # Every rank has its own already.
    assert target["norm.weight"].tolist() == state["norm.weight"].tolist()
    assert target["step"] == rank // 2
    # The middle of a large tensor is not in the sample.
    large = torch.ones(1 << 20)
    large[400_000] = rank == 1
    pyckpt.reshard({"w": large}, {"w": torch.zeros(1 << 20)}, options=pyckpt.ReshardOptions(**LIMITS))
    with pytest.raises(StateDiverged):
        pyckpt.reshard({"w": large}, {"w": torch.zeros(1 << 20)}, options=pyckpt.ReshardOptions(**LIMITS, replicas="full"))
    replicate = DTensor.from_local(torch.full((3,), float(rank == 1)), line(), [Replicate()], run_check=False)
    with pytest.raises(StateDiverged, match="rank 1"):
        pyckpt.reshard({"w": replicate}, {"w": torch.zeros(3)}, options=pyckpt.ReshardOptions(**LIMITS))


def test_replicas_that_differ(ranks):
    for error in refused(ranks, diverged):
        assert isinstance(error, StateDiverged)
        findings = {finding.key: finding.message for finding in error.findings}
        assert set(findings) == {"state/norm.weight", "state/step"}
        assert "ranks 0, 1, 3 | rank 2" in findings["state/norm.weight"]
        assert "ranks 0, 1 | ranks 2, 3" in findings["state/step"]
        says(error, "replicas")
    ranks(SIZE).run(ways_out)


def overlapping(rank):
    memory = torch.arange(10.0)
    return {"w": memory[:6]}, {"w": memory[2:8] if rank == 1 else torch.zeros(6)}, {}


def swapped(rank):
    a, b = torch.ones(4), torch.zeros(4)
    return {"a": a, "b": b}, {"a": b, "b": a}, {}


def moved_within(rank):
    """One buffer, declared as other rows of the whole in the target than in the state."""
    memory = torch.full((1, 3), float(rank))
    layout = {"state": {"w": pyckpt.Shard(0, rank, SIZE)}}
    into = {"state": {"w": pyckpt.Shard(0, (rank + 1) % SIZE, SIZE)}}
    return {"w": memory}, {"w": memory}, {"layout": layout, "into_layout": into}


def into_itself(rank):
    tensors = {"w": spread(torch.arange(8.0)), "v": torch.ones(3)}
    pyckpt.reshard(tensors, dict(tensors), options=pyckpt.ReshardOptions(**LIMITS))
    assert tensors["w"].full_tensor().tolist() == list(range(8))
    assert tensors["v"].tolist() == [1, 1, 1]


def test_targets_in_the_memory_of_sources(ranks):
    errors = refused(ranks, overlapping)
    assert isinstance(errors[1], UsageError)
    says(errors[1], "shares memory", "memory of its own")
    for error in (errors[0], errors[2], errors[3]):
        assert isinstance(error, RankError)
        says(error, "rank 1", "shares memory")
    for make in (swapped, moved_within):
        for error in refused(ranks, make):
            says(error, "shares memory")
    ranks(SIZE).run(into_itself)


def pending(rank):
    from torch.distributed.tensor import DTensor, Partial

    tensor = DTensor.from_local(torch.ones(3), line(), [Partial()], run_check=False)
    return {"w": tensor}, {"w": torch.zeros(3)}, {}


def pending_target(rank):
    from torch.distributed.tensor import Partial

    return {"w": torch.ones(3)}, {"w": (line(), [Partial()])}, {}


def a_word(rank):
    return {"w": torch.ones(3)}, "hole", {}


def too_few_placements(rank):
    from torch.distributed.tensor import Shard

    return {"w": torch.ones(3, 3)}, {"w": (line(), [Shard(0), Shard(1)])}, {}


def beyond_the_last_dimension(rank):
    from torch.distributed.tensor import Shard

    return {"w": torch.ones(3, 3)}, {"w": (line(), [Shard(2)])}, {}


def a_shard_rule(rank):
    return {"w": torch.ones(3, 3)}, {"w": pyckpt.Shard(0, rank, SIZE)}, {}


def other_regions(rank):
    return {"w": torch.ones(3, 3)}, {"w": pyckpt.Declared((2, 3), (Region.whole((2, 3)),))}, {}


def regions_outside(rank):
    return {"w": torch.ones(3, 3)}, {"w": pyckpt.Declared((3, 3), (Region.of_box(Box((2, 0), (2, 3))),))}, {}


def unknown_item(rank):
    return {"model": {"w": torch.ones(3)}}, {"modle": {"w": torch.zeros(3)}}, {}


def small_budget(rank):
    return {"w": torch.ones(3)}, {"w": torch.zeros(3)}, {"budget_bytes": 100}


def budgets(rank):
    return {"w": torch.ones(3)}, {"w": torch.zeros(3)}, {"budget_bytes": (1 << 20) + rank // 3}


def meta(rank):
    return {"w": torch.ones(3, device="meta")}, {"w": torch.zeros(3)}, {}


def an_object(rank):
    return {"w": torch.ones(3), "o": object()}, {"w": torch.zeros(3)}, {}


@pytest.mark.parametrize(
    ("make", "kind", "code", "parts"),
    [
        (pending, UsageError, "state.partial", ["state/w"]),
        (pending_target, UsageError, "state.partial", ["w", "Partial"]),
        (a_word, UsageError, "usage.invalid", ["'hole'", "'whole'"]),
        (too_few_placements, UsageError, "usage.invalid", ["2 placements", "1 dimensions"]),
        (beyond_the_last_dimension, UsageError, "state.layout", ["[3, 3]"]),
        (a_shard_rule, UsageError, "usage.invalid", ["Declared"]),
        (other_regions, StateMismatch, "state.mismatch", ["[2, 3]", "[3, 3]"]),
        (regions_outside, UsageError, "state.layout", ["state/w"]),
        (unknown_item, UsageError, "usage.invalid", ["modle", "model"]),
        (small_budget, UsageError, "usage.invalid", ["100", "4096"]),
        (budgets, UsageError, "usage.invalid", ["budget_bytes", "1048577"]),
        (meta, UnsupportedState, "state.unsupported", ["state/w", "meta"]),
        (an_object, UnsupportedState, "state.unsupported", ["state/o"]),
    ],
)
def test_calls_that_make_no_sense(ranks, make, kind, code, parts):
    for error in refused(ranks, make):
        assert isinstance(error, kind)
        assert error.code == code
        says(error, *parts)


def one_rank_fails(rank):
    """What goes wrong on one rank alone, beyond the reach of any check, before anything has been sent."""
    from pyckpt.torch.exchange import Exchange

    resharder = None
    real = Exchange._prepare
    state, target = {"w": spread(torch.arange(64.0).view(8, 8))}, {"w": torch.zeros(8, 8)}

    def without_memory(self, schedule):
        raise MemoryError("no memory for buffers")

    def make():
        return pyckpt.Resharder(state, target, options=pyckpt.ReshardOptions(**LIMITS))

    if rank == 2:
        Exchange._prepare = without_memory
    try:
        with pytest.raises(MemoryError if rank == 2 else RankError) as caught:
            make()
        assert rank == 2 or "rank 2" in str(caught.value)
        Exchange._prepare = real
        resharder = make()
        resharder.run()
        state["w"] = state["w"].clone()
        if rank == 2:
            Exchange._prepare = without_memory
        with pytest.raises(MemoryError if rank == 2 else RankError):
            resharder.run()
    finally:
        Exchange._prepare = real
    target["w"].zero_()
    resharder.run()
    assert target["w"].view(-1).tolist() == list(range(64))


def test_a_failure_on_one_rank_is_one_on_all(ranks):
    ranks(SIZE).run(one_rank_fails)


def partly(rank):
    state = {"a": torch.ones(3), "b": torch.ones(2)}
    target = {"a": torch.zeros(3), "c": torch.zeros(2)}
    with pytest.raises(StateMismatch):
        pyckpt.reshard(state, target, options=pyckpt.ReshardOptions(**LIMITS))
    pyckpt.reshard(state, target, options=pyckpt.ReshardOptions(**LIMITS, strict=False))
    assert target["a"].all()
    assert not target["c"].any()
    rules = {"a": pyckpt.Declared((3,), (Region.whole((3,)),))}
    got = pyckpt.reshard(state, rules, options=pyckpt.ReshardOptions(**LIMITS, strict=False))
    assert list(got) == ["a"]


def test_not_strict_takes_what_there_is(ranks):
    ranks(SIZE).run(partly)
