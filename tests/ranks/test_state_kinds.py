"""Every kind of state that a training run holds, saved and loaded by real ranks through the facade."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import nn

import pyckpt
from pyckpt.torch import per_rank

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 2


def net(value=1.0, *, sharded=False):
    out = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    with torch.no_grad():
        for number, param in enumerate(out.parameters()):
            param.copy_(torch.arange(param.numel()).view(param.shape) + number + value)
    if sharded:
        from torch.distributed.fsdp import fully_shard

        fully_shard(out)
    return out


def grads(module, *, skip=()):
    for name, param in module.named_parameters():
        param.grad = None if name in skip or not param.requires_grad else torch.ones_like(param) / 4


def copies(module):
    return {name: whole(tensor).clone() for name, tensor in module.state_dict().items()}


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(whole(a[key]), whole(b[key])) for key in a)


# Optimizers


def before_the_first_step(rank, store, sharded):
    model = net(sharded=sharded)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.125, weight_decay=0.5)
    steps = []
    optimizer.register_step_pre_hook(lambda *_: steps.append("save"))
    weights = copies(model)
    pyckpt.save(f"{store}/new", {"model": model, "optim": optimizer})
    assert not optimizer.state
    assert equal(copies(model), weights)
    other = net(7.0, sharded=sharded)
    target = torch.optim.AdamW(other.parameters(), lr=9.0)
    grads(other)
    target.step()
    target.register_step_pre_hook(lambda *_: steps.append("load"))
    pyckpt.load(f"{store}/new", into={"model": other, "optim": target})
    assert not steps
    assert len(target.state) == 0, "state from nowhere"
    assert target.param_groups[0]["lr"] == 0.125
    assert equal(copies(other), weights)


@pytest.mark.parametrize("sharded", [False, True])
def test_optimizer_before_its_first_step(ranks, tmp_path, sharded):
    ranks(SIZE).run(before_the_first_step, str(tmp_path), sharded)


class NoRate(torch.optim.Optimizer):
    """An optimizer that has no ``lr``, so that no step of it is harmless."""

    def __init__(self, params, power=0.5):
        super().__init__(params, {"power": power})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    state = self.state[param]
                    state["count"] = state.get("count", 0) + 1
                    state["mean"] = state.get("mean", torch.zeros_like(param)) + param.grad
                    param.mul_(group["power"])


def without_rate(rank, store, sharded):
    model = net(sharded=sharded)
    optimizer = NoRate(model.parameters())
    grads(model)
    optimizer.step()
    pyckpt.save(f"{store}/x", {"model": model, "optim": optimizer})
    other = net(7.0, sharded=sharded)
    weights = copies(other)
    target = NoRate(other.parameters(), power=0.25)
    loaded = pyckpt.load(f"{store}/x", into={"optim": pyckpt.with_model(target, other)})
    assert set(loaded) == {"optim"}
    assert equal(copies(other), weights), "loading an optimizer moved the weights"
    assert target.param_groups[0]["power"] == 0.5
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert target.state[b]["count"] == 1
        assert torch.equal(whole(optimizer.state[a]["mean"]), whole(target.state[b]["mean"]))


@pytest.mark.parametrize("sharded", [False, True])
def test_optimizer_without_a_rate(ranks, tmp_path, sharded):
    ranks(SIZE).run(without_rate, str(tmp_path), sharded)


def frozen_and_unused(rank, store, sharded):
    model = net(sharded=sharded)
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.5)
    grads(model, skip=("2.bias",))
    optimizer.step()
    pyckpt.save(f"{store}/x", {"model": model, "optim": optimizer})
    other = net(7.0, sharded=sharded)
    other[0].weight.requires_grad_(False)
    target = torch.optim.AdamW([p for p in other.parameters() if p.requires_grad], lr=9.0)
    pyckpt.load(f"{store}/x", into={"model": other, "optim": target})
    assert equal(copies(model), copies(other))
    assert not other[0].weight.requires_grad
    held = {name for name, param in other.named_parameters() if target.state.get(param)}
    assert held == {"0.bias", "1.weight", "1.bias", "2.weight"}
    for module, optim in ((model, optimizer), (other, target)):
        grads(module)
        optim.step()
    assert equal(copies(model), copies(other)), "the next step differs"


@pytest.mark.parametrize("sharded", [False, True])
def test_frozen_parameters_and_some_without_gradient(ranks, tmp_path, sharded):
    ranks(SIZE).run(frozen_and_unused, str(tmp_path), sharded)


def by_item(rank, store):
    model = net(sharded=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    grads(model)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
    for _ in range(4):
        scheduler.step()
    weights = copies(model)
    pyckpt.save(f"{store}/all", {"model": model, "optim": optimizer, "scheduler": scheduler, "note": {"epoch": 3}})
    pyckpt.save(f"{store}/optim", {"optim": pyckpt.with_model(optimizer, model)})
    assert equal(copies(model), weights)
    other = net(7.0, sharded=True)
    before = copies(other)
    target = torch.optim.AdamW(other.parameters(), lr=9.0)
    again = torch.optim.lr_scheduler.StepLR(target, 3, gamma=0.5)
    into = {"model": other, "optim": target, "scheduler": again}
    assert set(pyckpt.load(f"{store}/all", into=into, items=["scheduler"])) == {"scheduler"}
    assert again.state_dict() == scheduler.state_dict()
    assert not target.state
    assert equal(copies(other), before)
    pyckpt.load(f"{store}/optim", into={"optim": pyckpt.with_model(target, other)})
    assert len(target.state) == 6
    assert equal(copies(other), before)
    pyckpt.load(f"{store}/all", into={"model": other})
    assert equal(copies(other), weights)
    fresh = pyckpt.load(f"{store}/all", items=["note"])
    assert fresh == {"note": {"epoch": 3}}
    with pytest.raises(pyckpt.PyckptError) as error:
        pyckpt.load(f"{store}/optim", items=["model"])
    assert error.value.code == "item.missing"


def test_saves_and_loads_by_item(ranks, tmp_path):
    ranks(SIZE).run(by_item, str(tmp_path))


# Values per rank


def draw():
    return random.random(), float(np.random.rand()), torch.rand(3).tolist()


def random_state(rank, store):
    random.seed(rank)
    np.random.seed(rank)
    torch.manual_seed(rank)
    np.random.randn()  # leaves half a pair behind
    draw()
    pyckpt.save(f"{store}/x", {"rng": pyckpt.RNG()})
    want = draw(), np.random.randn()
    for _ in range(3):
        draw()
    pyckpt.load(f"{store}/x", into={"rng": pyckpt.RNG()})
    assert (draw(), np.random.randn()) == want
    return want


def load_random_state_of_others(rank, store, on_resize):
    pyckpt.load(f"{store}/x", into={"rng": pyckpt.RNG()}, options=pyckpt.LoadOptions(on_resize=on_resize))
    return draw(), np.random.randn()


def test_random_state_of_every_rank(ranks, tmp_path):
    wanted = ranks(4).run(random_state, str(tmp_path))
    assert len({repr(one) for one in wanted}) == 4
    refused = ranks(SIZE).outcomes(load_random_state_of_others, str(tmp_path), "error")
    assert {one.error.code for one in refused} <= {"state.mismatch", "rank.failed"}
    assert any("saved for 4" in str(one.error) for one in refused)
    nearest = ranks(SIZE).run(load_random_state_of_others, str(tmp_path), "nearest")
    assert nearest == [wanted[0], wanted[2]]
    seeded = ranks(SIZE).run(load_random_state_of_others, str(tmp_path), "reseed")
    assert len({repr(one) for one in [*seeded, *wanted]}) == 6
    assert ranks(SIZE).run(load_random_state_of_others, str(tmp_path), "reseed") == seeded


class CountingLoader:
    """What a stateful data loader shows: an iteration, and a state of each rank's own."""

    def __init__(self, position=0):
        self.position = position

    def __iter__(self):
        return iter(())

    def state_dict(self):
        return {"position": self.position, "order": torch.full((3,), self.position), "name": f"shard {self.position}"}

    def load_state_dict(self, state):
        self.position = state["position"]
        assert state["order"].tolist() == [self.position] * 3
        assert state["name"] == f"shard {self.position}"


