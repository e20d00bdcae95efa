from __future__ import annotations

import datetime as dt
import enum
import json
import math
import struct
import subprocess
import sys
import warnings
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.errors import UnsupportedState
from pyckpt.format.metadata import decode_metadata, encode_metadata

SAFE = 2**53 - 1

names = st.text(st.sampled_from("$intfloa") | st.characters(exclude_categories=["Cs"]), max_size=5)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([SAFE, SAFE + 1, -SAFE, -SAFE - 1, 10**4095])
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=20)
metadata = st.dictionaries(names, values, max_size=4)


def decoded(value):
    problems = []
    result = decode_metadata(value, lambda path, message: problems.append((path, message)))
    assert not problems
    return result


def problems_of(value):
    problems = []
    decode_metadata(value, lambda path, message: problems.append((path, message)))
    return problems


def bits(value):
    """The value in a form whose equality tells floats apart by their bits, and 1 from 1.0 and True."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack("<d", value))
    if isinstance(value, list | tuple):
        return [bits(element) for element in value]
    if isinstance(value, dict):
        return {name: bits(element) for name, element in value.items()}
    return type(value).__name__, value


def refused(value, place):
    with pytest.raises(UnsupportedState) as caught:
        encode_metadata(value)
    assert caught.value.code == "state.unsupported"
    assert caught.value.key == place
    assert len(str(caught.value)) < 700
    return str(caught.value)


@given(metadata)
def test_values_come_back_through_json(value):
    text = json.dumps(encode_metadata(value), allow_nan=False)
    assert bits(decoded(json.loads(text))) == bits(value)


@given(metadata)
def test_no_plain_integer_leaves_the_safe_range(value):
    def check(node):
        if type(node) is int:
            assert -SAFE <= node <= SAFE
        elif isinstance(node, float):
            assert math.isfinite(node)
        elif isinstance(node, dict):
            tags = [name for name in node if name.startswith("$") and not name.startswith("$$")]
            assert not tags or len(node) == 1
            for element in node.values():
                check(element)
        elif isinstance(node, list):
            for element in node:
                check(element)

    check(encode_metadata(value))


def test_examples():
    assert encode_metadata({"step": 1000, "loss": math.nan, "up": math.inf, "down": -math.inf, "seed": 2**64, "$x": {"$int": "1"}, "$": 1, "$$": -0.0}) == {
        "step": 1000,
        "loss": {"$float": "nan"},
        "up": {"$float": "inf"},
        "down": {"$float": "-inf"},
        "seed": {"$int": "18446744073709551616"},
        "$$x": {"$$int": "1"},
        "$$": 1,
        "$$$": -0.0,
    }
    assert encode_metadata({"a": SAFE, "b": -SAFE, "c": -SAFE - 1}) == {"a": SAFE, "b": -SAFE, "c": {"$int": "-9007199254740992"}}
    assert json.dumps(encode_metadata({"x": 1e16, "y": -0.0, "z": 1.0})) == '{"x": 1e+16, "y": -0.0, "z": 1.0}'


def test_what_becomes_of_python_types():
    class Color(str, enum.Enum):
        RED = "red"

    class Level(enum.IntEnum):
        LOW = 3

    class Real(float):
        def __repr__(self):
            return "Real()"

    given_value = {"t": (1, (2,)), "o": OrderedDict(b=1), "p": MappingProxyType({"x": 1}), "c": Color.RED, "l": Level.LOW, "r": Real(0.5), Color.RED: True}
    encoded = encode_metadata(given_value)
    assert bits(decoded(json.loads(json.dumps(encoded)))) == bits({"t": [1, [2]], "o": {"b": 1}, "p": {"x": 1}, "c": "red", "l": 3, "r": 0.5, "red": True})


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.bool_(True), True),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float16(0.1), 0.0999755859375),
        (np.float32(0.1), 0.10000000149011612),
        (np.float64(0.1), 0.1),
        (np.float32("nan"), math.nan),
        (np.longdouble("nan"), math.nan),
        (np.float16("-inf"), -math.inf),
        (np.longdouble(0.5), 0.5),
        (np.str_("x"), "x"),
    ],
)
def test_numpy_scalars_are_exact(scalar, plain):
    assert bits(decoded(encode_metadata({"x": [scalar]}))) == bits({"x": [plain]})


@pytest.mark.parametrize(
    "value",
    [b"x", {1}, frozenset(), 1j, object(), dt.datetime(2020, 1, 1), np.zeros(3), np.zeros(()), np.complex64(1), np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.void(b"x"), range(3), int, len, bytearray(), iter([])],
)
def test_what_cannot_be_said_is_named_by_its_path(value):
    refused({"a": [{"b c": value}]}, "metadata['a'][0]['b c']")
    refused({"x": value}, "metadata['x']")


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="longdouble is binary64 here")
def test_longdouble_that_would_be_rounded():
    refused({"x": np.longdouble(1) / 3}, "metadata['x']")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused({"x": np.longdouble("1e4000")}, "metadata['x']")


@pytest.mark.parametrize("name", [1, None, (1,), b"x", True])
def test_names_must_be_strings(name):
    assert "names that are strings" in refused({"a": {name: 1}}, "metadata['a']")


@pytest.mark.parametrize("value", [None, 3, [1], "x"])
def test_metadata_must_be_a_mapping(value):
    refused(value, "metadata")


def test_surrogates():
    refused({"a": ["\ud800"]}, "metadata['a'][0]")
    refused({"a": {"\udfff": 1}}, "metadata['a']")


def test_hints():
    class Tensor:
        shape = ()

        def item(self):
            raise AssertionError("must not be called")

    assert ".item()" in refused({"loss": Tensor()}, "metadata['loss']")
    assert "sorted list" in refused({"s": {1}}, "metadata['s']")


def test_depth_and_cycles():
    nested = []
    for _ in range(61):
        nested = [nested]
    value = {"x": nested}
    assert decoded(encode_metadata(value)) == value
    for deep in ({"x": [nested]}, {"x": {"y": nested}}):
        with pytest.raises(UnsupportedState, match="nested levels"):
            encode_metadata(deep)

    innermost = nested
    while innermost:
        innermost = innermost[0]
    innermost.append(1.5)
    assert decoded(encode_metadata(value)) == value
    innermost[0] = math.inf
    with pytest.raises(UnsupportedState, match="nested levels"):
        encode_metadata(value)

    cycle = {}
    cycle["again"] = [cycle]
    with pytest.raises(UnsupportedState, match="contain itself"):
        encode_metadata(cycle)


def test_integer_length():
    longest = 10**4096 - 1
    assert decoded(encode_metadata({"x": longest})) == {"x": longest}
    assert decoded(encode_metadata({"x": -(10**4095 - 1)})) == {"x": -(10**4095 - 1)}
    for beyond in (longest + 1, -(10**4095), 1 << 10_000_000):
        assert "4096 characters" in refused({"x": beyond}, "metadata['x']")


@pytest.mark.parametrize(
    "value",
    [
        {"$int": 1}, {"$int": "1"}, {"$int": str(SAFE)}, {"$int": "-" + str(SAFE)}, {"$int": "018446744073709551616"}, {"$int": "+18446744073709551616"},
        {"$int": "18446744073709551616 "}, {"$int": "1_8446744073709551616"}, {"$int": "1" * 4097}, {"$int": ""}, {"$int": None}, {"$int": "٣" * 30},
        {"$float": "NaN"}, {"$float": "1.0"}, {"$float": 1.0}, {"$float": None}, {"$float": ["nan"]}, {"$date": "x"}, {"$": 1},
        {"$int": "18446744073709551616", "x": 1}, {"x": 1, "$float": "nan"}, {"$float": "nan", "$int": "18446744073709551616"},
        SAFE + 1, -SAFE - 1,
    ],
)  # fmt: skip
def test_encodings_that_nobody_may_write(value):
    problems = problems_of({"a": [value], "ok": 1})
    assert problems
    assert all(path[:2] == ("a", 0) for path, _ in problems)


def test_every_problem_is_reported():
    assert [path for path, _ in problems_of({"a": 2**60, "b": [{"$x": 1}], "c": {"$float": 0}})] == [("a",), ("b", 0, "$x"), ("c", "$float")]


@given(st.recursive(st.integers() | st.text(max_size=3) | st.floats(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.sampled_from(["$int", "$float"]), inner, max_size=3)))
def test_what_is_accepted_has_one_encoding(value):
    problems = []
    result = decode_metadata({"x": value}, lambda path, message: problems.append(path))
    if not problems:
        finite = json.dumps(value)
        if "NaN" not in finite and "Infinity" not in finite:
            assert bits(encode_metadata(result)) == bits({"x": value})


def test_lowered_interpreter_limit():
    before = sys.get_int_max_str_digits()
    encoded = encode_metadata({"x": 10**1000})
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(UnsupportedState):
            encode_metadata({"x": 10**1000})
        assert problems_of(encoded)
    finally:
        sys.set_int_max_str_digits(before)


def test_torch_is_not_imported():
    code = "import sys, pyckpt.format.root, pyckpt.format.names, pyckpt.format.dtypes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
