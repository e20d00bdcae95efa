"""Trees come back as they went in, whatever can't be stored is named, and no bytes are trusted."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import math
import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, LimitExceeded, UnsupportedState
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.tree import DTypeName, Flattened, Indexed, TensorRef, Timestamp, map_leaves, path_text, walk
from pyckpt.format.tree_decode import check_tree, decode_tree
from pyckpt.format.tree_encode import encode_tree

BIG = 2 ** (8 * 4096 - 1)
ZONES = st.none() | st.integers(-86399, 86399).map(lambda s: dt.timezone(dt.timedelta(seconds=s)))
NAMES = st.text(max_size=6)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-BIG, BIG - 1)
    | st.floats()
    | NAMES
    | st.binary(max_size=20)
    | st.complex_numbers()
    | st.datetimes(timezones=ZONES, min_value=dt.datetime(1, 1, 3), max_value=dt.datetime(9999, 12, 29))
    | st.builds(TensorRef, st.integers(0, 2**32 - 3))
    | st.sampled_from(["BF16", "F8_E4M3"]).map(DTypeName)
    | st.frozensets(NAMES, max_size=4)
    | st.frozensets(st.integers(-(2**63), 2**64 - 1), max_size=4)
    | st.builds(Timestamp, st.integers(-(2**63), 2**63 - 1), st.sampled_from([1, 999_999_999]), st.none())
)
NODES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(NAMES | st.integers(-(2**63), 2**64 - 1), inner, max_size=4)
        | st.lists(inner, min_size=1, max_size=3).map(lambda vs: Indexed("rank", len(vs), dict(enumerate(vs))))
        | st.builds(Flattened, st.dictionaries(NAMES, inner, max_size=2), inner)
    ),
    max_leaves=12,
)


def round_trip(node):
    return decode_tree(pack(encode_tree(node)))


def same(a, b):
    """Equality with types, floats by their bits, and the order of maps."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return struct.pack("dd", a.real, a.imag) == struct.pack("dd", b.real, b.imag)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Indexed):
        return (a.axis, a.size) == (b.axis, b.size) and same(a.values, b.values)
    if isinstance(a, Flattened):
        return same(a.inner, b.inner) and same(a.attributes, b.attributes)
    if isinstance(a, dt.datetime):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.utcoffset() == b.utcoffset()
    return a == b


@given(NODES)
@settings(max_examples=300, deadline=None)
def test_round_trip(node):
    assert same(round_trip(node), node)


@pytest.mark.parametrize(
    "value",
    [2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**71 - 1, 2**71, -(2**71), BIG - 1, -BIG, -0.0, math.inf, {1: 1, "1": 2}],
    ids=lambda value: type(value).__name__,
)
def test_edges(value):
    assert same(round_trip(value), value)


def test_a_float_keeps_the_bits_of_its_nan():
    odd = struct.unpack("<d", b"\x01\x02\x03\x04\x05\x06\xf8\xff")[0]
    assert struct.pack("<d", round_trip(odd)) == struct.pack("<d", odd)


def test_the_wire_form_of_extensions():
    assert pack(encode_tree(TensorRef(5))) == b"\xd6\x01\x05\x00\x00\x00"
    assert pack(encode_tree((1, "a"))) == b"\xd6\x02\x92\x01\xa1a"
    assert encode_tree(2**64).data == bytes(8) + b"\x01"
    assert encode_tree(dt.datetime(1970, 1, 1, 0, 0, 1)).data == struct.pack("<qIi", 1, 0, -(2**31))
    east = dt.timezone(dt.timedelta(hours=2))
    assert encode_tree(dt.datetime(1970, 1, 1, 2, tzinfo=east)).data == struct.pack("<qIi", 0, 0, 7200)


@pytest.mark.parametrize(
    ("given_value", "stored"),
    [
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({3, 1}, frozenset({1, 3})),
        (bytearray(b"ab"), b"ab"),
        ({np.int64(4): 1}, {4: 1}),
    ],
)
def test_values_that_equal_a_plain_one(given_value, stored):
    assert same(round_trip(given_value), stored)


def test_a_torch_size_is_a_tuple():
    size = type("Size", (tuple,), {"__module__": "torch"})
    assert same(round_trip(size((2, 3))), (2, 3))