def test_facade_has_its_names():
    for name in pyckpt.__all__:
        getattr(pyckpt, name)


def per_rank_values(rank, store):
    state = {
        "dataloader": CountingLoader(100 + rank),
        "other": {
            "seen": per_rank({"tokens": 10 * rank, "ids": torch.arange(rank + 1)}),
            "pair": per_rank(7 + rank // 2, axis="dp", index=rank // 2, size=2),
            "same": 5,
        },
    }
    pyckpt.save(f"{store}/x", state)
    loader = CountingLoader()
    target = {
        "seen": per_rank({"tokens": 0, "ids": torch.zeros(rank + 1, dtype=torch.int64)}),
        "pair": per_rank(0, axis="dp", index=rank // 2, size=2),
        "same": 0,
    }
    loaded = pyckpt.load(f"{store}/x", into={"dataloader": loader, "other": target})["other"]
    assert loader.position == 100 + rank
    assert loaded["same"] == 5
    seen = loaded["seen"]
    seen = getattr(seen, "value", seen)
    assert seen["tokens"] == 10 * rank
    assert seen["ids"].tolist() == list(range(rank + 1))
    pair = loaded["pair"]
    assert getattr(pair, "value", pair) == 7 + rank // 2


def test_values_per_rank(ranks, tmp_path):
    ranks(4).run(per_rank_values, str(tmp_path))
    loaded = pyckpt.load(f"{tmp_path}/x")
    assert pyckpt.verify(f"{tmp_path}/x").ok
    assert loaded["other"]["same"] == 5


# Tensors of every type


def typed():
    """One tensor of each dtype that torch has on every machine, and shapes that are special."""
    values = {
        "bool": torch.tensor([True, False, True]),
        "complex64": torch.tensor([1 + 2j, -0.0 - 1j]),
        "complex128": torch.tensor([1e300 + 2j], dtype=torch.complex128),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0),
        "empty rows": torch.zeros(4, 0, 3, dtype=torch.int16),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        "strided": torch.arange(24.0).view(4, 6).t()[::2],
        "expanded": torch.ones(1, 3).expand(5, 3),
    }
    for dtype in (
        torch.uint8,
        torch.int8,
        torch.uint16,
        torch.int16,
        torch.uint32,
        torch.int32,
        torch.uint64,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float8_e4m3fnuz,
        torch.float8_e5m2fnuz,
        torch.float8_e8m0fnu,
    ):
        data = torch.arange(37 * dtype.itemsize, dtype=torch.int32).mul(41).to(torch.uint8)
        values[str(dtype).removeprefix("torch.")] = data.view(dtype)
    return values


def bits(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else tensor


def all_dtypes(rank, store):
    values = typed()
    pyckpt.save(f"{store}/x", {"model": values})
    target = {name: torch.zeros(t.shape, dtype=torch.uint8).to(t.dtype) for name, t in values.items()}
    pyckpt.load(f"{store}/x", into={"model": target})
    fresh = pyckpt.load(f"{store}/x")["model"]
    for name, want in values.items():
        for got in (target[name], fresh[name]):
            assert got.dtype == want.dtype, name
            assert got.shape == want.shape, name
            assert torch.equal(bits(got), bits(want)), name


@pytest.mark.parametrize("size", [1, 2])
def test_dtypes_and_shapes(ranks, tmp_path, size):
    ranks(size).run(all_dtypes, str(tmp_path))
    assert pyckpt.verify(f"{tmp_path}/x").findings == ()


# What comes with a checkpoint


def with_assets(rank, store, tokenizer):
    metadata = {"step": 7, "loss": float("inf"), "big": 1 << 80, "$odd": [1, 2.5, None, {"a": "ü"}]}
    assets = {"model": {"config.json": b'{"a": 1}\r\n\x00', "tokenizer/vocab.bin": tokenizer}}
    report = pyckpt.save(f"{store}/x", {"model": {"w": torch.ones(3)}}, metadata=metadata, assets=assets)
    found = pyckpt.open(f"{store}/x").metadata
    assert {key: found[key] for key in metadata} == metadata
    return report.digest


def test_assets_and_metadata(ranks, tmp_path):
    content = os.urandom(70_001)
    tokenizer = tmp_path / "vocab"
    tokenizer.write_bytes(content)
    digests = ranks(SIZE).run(with_assets, str(tmp_path / "store"), str(tokenizer))
    assert len(set(digests)) == 1
    item = tmp_path / "store" / "x" / "model"
    assert (item / "config.json").read_bytes() == b'{"a": 1}\r\n\x00'
    assert (item / "tokenizer" / "vocab.bin").read_bytes() == content
    assert pyckpt.verify(f"{tmp_path}/store/x").ok
    (item / "tokenizer" / "vocab.bin").write_bytes(content[:-1] + b"x")
    report = pyckpt.verify(f"{tmp_path}/store/x")
    assert [finding.code for finding in report.findings] in (["asset.digest"], ["asset.size"])


# Loads that do not fit


def partly(rank, store):
    pyckpt.save(f"{store}/x", {"model": net(), "other": {"a": 1}})
    bigger = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2), nn.Linear(2, 2))
    with torch.no_grad():
        for param in bigger.parameters():
            param.fill_(-1.0)
    before = copies(bigger)
    with pytest.raises(pyckpt.PyckptError) as error:
        pyckpt.load(f"{store}/x", into={"model": bigger})
    assert error.value.code == "state.mismatch" or rank
    assert equal(copies(bigger), before)
    loaded = pyckpt.load_report(f"{store}/x", into={"model": bigger}, options=pyckpt.LoadOptions(strict=False))
    assert {finding.key for finding in loaded.report.skipped} == {"3.weight", "3.bias"}
    got = copies(bigger)
    assert equal({k: got[k] for k in copies(net())}, copies(net()))
    assert bigger[3].weight.eq(-1).all()
    renamed = nn.ModuleDict({"body": net(5.0)})
    options = pyckpt.LoadOptions(map_key=lambda name: name.removeprefix("body."))
    pyckpt.load(f"{store}/x", into={"model": renamed}, options=options)
    assert equal(copies(renamed["body"]), copies(net()))


