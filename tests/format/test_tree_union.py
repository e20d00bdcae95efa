"""The union holds what every writer holds, or says exactly who contradicts whom."""

from __future__ import annotations

import datetime as dt
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import StateDiverged
from pyckpt.format.tree import DTypeName, Flattened, Indexed, TensorRef, walk
from pyckpt.format.tree_union import union_trees


def union(*trees):
    return union_trees(list(enumerate(trees)))


def findings(*trees):
    with pytest.raises(StateDiverged) as caught:
        union(*trees)
    return [(finding.key, finding.message) for finding in caught.value.findings]


FLAT = st.dictionaries(st.sampled_from("abcdef") | st.integers(0, 3), st.integers(0, 9), max_size=8)


@given(FLAT, st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_maps_cut_in_any_way_come_back(tree, writers, random):
    parts = [{} for _ in range(writers)]
    for key, value in tree.items():
        for writer in random.sample(range(writers), random.randint(1, writers)):
            parts[writer][key] = value
    assert union(*parts) == tree
    assert list(union(*parts)) == list({key: 0 for part in parts for key in part})


def test_keys_come_in_the_order_of_the_lowest_writer():
    assert list(union_trees([(1, {"c": 1, "a": 1}), (0, {"b": 1, "a": 1})])) == ["b", "a", "c"]


def test_nested_parts():
    merged = union(
        {"m": {"x": TensorRef(0)}, "s": frozenset({1}), "i": Indexed("rank", 2, {1: (1, {"a": 2})}), "l": [1, {"p": 1}]},
        {"m": {"y": TensorRef(1)}, "s": frozenset({2}), "i": Indexed("rank", 2, {0: None}), "l": [1, {"q": 2}]},
    )
    assert merged == {
        "m": {"x": TensorRef(0), "y": TensorRef(1)},
        "s": frozenset({1, 2}),
        "i": Indexed("rank", 2, {0: None, 1: (1, {"a": 2})}),
        "l": [1, {"p": 1, "q": 2}],
    }
    assert list(merged["i"].values) == [0, 1]
    flat = union({"f": Flattened({"a": TensorRef(0)}, {"k": 1})}, {"f": Flattened({"b": TensorRef(1)}, {"k": 1})})
    assert flat == {"f": Flattened({"a": TensorRef(0), "b": TensorRef(1)}, {"k": 1})}


def test_floats_are_compared_by_their_bits():
    nan = struct.unpack("<d", struct.pack("<d", math.nan))[0]
    assert math.isnan(union({"a": math.nan}, {"a": nan})["a"])
    other = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0]
    assert findings({"a": math.nan}, {"a": other})
    assert findings({"a": 0.0}, {"a": -0.0})
    assert findings({"a": complex(0.0, 0.0)}, {"a": complex(0.0, -0.0)})


UTC = dt.timezone.utc
EAST = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (1, "1"),
        (0, None),
        ("a", b"a"),
        ([1], (1,)),
        ([1], [1, 2]),
        ({}, []),
        (TensorRef(0), TensorRef(1)),
        (TensorRef(0), 0),
        (DTypeName("F32"), DTypeName("F16")),
        (Indexed("a", 1, {0: 1}), Indexed("b", 1, {0: 1})),
        (Indexed("a", 1, {0: 1}), Indexed("a", 2, {0: 1})),
        (Indexed("a", 1, {0: 1}), Indexed("a", 1, {0: 2})),
        (frozenset({1}), frozenset({"a"})),
        (Flattened({}, 1), Flattened({}, 2)),
        (2**40000, 2**40000 + 1),
        (dt.datetime(2020, 1, 1, 1, tzinfo=EAST), dt.datetime(2020, 1, 1, 0, tzinfo=UTC)),
        (dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=UTC)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_contradictions(a, b):
    assert union({"k": [a]}, {"k": [a]}) == {"k": [a]}
    ((key, _),) = findings({"k": [a]}, {"k": [a]}, {"k": [b]})
    assert key.startswith("k/0")


def test_every_contradiction_names_paths_ranks_and_values():
    found = findings({"a": 1, "b": {"c": "x"}, "d": 0}, {"a": 2, "b": {"c": "y"}}, {"a": 1, "b": {"c": "z"}})
    assert found == [
        ("a", "ranks 0, 2: 1; rank 1: 2"),
        ("b/c", "rank 0: 'x'; rank 1: 'y'; rank 2: 'z'"),
    ]


def test_one_tree_is_its_own_union():
    tree = {"a": [1, {"b": TensorRef(0)}]}
    assert union(tree) == union(tree, tree) == tree
    assert list(walk(union(tree, {"a": [1, {"b": TensorRef(0)}]}))) == list(walk(tree))
