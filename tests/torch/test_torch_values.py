import random
import sys

import numpy as np
import pytest
import torch
from fake_engine import Item, load

import pyckpt.torch as pt
from pyckpt.errors import StateMismatch, UnsupportedState
from pyckpt.format.tree import Indexed


def save(value, ranks=1):
    return Item([pt.collect({"x": value(r) if ranks > 1 else value}, rank=r, world_size=ranks)[0] for r in range(ranks)])


def test_plain_values_keep_their_types():
    value = {
        "a": None, "b": True, "i": 2**70, "f": float("inf"), "s": "ü", "y": b"\0", "c": 1j, "t": (1, [2, (3,)]),
        "set": frozenset({"a", "b"}), "dtype": torch.bfloat16, 1: "int", "1": "str", "e": {}, "l": [],
    }  # fmt: skip
    got = load(save(value), pt.FreshBinder())
    assert got == value
    assert type(got["t"][1][1]) is tuple
    assert load(save({"n": np.float32(0.5), "i": np.int64(3), "s": torch.Size([2, 3])}), pt.FreshBinder()) == {
        "n": 0.5, "i": 3, "s": (2, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [object(), torch.device("cpu"), {1, "a"}, lambda: 0, sys.version_info, torch.Generator(), {(1, 2): 3}, {True: 1}, np.array(["a"])],
)
def test_everything_else_is_refused_by_path(bad):
    with pytest.raises(UnsupportedState, match=r"x/deep/0") as error:
        pt.collect({"x": {"deep": [bad]}})
    assert error.value.hint


def test_a_cycle_is_refused():
    loop = {"n": 1}
    loop["self"] = [loop]
    with pytest.raises(UnsupportedState, match="contains itself"):
        pt.collect({"x": loop})


def test_mapping_in_place():
    t, a = torch.zeros(3), np.zeros(3)
    item = save({"step": 7, "t": torch.ones(3), "arr": np.arange(3.0), "n": [1, {"k": 2}]})
    target = {"step": 0, "t": t, "arr": a, "n": [0, {"k": 0}]}
    load(item, pt.binders({"x": target})["x"])
    assert target["t"] is t
    assert t.tolist() == [1, 1, 1]
    assert a.tolist() == [0, 1, 2]
    assert target["n"] == [1, {"k": 2}]
    assert target["step"] == 7
    with pytest.raises(StateMismatch, match="stepp"):
        load(item, pt.binders({"x": {"stepp": 0}})["x"])


class Stateful:
    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return self.value

    def load_state_dict(self, value):
        self.value = value


class FakeLoader(Stateful):
    def __iter__(self):
        return iter(())


def test_objects_with_state():
    item = save(Stateful({"a": torch.arange(3)}))
    target = Stateful(None)
    assert load(item, pt.binders({"x": target})["x"]) is target
    assert torch.equal(target.value["a"], torch.arange(3))
    picky = Stateful(None)
    picky.load_state_dict = lambda value: value["gone"]
    with pytest.raises(StateMismatch, match="KeyError"):
        load(item, pt.binders({"x": picky})["x"])
    odd = Stateful(None)
    load(save(Stateful([1, 2])), pt.binders({"x": odd})["x"])
    assert odd.value == [1, 2]


def test_data_loaders_are_per_rank():
    item = save(lambda r: FakeLoader({"at": r, "t": torch.tensor([r])}), ranks=3)
    assert item.kind == "dataloader"
    for r in range(3):
        target = FakeLoader(None)
        load(item, pt.binders({"x": target}, pt.BindOptions(rank=r, world_size=3))["x"])
        assert target.value == {"at": r, "t": torch.tensor([r])}
    with pytest.raises(StateMismatch, match="3 coordinates"):
        load(item, pt.binders({"x": FakeLoader(None)}, pt.BindOptions(rank=0, world_size=2))["x"])


def test_per_rank_values_and_their_rules():
    item = save(lambda r: {"same": 1, "mine": pt.per_rank({"r": r, "t": torch.tensor([r])}, axis="dp", index=r, size=4)}, 4)
    assert isinstance(item.tree["mine"], Indexed)
    leaf = pt.collect({"x": {"same": torch.ones(1), "mine": pt.per_rank(torch.ones(1))}})[0].tree
    assert leaf["mine"].values[0].replicas == ()
    assert leaf["same"].replicas is None

    def get(index, size, **options):
        target = {"same": 0, "mine": pt.per_rank({"r": -1, "t": torch.zeros(1, dtype=torch.int64)}, "dp", index, size, **options)}
        load(item, pt.binders({"x": target})["x"])
        return target["mine"]

    assert get(2, 4) == {"r": 2, "t": torch.tensor([2])}
    assert get(1, 2, on_resize="nearest")["r"] == 2
    assert get(7, 8, on_resize="nearest")["r"] == 3
    with pytest.raises(StateMismatch, match="4 coordinates"):
        get(1, 2)


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1), np.random.randn()


def test_rng_goes_on_where_it_was():
    random.gauss(0, 1)
    np.random.randn()
    item = save(pt.RNG())
    assert item.kind == "rng"
    want = draw()
    draw()
    load(item, pt.binders({"x": pt.RNG()})["x"])
    assert draw() == want


def test_rng_of_another_number_of_ranks():
    item = save(lambda r: pt.RNG(), ranks=2)
    with pytest.raises(StateMismatch):
        load(item, pt.binders({"x": pt.RNG()}, pt.BindOptions(rank=0, world_size=3))["x"])
    got = []
    for r in (0, 1, 2, 1):
        load(item, pt.binders({"x": pt.RNG(on_resize="reseed")}, pt.BindOptions(rank=r, world_size=3))["x"])
        got.append(draw())
    assert got[1] == got[3]
    assert len(set(got)) == 3


def test_a_hostile_rng_state_changes_nothing():
    item = save(pt.RNG())
    item.tree["python"].values[0]["version"] = 99
    random.seed(1)
    before = random.getstate()
    with pytest.raises(StateMismatch):
        load(item, pt.binders({"x": pt.RNG()})["x"])
    assert random.getstate() == before
