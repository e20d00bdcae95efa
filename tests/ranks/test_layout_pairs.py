"""Saved in any layout, loaded into any other: model and optimizer come back bit for bit."""

from __future__ import annotations

import traceback

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from tests.ranks import layouts
from tests.ranks.layouts import LAYOUTS, STEP, differences, formula, shapes, state_of, target_of

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


def save_layout(rank, store, layout):
    options = pyckpt.SaveOptions(layout=LAYOUTS[layout].regions(rank))
    report = pyckpt.save(f"{store}/{layout}", state_of(layout), metadata={"layout": layout}, options=options)
    return report.digest


def load_layout(rank, store, layout, sources):
    """Source -> what is wrong on this rank, after a load into a fresh target each."""
    want = state_of(layout)
    regions = LAYOUTS[layout].regions(rank)
    out = {}
    for source in sources:
        target = target_of(layout)
        try:
            pyckpt.load(f"{store}/{source}", into=target, layout=regions)
            out[source] = differences(target, want)
        except BaseException:
            out[source] = [traceback.format_exc()]
    return out


@pytest.fixture(scope="module")
def saved(ranks, tmp_path_factory):
    """A store with one checkpoint per layout, and what went wrong by layout."""
    store = str(tmp_path_factory.mktemp("pairs"))
    wrong = {}
    for name, layout in LAYOUTS.items():
        outcomes = ranks(layout.size).outcomes(save_layout, store, name)
        wrong[name] = "".join(f"rank {rank}: {one.trace}" for rank, one in enumerate(outcomes))
        wrong[name] = "" if all(one.ok for one in outcomes) else wrong[name]
        assert wrong[name] or len({one.value for one in outcomes}) == 1
    return store, wrong


@pytest.fixture(scope="module")
def loaded(ranks, saved):
    """``loaded(target)`` gives, by source, what every rank found wrong; all sources are loaded at once."""
    store, broken = saved
    sources = [name for name in LAYOUTS if not broken[name]]
    results = {}

    def of(target):
        if target not in results:
            outcomes = ranks(LAYOUTS[target].size).outcomes(load_layout, store, target, sources)
            results[target] = {
                source: {
                    rank: one.value[source] if one.ok else [one.trace]
                    for rank, one in enumerate(outcomes)
                    if not one.ok or one.value[source]
                }
                for source in sources
            }
        return results[target]

    return of


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_pair(saved, loaded, source, target):
    assert not saved[1][source], saved[1][source]
    wrong = loaded(target)[source]
    assert not wrong, "\n".join(f"rank {rank}: {line}" for rank, lines in wrong.items() for line in lines)


@pytest.mark.parametrize("source", LAYOUTS)
def test_checkpoint_holds_whole_values(saved, source):
    store, broken = saved
    assert not broken[source], broken[source]
    url = f"{store}/{source}"
    assert pyckpt.verify(url).findings == ()
    fresh = pyckpt.load(url, options=pyckpt.LoadOptions(collective=False))
    model, optim = fresh["model"], fresh["optim"]
    assert set(model) == set(shapes())
    for name, (shape, dtype) in shapes().items():
        want = formula("embed.weight" if name == "head.weight" else name, "param", shape, dtype)
        assert torch.equal(model[name], want), name
    # FSDP1's own state dict forgets what is tied; then both names have the values.
    assert (model["head.weight"] is model["embed.weight"]) == (source != "fsdp1-2")
    params = {name for name, _ in layouts.Net().named_parameters()}
    assert set(optim["state"]) == params
    for name in params:
        state = optim["state"][name]
        assert set(state) == {"exp_avg", "exp_avg_sq", "step"}
        assert float(state["step"]) == STEP
        for kind in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(state[kind], formula(name, kind, shapes()[name][0])), (name, kind)
    members = [group["params"] for group in optim["groups"].values()]
    assert set.union(*map(set, members)) == params
    assert sum(map(len, members)) == len(params)


def test_formula_tells_every_place_apart():
    """The pairs prove nothing if two names, kinds or neighbours have equal values."""
    seen = [formula(name, kind, (67, 8)) for name in ("a", "b") for kind in ("param", "exp_avg", "exp_avg_sq")]
    assert all(len(t.unique()) == t.numel() for t in seen)
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def save_batch_norm(rank, store):
    torch.manual_seed(0)
    net = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(3, 40), torch.nn.BatchNorm1d(40))
    )
    net(torch.full((4, 3), float(rank + 1)) + torch.arange(12.0).view(4, 3))
    # The forward pass has just broadcast rank 0's buffers and updated them with each rank's own batch.
    norm = net.module[1]
    norm.running_mean.add_(rank)
    pyckpt.save(f"{store}/bn", {"model": net}, options=pyckpt.SaveOptions(replicas="full"))
    own = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    for buffer in norm.buffers():
        buffer.zero_()
    pyckpt.load(f"{store}/bn", into={"model": net})
    return own, {name: tensor.clone() for name, tensor in norm.state_dict().items()}


def test_batch_norm_under_ddp_is_rank_0s(ranks, tmp_path):
    results = ranks(4).run(save_batch_norm, str(tmp_path))
    means = [own["running_mean"] for own, _ in results]
    assert not any(torch.equal(means[0], mean) for mean in means[1:])
    stored = pyckpt.load(f"{tmp_path}/bn")["model"]
    for name, want in results[0][0].items():
        assert torch.equal(stored[f"1.{name}"], want), name
        assert all(torch.equal(got[name], want) for _, got in results), name