class Colour(enum.IntEnum):
    RED = 1


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Colour.RED,
        Pair(1, 2),
        np.float32(0.5),
        np.zeros(2),
        len,
        lambda: 0,
        int,
        {1, "a"},
        {True},
        {(1,)},
        BIG,
        "\ud800",
        {"\ud800": 1},
        {1.5: 1},
        {True: 1},
        {None: 1},
        {2**64: 1},
        dt.date(2020, 1, 1),
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
        Indexed("rank", 2, {0: 1}),
        Indexed("rank", 2, {0: 1, 2: 1}),
        Indexed("rank", 0, {}),
        Flattened({1: 2}, None),
        TensorRef(-1),
        TensorRef(2**32),
        DTypeName("F 4"),
        {"\ud800"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_unsupported(value):
    with pytest.raises(UnsupportedState) as caught:
        encode_tree({"a": [value]})
    assert caught.value.findings[0].key.startswith("a/0")


def test_all_unsupported_values_are_named_at_once():
    with pytest.raises(UnsupportedState) as caught:
        encode_tree({"a": object(), "b": (1, {"c": len}), "d": 1, "e": {"f": {1: object}}})
    assert [finding.key for finding in caught.value.findings] == ["a", "b/1/c", "e/f/1"]
    assert "never pickled" in str(caught.value)


def test_cycles_and_depth():
    loop: dict = {}
    loop["x"] = [1, loop]
    with pytest.raises(UnsupportedState, match="contains itself"):
        encode_tree(loop)
    shared = [1]
    assert round_trip([shared, shared]) == [[1], [1]]
    for wrap in (lambda n: [n], lambda n: (n,), lambda n: {"k": n}, lambda n: Indexed("r", 1, {0: n}), lambda n: Flattened({}, n)):
        node = None
        for _ in range(63):
            node = wrap(node)
        assert same(round_trip(node), node)
        with pytest.raises(UnsupportedState, match="deeper"):
            encode_tree(wrap(node))
    deepest = Flattened({}, None)
    for _ in range(62):
        deepest = {"k": deepest}
    assert same(round_trip(deepest), deepest)


def test_depth_on_decode():
    for wrap in (lambda n: [n], lambda n: msgpack.ExtType(2, pack([n]))):
        node = None
        for _ in range(63):
            node = wrap(node)
        decode_tree(pack(node))
        for _ in range(2):
            node = wrap(node)
            with pytest.raises(Corrupt) as caught:
                decode_tree(pack(node))
            assert caught.value.code == "tree.schema"


@pytest.mark.parametrize("empty", [[], (), {}, frozenset()])
def test_empty_containers_at_the_deepest_level(empty):
    for wrap in (lambda n: [n], lambda n: {"k": n}, lambda n: Indexed("r", 1, {0: n})):
        node = empty
        for _ in range(63):
            node = wrap(node)
        assert same(round_trip(node), node)
        with pytest.raises(UnsupportedState, match="deeper"):
            encode_tree(wrap(node))
        deeper = pack(encode_tree(node))
        for _ in range(2):
            deeper = b"\x91" + deeper
            with pytest.raises(Corrupt) as caught:
                decode_tree(deeper)
            assert caught.value.code == "tree.schema"


def test_partial_indexed():
    mine = Indexed("rank", 4, {2: "x"})
    data = pack(encode_tree(mine, partial=True))
    assert decode_tree(data, partial=True) == mine
    with pytest.raises(Corrupt):
        decode_tree(data)


def test_own_leaves():
    leaf = object()
    encoded = encode_tree({"w": leaf, "t": leaf}, tensor_index=lambda value: 7 if value is leaf else None)
    assert decode_tree(pack(encoded)) == {"w": TensorRef(7), "t": TensorRef(7)}
    assert check_tree(decode_tree(pack(encoded))) == [7, 7]


def ext(code, payload):
    return pack(msgpack.ExtType(code, payload))


@pytest.mark.parametrize(
    "data",
    [
        ext(0, b""),
        ext(10, b""),
        ext(127, b"x"),
        ext(1, b"\x00\x00\x00"),
        ext(1, b"\xff\xff\xff\xff"),
        ext(2, pack({})),
        ext(2, pack(1)),
        ext(3, bytes(15)),
        ext(4, bytes(9)),
        ext(4, b"\xff" * 9),
        ext(4, b"\x01" * 8),
        ext(4, b"\x01" * 4097),
        ext(4, bytes(8) + b"\x01\x00"),
        ext(5, bytes(15)),
        ext(5, struct.pack("<qIi", 0, 10**9, 0)),
        ext(5, struct.pack("<qIi", 0, 0, 86400)),
        ext(5, struct.pack("<qIi", 0, 0, -(2**31) + 1)),
        ext(6, pack({"axis": "r", "size": 1})),
        ext(6, pack({"axis": "r", "size": 1, "values": {0: 1}, "x": 1})),
        ext(6, pack({"axis": 1, "size": 1, "values": {0: 1}})),
        ext(6, pack({"axis": "r", "size": 2, "values": {0: 1}})),
        ext(6, pack({"axis": "r", "size": 1, "values": {1: 1}})),
        ext(6, pack({"axis": "r", "size": 1, "values": {"0": 1}})),
        ext(6, pack({"axis": "r", "size": True, "values": {0: 1}})),
        ext(6, pack({"axis": "r", "size": 0, "values": {}})),
        ext(7, pack([2, 1])),
        ext(7, pack([1, 1])),
        ext(7, pack([1, "a"])),
        ext(7, pack([True])),
        ext(7, pack([1.0])),
        ext(7, pack({})),
        ext(8, pack({"inner": {}})),
        ext(8, pack({"inner": {1: 1}, "attributes": None})),
        ext(8, pack({"inner": [], "attributes": None})),
        ext(9, b""),
        ext(9, b"\xff"),
        ext(9, b"a b"),
    ],
)
def test_refused(data):
    with pytest.raises(Corrupt) as caught:
        decode_tree(data)
    assert caught.value.code == "tree.schema"


@given(NODES, st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes(node, data):
    raw = bytearray(pack(encode_tree(node)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_tree(bytes(raw))
    except (Corrupt, LimitExceeded):
        return
    assert same(round_trip(decoded), decoded)


TREE = {"a": [1, {"b": TensorRef(0)}], 2: (3,), "i": Indexed("r", 1, {0: 5}), "f": Flattened({"q": 6}, {"n": 7}), "e": {}}


def test_walk():
    assert list(walk(TREE)) == [
        (("a", 0), 1),
        (("a", 1, "b"), TensorRef(0)),
        ((2, 0), 3),
        (("i", 0), 5),
        (("f", "inner", "q"), 6),
        (("f", "attributes", "n"), 7),
    ]
    assert path_text(("a", 1, "b")) == "a/1/b"


def test_map_leaves():
    changed = map_leaves(TREE, lambda path, leaf: path)
    assert [path for path, _ in walk(map_leaves(TREE, lambda path, leaf: str(leaf)))] == [path for path, _ in walk(TREE)]
    assert changed["f"].inner["q"] == ("f", "inner", "q")
    assert same(map_leaves(TREE, lambda path, leaf: leaf), TREE)
