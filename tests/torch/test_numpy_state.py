import subprocess
import sys

import numpy as np
import pytest
from fake_engine import Item, load

from pyckpt.errors import StateMismatch, Unsupported, UnsupportedState
from pyckpt.numpy import FreshArrayBinder, bind_numpy, collect_numpy, numpy_dtype


def test_round_trip_and_aliases():
    a = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    value = {"a": a, "b": a, "t": a.T, "rev": a[::-1], "big": a.astype(">f4"), "n": (1, [np.int16(2), None]), "z": np.zeros(()), "e": np.zeros((0, 3)), "dtype": np.dtype("int8")}
    (state,) = collect_numpy({"x": value})
    assert state.tree["a"] is state.tree["b"]
    item = Item([state])
    got = load(item, FreshArrayBinder())
    assert got["a"] is got["b"]
    for name in ("a", "t", "rev", "big", "z", "e"):
        assert np.array_equal(got[name], value[name]), name
        assert got[name].shape == value[name].shape
    assert got["n"] == (1, [2, None])
    assert got["dtype"] == np.dtype("int8")
    target = {**value, "a": np.zeros((2, 3), np.float32), "t": np.zeros((2, 3), np.float32).T, "big": np.zeros((2, 3), ">f4"), "rev": np.zeros((2, 3), np.float32), "z": np.ones(())}
    arrays = dict(target)
    assert load(item, bind_numpy({"x": target})["x"]) is target
    for name in ("a", "t", "big", "rev", "z"):
        assert np.array_equal(target[name], value[name]), name
        assert target[name] is arrays[name]


def test_mismatches_and_rules():
    item = Item([collect_numpy({"x": {"a": np.arange(3, dtype=np.int16), "gone": 1}})[0]])
    wrong = {"a": np.zeros(3, np.int8), "new": 1}
    with pytest.raises(StateMismatch) as error:
        load(item, bind_numpy({"x": wrong})["x"])
    assert len(error.value.findings) == 3
    wide = {"a": np.zeros(3, np.int64), "gone": 0}
    load(item, bind_numpy({"x": wide}, dtype="widen")["x"])
    assert wide["a"].tolist() == [0, 1, 2]
    with pytest.raises(StateMismatch):
        load(item, bind_numpy({"x": wrong}, dtype="widen", strict=False)["x"], strict=False)
    load(item, bind_numpy({"x": wrong}, dtype="cast", strict=False)["x"], strict=False)
    assert wrong["a"].tolist() == [0, 1, 2]


def test_refusals():
    loop = {}
    loop["x"] = loop
    for bad in (object(), np.array(["a"]), {(1,): 1}, loop):
        with pytest.raises(UnsupportedState):
            collect_numpy({"x": {"bad": bad}})
    with pytest.raises(Unsupported, match="F4"):
        numpy_dtype("F4")


def test_torch_is_not_imported():
    code = "import sys, pyckpt.numpy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
