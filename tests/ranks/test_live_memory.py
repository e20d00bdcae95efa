"""What a live move needs beside source and target: the buffers of its plan, within the budget, and little else."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.format.geometry import Region
from tests.ranks.seats import Seats

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the system does not tell the peak memory"),
]

SIZE = 4
BUDGET = 8 << 20
SIDE = 1232
COUNT = 16
"""Tensors of 6 MB each: about 100 MB in all."""
SLACK = 3 << 20
"""For what an exchange has beside its buffers: the plan's objects, views, and threads."""


def resident(field):
    with open("/proc/self/status", encoding="ascii") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(field))


class Peak:
    """Growth of the process's largest memory from now on."""

    def __init__(self):
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        self._before = resident("VmHWM")

    def growth(self):
        return resident("VmHWM") - self._before


def sharded(values, placement, *, lie=lambda local: local):
    """A DTensor whose local tensor has been laid into memory by ``lie``."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    mesh = Seats(0, SIZE).mesh(SIZE)
    local = distribute_tensor(values, mesh, [placement], src_data_rank=None).to_local()
    laid = lie(local.clone())
    assert laid.shape == local.shape
    return DTensor.from_local(
        laid, mesh, [placement], run_check=False, shape=values.shape, stride=values.stride()
    )


def transposed(local):
    return local.T.contiguous().T


def channels_last(local):
    return local.to(memory_format=torch.channels_last)


def make(case, rank, number, *, fill):
    """One tensor of ``case``: what this rank has of it (``fill``), or wants of it."""
    from torch.distributed.tensor import Shard

    shape = (SIDE, SIDE) if case != "channels_last" else (SIDE // 4, SIDE // 4, 4, 4)
    values = torch.arange(number, number + SIDE * SIDE, dtype=torch.float32).view(shape)
    want = values if fill else torch.full(shape, -1.0)
    dim = 0 if fill else 1
    lie = {"transposed": transposed, "channels_last": channels_last}.get(case, torch.clone)
    if case == "flat" and not fill:
        run = run_of(rank)
        return torch.full((run.elements,), -1.0), values.view(-1)[run.start : run.stop]
    if case == "flat":
        lie = transposed
    return sharded(want, Shard(dim), lie=lie), sharded(values, Shard(dim)).to_local()


def measure(rank, case):
    options = pyckpt.ReshardOptions(budget_bytes=BUDGET, replicas="trust", into_layout=runs(rank) if case == "flat" else {})
    # Threads, connections and modules that the first exchange of a process brings in.
    small = pyckpt.ReshardOptions(budget_bytes=BUDGET)
    pyckpt.reshard({"w": torch.ones(1000)}, {"w": torch.zeros(1000)}, options=small)
    from torch.distributed.tensor import Shard

    warm = {"w": sharded(torch.ones(SIZE * 64, SIZE * 64), Shard(0))}
    pyckpt.reshard(warm, {"w": sharded(torch.zeros(SIZE * 64, SIZE * 64), Shard(1))}, options=small)

    source = {f"w{number}": make(case, rank, number, fill=True)[0] for number in range(COUNT)}
    target = {f"w{number}": make(case, rank, number, fill=False)[0] for number in range(COUNT)}
    peak = Peak()
    resharder = pyckpt.Resharder(source, target, options=options)
    first = resharder.run()
    whole = peak.growth()
    peak = Peak()
    second = resharder.run()
    again = peak.growth()
    for number in range(COUNT):
        got = target[f"w{number}"]
        want = make(case, rank, number, fill=False)[1]
        assert torch.equal(got.to_local() if hasattr(got, "to_local") else got, want), number
    assert first.buffers == second.buffers
    return {
        "whole": whole,
        "again": again,
        "received": first.received,
        "buffers": first.buffers,
        "planned": first.planned_buffers,
        "waves": first.waves,
    }


def run_of(rank):
    """Begins and ends in the middle of rows, most of them on other ranks."""
    share = SIDE * SIDE // SIZE
    start = share * ((rank + 2) % SIZE) + share // 3
    return Region.flat((SIDE, SIDE), start, min(SIDE * SIDE, start + share))


def runs(rank):
    return {"state": {"*": pyckpt.Declared((SIDE, SIDE), (run_of(rank),))}}


@pytest.mark.parametrize("case", ["contiguous", "transposed", "channels_last", "flat"])
def test_peak_of_memory_is_the_plan_s(ranks, case):
    for rank, one in enumerate(ranks(SIZE).run(measure, case)):
        text = f"rank {rank}: {one}"
        assert one["received"] > 15 << 20, text
        assert one["waves"] > 4, text
        assert 0 < one["buffers"] <= one["planned"] <= BUDGET, text
        assert one["whole"] <= one["planned"] + SLACK, text
        assert one["again"] <= SLACK, text


def measure_within(rank):
    """Nothing is sent, and the memory of either side is in another order than the other's."""
    large = torch.arange(float(4 * SIDE * SIDE)).view(2 * SIDE, 2 * SIDE)
    source = {"rows": transposed(large), "run": large}
    target = {"rows": torch.zeros(2 * SIDE, 2 * SIDE), "run": transposed(torch.zeros(SIDE, 2 * SIDE))}
    run = pyckpt.Declared((2 * SIDE, 2 * SIDE), (Region.flat((2 * SIDE, 2 * SIDE), 99, 99 + 2 * SIDE * SIDE),))
    small = pyckpt.ReshardOptions(replicas="trust")
    pyckpt.reshard({"w": torch.ones(64, 64).T}, {"w": torch.zeros(64, 64)}, options=small)
    peak = Peak()
    options = pyckpt.ReshardOptions(replicas="trust", into_layout={"state": {"run": run}})
    pyckpt.reshard(source, target, options=options)
    growth = peak.growth()
    assert torch.equal(target["rows"], large)
    assert torch.equal(target["run"].reshape(-1), large.view(-1)[99 : 99 + 2 * SIDE * SIDE])
    return growth


def test_copies_within_a_rank_need_no_memory(ranks):
    """Sources of 24 MB each."""
    assert max(ranks(SIZE).run(measure_within)) <= SLACK
