"""Weights pushed from a training layout into a serving layout after every step, with one plan."""

from __future__ import annotations

import copy
import gc

import pytest

pytest.importorskip("torch")

import torch
import torch.distributed as dist
from torch import nn

import pyckpt
from pyckpt.errors import RankError, StateMismatch
from tests.ranks.seats import Seats
from tests.ranks.test_live_memory import resident

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

WORLD = {0: 4, 4: 8}
"""First rank of the generator -> ranks of the world."""
LIMITS = {"timeout": 60.0, "silence": 20.0}


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(24, 40)
        self.down = nn.Linear(40, 9)
        self.norm = nn.LayerNorm(9)
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x):
        return self.norm(self.down(torch.relu(self.up(x))))


def actor_on(seats):
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    net = Policy()
    fully_shard(net.up, mesh=seats.mesh(seats.size))
    fully_shard(net, mesh=seats.mesh(seats.size))
    return net, torch.optim.AdamW(net.parameters(), lr=0.05)


def generator_on(seats):
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.manual_seed(1)
    return parallelize_module(Policy(), seats.mesh(seats.size), {"up": ColwiseParallel(), "down": RowwiseParallel()})


def full(net):
    """The whole model, from the actor's full tensors, on every rank of the world."""
    out = Policy()
    for name, tensor in out.state_dict().items():
        if net is not None:
            own = net.state_dict()[name]
            tensor.copy_(own.full_tensor() if hasattr(own, "full_tensor") else own)
        dist.broadcast(tensor, 0)
    return out


def gathered(net):
    return {name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in net.state_dict().items()}


def train(actor, optimizer, step):
    torch.manual_seed(100 + step)
    with torch.no_grad():
        actor.scale.add_(1)
    actor(torch.randn(5, 24)).square().mul(torch.arange(9)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def wrong(generator, reference, step):
    """Names in which the generator differs; its output is compared too."""
    with torch.no_grad():
        x = torch.randn(6, 24, generator=torch.Generator().manual_seed(step))
        torch.testing.assert_close(generator(x), reference(x))
    got = gathered(generator)
    return [name for name, want in reference.state_dict().items() if not torch.equal(got[name], want)]


def push(rank, first):
    seats, serving = Seats(0, 4), Seats(first, 2)
    seats.found()
    serving.found()
    actor, optimizer = actor_on(seats) if rank in seats else (None, None)
    generator = generator_on(serving) if rank in serving else None
    resharder = pyckpt.Resharder(actor, generator, options=pyckpt.ReshardOptions(**LIMITS))
    seen = []
    for step in range(4):
        if actor is not None:
            train(actor, optimizer, step)
        report = resharder.run()
        reference = full(actor)
        seen.append(reference.up.weight.detach().clone())
        if generator is not None:
            assert resharder.value is generator
            assert wrong(generator, reference, step) == []
        assert report.seconds > 0
        assert report.tensors == 7
        assert bool(report.sent) == (rank in seats)
    assert not any(torch.equal(a, b) for a, b in zip(seen, seen[1:]))
    gc.collect()
    before = resident("VmRSS")
    buffers = resharder._exchange._buffers
    for _ in range(20):
        resharder.run()
    assert resharder._exchange._buffers is buffers
    assert resident("VmRSS") - before < 2 << 20
    return report.sent, report.received


@pytest.mark.parametrize("first", WORLD)
def test_generator_has_the_actor_s_weights_after_every_step(ranks, first):
    moved = ranks(WORLD[first]).run(push, first)
    assert sum(sent for sent, _ in moved) == sum(received for _, received in moved) > 0
    assert [received for rank, (_, received) in enumerate(moved) if rank not in (first, first + 1)] == [0] * (
        len(moved) - 2
    )


def replaced(rank):
    """Whatever is replaced on either side between two pushes, or before the first, is found again."""
    seats, serving = Seats(0, 4), Seats(2, 2)
    seats.found()
    serving.found()
    actor, optimizer = actor_on(seats)
    generator = generator_on(serving) if rank in serving else None
    resharder = pyckpt.Resharder(actor, generator, options=pyckpt.ReshardOptions(**LIMITS))

    def check(step):
        train(actor, optimizer, step)
        resharder.run()
        reference = full(actor)
        assert generator is None or wrong(generator, reference, step) == []

    def assign_actor():
        fresh = {name: t.detach().clone() for name, t in actor.state_dict().items()}
        actor.load_state_dict(fresh, assign=True)
        optimizer.param_groups[0]["params"] = list(actor.parameters())
        optimizer.state.clear()

    def assign_generator():
        if generator is not None:
            generator.load_state_dict(copy.deepcopy(generator.state_dict()), assign=True)

    def new_storage():
        actor.register_buffer("scale", torch.full((3,), 7.0))
        if generator is not None:
            generator.norm.weight.data = torch.zeros(9)

    for step, change in enumerate((assign_actor, assign_generator, new_storage, assign_generator, assign_actor)):
        change()
        check(step)


def test_replaced_parameters_are_followed(ranks):
    ranks(4).run(replaced)


def relaid(rank, who):
    """The state gets another layout, or another dtype, on some ranks."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = Seats(0, 4).mesh(4)
    values = torch.arange(32.0).view(8, 4)
    state = {"w": distribute_tensor(values, mesh, [Shard(0)])}
    target = {"w": torch.zeros(8, 4)}
    resharder = pyckpt.Resharder(state, target, options=pyckpt.ReshardOptions(**LIMITS))
    resharder.run()
    good = state["w"]
    messages = []
    for bad in (distribute_tensor(values, mesh, [Replicate()]), good.double()):
        if rank in who:
            state["w"] = bad
        target["w"].zero_()
        with pytest.raises(StateMismatch if rank in who else RankError) as caught:
            resharder.run()
        messages.append(str(caught.value))
        assert not target["w"].any()
    if rank in who:
        assert all("state/w" in message and "new Resharder" in message for message in messages)
    else:
        assert all("rank 1" in message for message in messages)
    state["w"] = good
    del state["w"]
    state["v"] = good
    with pytest.raises((StateMismatch, RankError)):
        resharder.run()
    del state["v"]
    state["a"], state["w"] = torch.ones(2), good
    resharder.run()
    assert torch.equal(target["w"], values)
    # The target too.
    target["w"] = torch.zeros(8, 4, dtype=torch.float64) if rank in who else target["w"]
    with pytest.raises(StateMismatch if rank in who else RankError):
        resharder.run()


@pytest.mark.parametrize("who", [(0, 1, 2, 3), (1,)], ids=str)
def test_another_layout_is_refused_on_all_ranks(ranks, who):
    ranks(4).run(relaid, who)