def test_loads_of_a_part_and_under_other_names(ranks, tmp_path):
    ranks(SIZE).run(partly, str(tmp_path))


def misfit(rank, store):
    state = {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(3), "c.bias": torch.ones(2), "d": torch.ones(1)}
    pyckpt.save(f"{store}/x", {"model": state})
    target = {
        "a.weight": torch.zeros(2, 3),
        "b.weight": torch.zeros(3, dtype=torch.float64),
        "c.bais": torch.zeros(2),
        "d": torch.zeros(1),
    }
    try:
        pyckpt.load(f"{store}/x", into={"model": target})
    finally:
        assert not any(tensor.any() for tensor in target.values())


def test_mismatch_lists_everything(ranks, tmp_path):
    for one in ranks(SIZE).outcomes(misfit, str(tmp_path)):
        assert one.error is not None, one.trace
        assert one.error.code == "state.mismatch"
        text = str(one.error)
        for part in ("model/a.weight", "[3, 2]", "[2, 3]", "model/b.weight", "F32", "F64", "model/c.bais", "nearest: c.bias"):
            assert part in text, f"{part!r} not in\n{text}"
        keys = [finding.key for finding in one.error.findings]
        assert keys == ["model/a.weight", "model/b.weight", "model/c.bais", "model/c.bias"]
    single = ranks(1).outcomes(misfit, str(tmp_path / "one"))[0].error
    assert {finding.key for finding in single.findings} >= {"model/a.weight", "model/b.weight", "model/c.bais"}


def widened(rank, store):
    pyckpt.save(f"{store}/x", {"model": {"w": torch.arange(5, dtype=torch.bfloat16)}})
    target = {"w": torch.zeros(5)}
    pyckpt.load(f"{store}/x", into={"model": target}, options=pyckpt.LoadOptions(dtype="widen"))
    assert target["w"].tolist() == [0, 1, 2, 3, 4]
    small = {"w": torch.zeros(5, dtype=torch.float16)}
    with pytest.raises(pyckpt.PyckptError):
        pyckpt.load(f"{store}/x", into={"model": small}, options=pyckpt.LoadOptions(dtype="widen"))
    pyckpt.load(f"{store}/x", into={"model": small}, options=pyckpt.LoadOptions(dtype="cast"))
    assert small["w"].tolist() == [0, 1, 2, 3, 4]


def test_dtypes_are_converted_only_on_demand(ranks, tmp_path):
    ranks(SIZE).run(widened, str(tmp_path))
