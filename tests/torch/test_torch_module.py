import numpy as np
import pytest
import torch
from fake_engine import Item, load
from torch import nn

import pyckpt.torch as pt
from pyckpt.errors import StateMismatch, UnsupportedState
from pyckpt.torch.dtypes import TYPES
from pyckpt.torch.source import TensorSource


class Extra(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("scratch", torch.ones(2), persistent=False)

    def get_extra_state(self):
        return self.value

    def set_extra_state(self, state):
        self.value = state


def save(module, **options):
    return Item([pt.collect({"m": module}, **options)[0]])


def test_state_and_extra_state():
    m = nn.Sequential(nn.BatchNorm1d(3), Extra({"a": (1, torch.arange(3))}))
    m[0].running_mean += 3
    item = save(m)
    assert item.kind == "model"
    assert list(item.tree) == list(m.state_dict())
    m2 = nn.Sequential(nn.BatchNorm1d(3), Extra(None))
    m2[1].kept.zero_()
    weight, version = m2[0].weight, m2[0].weight._version
    load(item, pt.binders({"m": m2})["m"])
    assert m2[0].weight is weight
    assert weight._version > version
    assert torch.equal(m2[0].running_mean, m[0].running_mean)
    assert torch.equal(m2[1].kept, torch.ones(2))
    assert m2[1].value["a"][0] == 1
    assert torch.equal(m2[1].value["a"][1], torch.arange(3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_leave_no_trace_in_names():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    names = list(m.state_dict())
    m[0] = checkpoint_wrapper(m[0])
    assert list(save(torch.compile(m)).tree) == names
    o = torch.optim.SGD(torch.compile(m).parameters())
    assert pt.collect({"m": torch.compile(m), "o": o})[1].tree["groups"]["0"]["params"] == set(names)
    load(save(m), pt.binders({"m": torch.compile(m)})["m"])


def test_tied_weights_are_one_leaf():
    m = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    m[1].weight = m[0].weight
    m[2].weight = nn.Parameter(m[0].weight.detach())
    tree = pt.collect({"m": m})[0].tree
    assert tree["0.weight"] is tree["1.weight"] is tree["2.weight"]
    empty = {"a": torch.empty(0, 3), "b": torch.empty(0, 3), "c": torch.empty(0, 2), "d": torch.ones(4)[:0]}
    tree = pt.collect({"m": empty})[0].tree
    assert len({id(leaf) for leaf in tree.values()}) == 4
    base = torch.arange(4.0)
    tree = pt.collect({"m": {"a": base, "b": base[:2], "c": base.view(2, 2), "d": base.view(4)}})[0].tree
    assert tree["a"] is tree["d"]
    assert len({id(leaf) for leaf in tree.values()}) == 3
    # Only one name in the checkpoint is enough for a tied target.
    item = save(m)
    del item.tree["1.weight"], item.tree["2.weight"]
    load(item, pt.binders({"m": m})["m"])
    untied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    with pytest.raises(StateMismatch, match="missing"):
        load(item, pt.binders({"m": untied})["m"])


def test_mismatches_are_all_reported_with_nearest_names():
    item = save(nn.ModuleDict({"first": nn.Linear(2, 3), "second": nn.Linear(2, 2)}))
    target = nn.ModuleDict({"frist": nn.Linear(2, 3), "second": nn.Linear(2, 4).half()})
    binder = pt.binders({"m": target})["m"]
    with pytest.raises(StateMismatch) as error:
        load(item, binder)
    text = str(error.value)
    assert "missing" in text
    assert "nearest: first.weight" in text
    assert "unexpected" in text
    assert "shape" in text
    assert len(error.value.findings) == 6
    lenient = nn.ModuleDict({"second": nn.Linear(2, 2), "third": nn.Linear(1, 1)})
    binder = pt.binders({"m": lenient}, pt.BindOptions(strict=False))["m"]
    load(item, binder, strict=False)
    bound = binder.bind(item)
    assert len(bound.skipped) == len(bound.unexpected) == 2


def test_map_key_and_dtype_rules():
    m = nn.ModuleDict({"a": nn.Linear(2, 3, bias=False)})
    item = save(m)
    target = nn.ModuleDict({"b": nn.Linear(2, 3, bias=False)})
    rename = lambda name: name.replace("b.", "a.")
    load(item, pt.binders({"m": target}, pt.BindOptions(map_key=rename))["m"])
    assert torch.equal(target["b"].weight, m["a"].weight)
    half = nn.ModuleDict({"a": nn.Linear(2, 3, bias=False)}).bfloat16()
    for rule in ("error", "widen"):
        with pytest.raises(StateMismatch, match="dtype"):
            load(item, pt.binders({"m": half}, pt.BindOptions(dtype=rule))["m"])
    load(item, pt.binders({"m": half}, pt.BindOptions(dtype="cast"))["m"])
    assert torch.equal(half["a"].weight, m["a"].weight.bfloat16())
    wide = nn.ModuleDict({"a": nn.Linear(2, 3, bias=False)})
    load(save(half), pt.binders({"m": wide}, pt.BindOptions(dtype="widen"))["m"])
    assert torch.equal(wide["a"].weight, half["a"].weight.float())


def test_what_has_no_values_is_refused():
    with torch.device("meta"):
        m = nn.Linear(2, 2)
    with pytest.raises(UnsupportedState, match="m/weight.*meta"):
        pt.collect({"m": m})
    with pytest.raises(UnsupportedState, match="sparse"):
        pt.collect({"m": {"a": {"b": torch.eye(2).to_sparse()}}})


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", sorted(TYPES))
def test_every_dtype_round_trips(dtype):
    raw = torch.arange(64, dtype=torch.uint8) % (2 if dtype == "BOOL" else 255)
    t = raw.view(TYPES[dtype]).view(2, -1)
    state = pt.collect({"x": {"t": t, "n": {"deep": t.clone()}}})[0]
    leaf = state.tree["t"]
    assert leaf.dtype == dtype
    assert leaf.shape[-1] == t.shape[-1] * (2 if dtype == "F4" else 1)
    assert bytes(leaf.pieces[0].source.view()) == raw.numpy().tobytes()
    if dtype != "F4":
        target = {"t": torch.empty_like(t), "n": {"deep": torch.empty_like(t)}}
        load(Item([state]), pt.binders({"x": target})["x"])
        assert torch.equal(target["t"].view(torch.uint8), t.view(torch.uint8))
        fresh = load(Item([state]), pt.FreshBinder())
        assert torch.equal(fresh["n"]["deep"].view(torch.uint8), t.view(torch.uint8))
        assert fresh["t"].dtype == t.dtype


def test_strided_and_lazily_changed_memory():
    base = torch.arange(12, dtype=torch.float32).view(3, 4)
    c = torch.complex(base, base + 1)
    tensors = {"t": base.t(), "s": base[:, ::2], "conj": c.conj(), "neg": c.conj().imag, "neg0": c[0, 0].conj().imag, "e": base.expand(2, 3, 4)}
    item = Item([pt.collect({"x": {"v": 1, **tensors}})[0]])
    fresh = load(item, pt.FreshBinder())
    for name, t in tensors.items():
        assert torch.equal(fresh[name], t.resolve_neg()), name
    memory = torch.zeros(4, 3)
    target = {"v": 0, "t": memory.t().t()[:, :].t().t(), **{n: torch.zeros_like(t.resolve_conj().resolve_neg()) for n, t in tensors.items()}}
    target["t"] = torch.zeros(3, 4).t()
    load(item, pt.binders({"x": target})["x"])
    for name, t in tensors.items():
        assert torch.equal(target[name], t.resolve_neg()), name
    assert target["v"] == 1


def test_source_reads_ranges_through_a_copy():
    t = torch.arange(12).view(3, 4).t()
    source = TensorSource(t, t.nbytes)
    assert source.view() is None
    out = bytearray(16)
    source.read_into(8, memoryview(out))
    assert out == t.contiguous().numpy().tobytes()[8:24]
    source.close()
    source.read_into(0, memoryview(out))
    assert out == t.contiguous().numpy().tobytes()[:16]


class TwoPart(torch.Tensor):
    """A wrapper subclass of two inner tensors."""

    @staticmethod
    def __new__(cls, data, scale, block):
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=scale.dtype)

    def __init__(self, data, scale, block):
        self._data, self._scale, self.block = data, scale, block

    def __tensor_flatten__(self):
        return ["_data", "_scale"], self.block

    @classmethod
    def __tensor_unflatten__(cls, inner, block, size, stride):
        return cls(inner["_data"], inner["_scale"], block)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(func)


def test_flattened_subclass():
    t = TwoPart(torch.arange(4, dtype=torch.int8), torch.ones(2), {"size": (2, 2), "dtype": torch.int8})
    item = Item([pt.collect({"x": {"n": 1, "q": t}})[0]])
    target = {"n": 0, "q": TwoPart(torch.zeros(4, dtype=torch.int8), torch.zeros(2), {"size": (2, 2), "dtype": torch.int8})}
    q = target["q"]
    load(item, pt.binders({"x": target})["x"])
    assert target["q"] is q
    assert torch.equal(q._data, t._data)
    assert torch.equal(q._scale, t._scale)
    q.block = {"size": (4, 1), "dtype": torch.int8}
    with pytest.raises(StateMismatch, match="attributes"):
        load(item, pt.binders({"x": target})["x"])
    t.block = object()
    with pytest.raises(UnsupportedState, match="x/q"):
        pt.collect({"x": {"q": t, "n": 1}})


def test_declared_layout():
    w = torch.arange(8.0).view(4, 2)
    layout = lambda r: {"m": {"experts.*.weight": pt.Shard(dim=0, index=r, count=2)}}
    states = []
    for r in range(2):
        m = nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(2, 2, bias=False)]), "other": nn.Linear(1, 1)})
        with torch.no_grad():
            m["experts"][0].weight.copy_(w[2 * r : 2 * r + 2])
        o = torch.optim.SGD(m.parameters(), momentum=0.9, lr=0.1)
        m["experts"][0](torch.full((2,), r + 1.0)).sum().backward()
        o.step()
        with torch.no_grad():
            m["experts"][0].weight.copy_(w[2 * r : 2 * r + 2])
        states.append(pt.collect({"m": m, "o": o}, rank=r, world_size=2, layout=layout(r)))
    leaf = states[1][0].tree["experts.0.weight"]
    assert leaf.shape == (4, 2)
    assert leaf.replicas == ()
    assert states[1][0].tree["other.weight"].replicas is None
    item = Item([s[0] for s in states])
    assert np.array_equal(item.array(("experts.0.weight",), np.float32), w.numpy())
    moments = Item([s[1] for s in states])
    path = ("state", "experts.0.weight", "momentum_buffer")
    assert np.array_equal(moments.array(path, np.float32), [[1, 1], [1, 1], [2, 2], [2, 2]])
    m = nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(2, 2, bias=False)]), "other": nn.Linear(1, 1)})
    o = torch.optim.SGD(m.parameters(), momentum=0.9, lr=0.1)
    bound = pt.binders({"m": m, "o": o}, pt.BindOptions(layout=layout(1), rank=1, world_size=2))
    load(item, bound["m"])
    load(moments, bound["o"])
    assert torch.equal(m["experts"][0].weight, w[2:])
    assert torch.equal(o.state[m["experts"][0].weight]["momentum_buffer"], torch.full((2, 2), 2.0))


def test_local_shard_marker():
    w = torch.arange(6.0).view(3, 2)
    states = [
        pt.collect({"x": {"n": 1, "w": pt.local_shard(w[:2] if r == 0 else w[2:], (3, 2), (2 * r, 0))}})[0] for r in range(2)
    ]
    item = Item(states)
    assert np.array_equal(item.array(("w",), np.float32), w.numpy())
    target = torch.zeros(1, 2)
    load(item, pt.binders({"x": {"n": 0, "w": pt.local_shard(target, (3, 2), (1, 0))}})["x"])
    assert torch.equal(target, w[1:2])
