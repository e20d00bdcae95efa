import copy
import warnings

import pytest
import torch
from fake_engine import Item, load
from torch import nn

import pyckpt.torch as pt
from pyckpt.errors import StateMismatch, UsageError


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


class NoLr(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"alpha": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    state["n"] = state.get("n", 0) + 1
                    p.mul_(1 - group["alpha"])


def step(m, o):
    torch.manual_seed(5)
    o.zero_grad()
    m(torch.randn(4, 3)).square().sum().backward()
    o.step()


MAKERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
    "rmsprop": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=3),
    "tensor-lr": lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-2)),
    "no-lr": NoLr,
    "adafactor": lambda p: torch.optim.Adafactor(p),
}


@pytest.mark.parametrize("name", MAKERS)
def test_round_trip_continues_the_same_way(name):
    m = model()
    o = MAKERS[name](m.parameters())

    def advance(m, o):
        if name != "lbfgs":
            return step(m, o)
        torch.manual_seed(5)
        x = torch.randn(4, 3)

        def closure():
            o.zero_grad()
            loss = m(x).square().sum()
            loss.backward()
            return loss

        return o.step(closure)

    for _ in range(2):
        advance(m, o)
    before = copy.deepcopy(m.state_dict())
    items = {s.name: Item([s]) for s in pt.collect({"model": m, "optimizer": o})}
    assert all(torch.equal(before[k], v) for k, v in m.state_dict().items())

    m2 = model(1)
    o2 = MAKERS[name](m2.parameters())
    lr = o2.param_groups[0].get("lr")
    bound = pt.binders({"model": m2, "optimizer": o2})
    untouched = copy.deepcopy(m2.state_dict())
    assert load(items["optimizer"], bound["optimizer"]) is o2
    assert all(torch.equal(untouched[k], v) for k, v in m2.state_dict().items())
    assert load(items["model"], bound["model"]) is m2
    if isinstance(lr, torch.Tensor):
        assert o2.param_groups[0]["lr"] is lr
    for a, b in zip(m.parameters(), m2.parameters(), strict=True):
        assert torch.equal(a, b)
        assert set(o.state[a]) == set(o2.state[b]) if name != "lbfgs" else True
    for _ in range(2):
        advance(m, o)
        advance(m2, o2)
    for a, b in zip(m.parameters(), m2.parameters(), strict=True):
        assert torch.equal(a, b)


def test_never_steps_and_stays_empty_before_the_first_step():
    m = model()
    o = torch.optim.AdamW(m.parameters(), weight_decay=0.1)
    o.register_step_pre_hook(lambda *a: pytest.fail("a step was taken"))
    state = pt.collect({"model": m, "optimizer": o})
    assert state[1].tree["state"] == {}
    assert not o.state
    m2 = model(1)
    o2 = torch.optim.AdamW(m2.parameters(), lr=5.0)
    step(m2, o2)
    load(Item([state[1]]), pt.binders({"model": m2, "optimizer": o2})["optimizer"])
    assert len(o2.state) == 0
    assert o2.param_groups[0]["lr"] == 1e-3


def test_frozen_and_unused_parameters_have_no_state():
    m = model()
    m[0].weight.requires_grad_(False)
    o = torch.optim.AdamW(m.parameters())
    step(m, o)
    item = Item([pt.collect({"m": m, "o": o})[1]])
    assert "0.weight" not in item.tree["state"]
    m2 = model(1)
    o2 = torch.optim.AdamW(m2.parameters())
    load(item, pt.binders({"m": m2, "o": o2})["o"])
    assert m2[0].weight not in o2.state
    assert set(o2.state[m2[2].bias]) == {"step", "exp_avg", "exp_avg_sq"}


