from __future__ import annotations

import json
import math
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, LimitExceeded, PyckptError
from pyckpt.format.json_strict import parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)


def parse(data, *, max_bytes=1 << 20, max_depth=64):
    return parse_json(data, max_bytes=max_bytes, max_depth=max_depth, code="root.syntax", key="k")


def refused(data, **limits):
    with pytest.raises(Corrupt) as caught:
        parse(data, **limits)
    assert caught.value.code == "root.syntax"
    assert caught.value.key == "k"
    assert len(str(caught.value)) < 600
    return str(caught.value)


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_what_json_writes_is_read(value, ascii_only, indent):
    assert parse(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) == value


def test_numbers():
    assert parse(b"[1, -0, 1.0, 1e2, -0.0, 123456789012345678901234567890]") == [1, 0, 1.0, 100.0, 0.0, 123456789012345678901234567890]
    assert [type(number) for number in parse(b"[1, 1.0, 1e2, 1E2]")] == [int, float, float, float]
    assert math.copysign(1, parse(b"-0.0")) == -1
    assert parse(b"1e-400") == 0.0


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b'{"a":1,"b":2,"a":3}', "'a' twice"),
        (b'{"a":1,"\\u0061":3}', "'a' twice"),
        (b'[{"x":{"":1,"":1}}]', "twice"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"1e309", "1e309"),
        (b"-1e309", "-1e309"),
        (b"1" + b"0" * 4300, "4300 digits"),
        (b"-" + b"1" * 4301, "4300 digits"),
        (rb'"\ud800"', "surrogate"),
        (rb'"\uDC00x"', "surrogate"),
        (rb'{"\udfff":1}', "surrogate"),
        (rb'[[{"a":["\ud83d\ud83d\ude00"]}]]', "surrogate"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b'"\xff"', "utf-8"),
        (b'"\xc0\xaf"', "utf-8"),
        (b"\xef\xbb\xbf{}", ""),
        (b"\xff\xfe{\x00}\x00", ""),
        ("{}".encode("utf-16"), ""),
        (b"", ""),
        (b"   ", ""),
        (b"{} {}", ""),
        (b"{}\x00", ""),
        (b"[1,]", ""),
        (b'{"a":1,}', ""),
        (b"{'a':1}", ""),
        (b"[01]", ""),
        (b"[1.]", ""),
        (b"[.5]", ""),
        (b"[+1]", ""),
        (b'["a\nb"]', ""),
        (b'["a\x00b"]', ""),
        (rb'["\x41"]', ""),
        (rb'["\u12"]', ""),
        (b'["', ""),
        (b"[1 2]", ""),
        (b"// x\n1", ""),
        (b"\x0b1", ""),
        ("[\u00a01]".encode(), ""),
        ("[\u0661]".encode(), ""),
        (b"True", ""),
    ],
)
def test_refused(data, names):
    assert names.lower() in refused(data).lower()


def test_accepted_at_the_limits():
    assert parse(b"1" * 4300) == int("1" * 4300)
    assert parse(b"-" + b"1" * 4300) == -int("1" * 4300)
    assert parse(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"
    assert parse(b"\t\r\n {} \n") == {}
    assert parse(b"1" * 100, max_bytes=100) == int("1" * 100)


def test_size_is_checked_first():
    with pytest.raises(LimitExceeded) as caught:
        parse(b"\xff" * 101, max_bytes=100)
    assert caught.value.code == "limit.exceeded"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"]":', b"}]")])
def test_depth(opening, closing):
    per_level = 2 if opening.startswith(b"[{") else 1
    assert parse(opening * 8 + b"1" + closing * 8, max_depth=8 * per_level)
    assert "nested" in refused(opening * 8 + b"1" + closing * 8, max_depth=8 * per_level - 1)


@pytest.mark.parametrize("text", [b"[" * 100, b'["' + b"[" * 100 + b'"]', b'["\\"' + b"[" * 100 + b'"]', b'["\\\\"' + b"," + b"[" * 100, b'["a\\\\\\"' + b"{" * 100 + b'"]'])
def test_brackets_in_strings_do_not_count(text):
    try:
        json.loads(text)
    except ValueError:
        refused(text, max_depth=10)
    else:
        assert parse(text, max_depth=10) == json.loads(text)


@pytest.mark.parametrize("string", [rb'"a\\"', rb'"\\\\"', rb'"\""', rb'"\\\""', rb'"\"\\"', b'""'])
def test_brackets_after_a_string_do_count(string):
    data = b"[" + string + b"," + b"[" * 9 + b"]" * 9 + b"]"
    assert parse(data, max_depth=10) == json.loads(data)
    assert "nested" in refused(data, max_depth=9)


@given(st.text(st.sampled_from('[]{}"\\,:a1'), max_size=60), st.integers(0, 4))
def test_the_depth_bound_is_exact_for_valid_json(text, depth):
    def depth_of(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)

    try:
        value = json.loads(text)
    except ValueError:
        refused(text.encode(), max_depth=depth)
        return
    if depth_of(value) > depth:
        assert "nested" in refused(text.encode(), max_depth=depth)


@given(st.lists(values, max_size=3), st.integers(0, 6))
def test_the_depth_bound_is_exact_for_generated_json(value, limit):
    def depth_of(node):
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
        return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)

    data = json.dumps(value).encode()
    if depth_of(value) > limit:
        assert "nested" in refused(data, max_depth=limit)
    else:
        assert parse(data, max_depth=limit) == value


@pytest.mark.parametrize("data", [b"[" * 4_000_000, b'{"a":' * 800_000, b"[]," * 1_000_000, b'"' * 3_000_000, b"\\" * 3_000_001, b"[" + b'"\\"",' * 600_000 + b"1"])
def test_hostile_texts_are_refused_quickly(data):
    start = time.perf_counter()
    refused(data, max_bytes=1 << 26)
    assert time.perf_counter() - start < 10


def test_chunk_borders_are_seamless():
    # a string and a nesting that both span the prescan's chunks of 1 MiB
    data = b'["' + b"[" * (1 << 20) + b'",' + b" " * ((1 << 20) - 5) + b"[[[1]]]]"
    assert parse(data, max_bytes=1 << 22, max_depth=4)[1] == [[[1]]]
    assert "nested" in refused(data, max_bytes=1 << 22, max_depth=3)


def test_integers_under_a_lowered_interpreter_limit():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        refused(b"1" * 1000)
    finally:
        sys.set_int_max_str_digits(before)


@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}"\\,:a1u d8e-.+NtrufalsI'), max_size=40).map(str.encode))
def test_any_bytes_give_a_value_or_our_error(data):
    try:
        value = parse(data, max_depth=5)
    except PyckptError as error:
        assert error.code == "root.syntax"
    else:
        assert json.loads(data.decode()) == value