def test_groups_have_ids_and_any_order():
    m = model()
    weights = [p for p in m.parameters() if p.ndim == 2]
    biases = [p for p in m.parameters() if p.ndim == 1]
    o = torch.optim.SGD([{"params": weights, "name": "decay", "weight_decay": 0.5}, {"params": biases, "lr": 7.0}], lr=0.1)
    (_, state) = pt.collect({"m": m, "o": o})
    assert set(state.tree["groups"]) == {"decay", "1"}
    assert state.tree["groups"]["1"]["params"] == {"0.bias", "2.bias"}
    m2 = model(1)
    weights = [p for p in m2.parameters() if p.ndim == 2]
    biases = [p for p in m2.parameters() if p.ndim == 1]
    o2 = torch.optim.SGD([{"params": biases[::-1]}, {"params": weights[::-1]}], lr=0.3)
    load(Item([state]), pt.binders({"m": m2, "o": o2})["o"])
    assert [g["lr"] for g in o2.param_groups] == [7.0, 0.1]
    assert [g["weight_decay"] for g in o2.param_groups] == [0, 0.5]
    # parameters of one group here that were in two groups there: whose options?
    o3 = torch.optim.SGD(m2.parameters(), lr=0.3)
    with pytest.raises(StateMismatch, match="several groups"):
        load(Item([state]), pt.binders({"m": m2, "o": o3})["o"])


def test_parameters_of_no_module():
    m = model()
    o = torch.optim.SGD(m.parameters())
    with pytest.raises(UsageError, match="with_model"):
        pt.collect({"o": o})
    (state,) = pt.collect({"o": pt.with_model(o, m)})
    assert state.kind == "optimizer"
    load(Item([state]), pt.binders({"o": pt.with_model(o, m)})["o"])


def test_two_modules_with_the_same_names():
    a, b = model(), model(1)
    o = torch.optim.SGD([*a.parameters(), *b.parameters()], momentum=0.9)
    tree = pt.collect({"actor": a, "critic": b, "o": o})[2].tree
    assert "actor.0.weight" in tree["groups"]["0"]["params"]
    assert "critic.0.weight" in tree["groups"]["0"]["params"]
    only = torch.optim.SGD(a.parameters(), momentum=0.9)
    tree = pt.collect({"actor": a, "critic": b, "o": only})[2].tree
    assert "0.weight" in tree["groups"]["0"]["params"]


def test_tied_parameters_have_state_under_one_name_and_load_under_the_other():
    def tied(order):
        m = nn.Module()
        for name in order:
            m.add_module(name, nn.Linear(3, 3, bias=False))
        m.b.weight = m.a.weight
        return m

    m, m2 = tied("ab"), tied("ba")
    o = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
    m.a(torch.ones(3)).sum().backward()
    o.step()
    state = pt.collect({"m": m, "o": o})[1]
    assert list(state.tree["state"]) == ["a.weight"]
    o2 = torch.optim.SGD(m2.parameters(), lr=0.1, momentum=0.9)
    load(Item([state]), pt.binders({"m": m2, "o": o2})["o"])
    assert torch.equal(o.state[m.a.weight]["momentum_buffer"], o2.state[m2.b.weight]["momentum_buffer"])


def test_unexpected_state_is_reported_and_can_be_left_out():
    m = model()
    o = torch.optim.SGD(m.parameters(), momentum=0.9)
    step(m, o)
    item = Item([pt.collect({"m": m, "o": o})[1]])
    part = nn.Sequential(model()[0])
    o2 = torch.optim.SGD(part.parameters(), momentum=0.9)
    with pytest.raises(StateMismatch, match=r"2\.weight"):
        load(item, pt.binders({"m": part, "o": o2})["o"])
    binder = pt.binders({"m": part, "o": o2}, pt.BindOptions(strict=False))["o"]
    assert {f.key for f in binder.bind(item).unexpected} == {"state/2.weight", "state/2.bias"}
    load(item, binder, strict=False)
    assert len(o2.state) == 2


def test_scheduler():
    m = model()
    o = torch.optim.SGD(m.parameters(), lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        s = torch.optim.lr_scheduler.StepLR(o, 2)
        s.step()
        s.step()
        (state,) = pt.collect({"scheduler": s})
        assert state.kind == "scheduler"
        o2 = torch.optim.SGD(m.parameters(), lr=1.0)
        s2 = torch.optim.lr_scheduler.StepLR(o2, 2)
        load(Item([state]), pt.binders({"scheduler": s2})["scheduler"])
    assert s2.state_dict() == s.state_dict()
