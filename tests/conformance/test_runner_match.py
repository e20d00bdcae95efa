"""Matching of responses, and what is said where they do not match."""

from __future__ import annotations

import hashlib

import pytest

from conformance.runner.match import mismatches, unexpected
from conformance.runner.suite import Index

INDEX = Index("1.0", {}, {"root.digest": frozenset({"open"}), "state.layout": frozenset({"save", "plan"}),
                          "usage.invalid": frozenset({"any"})})  # fmt: skip


@pytest.mark.parametrize(("pattern", "value"), [
    ({"a": 1}, {"a": 1, "b": 2}),
    ([1, {"x": "y"}], [1, {"x": "y", "z": None}]),
    ({"$set": [1, 2, 3]}, [3, 1, 2]),
    ({"$set": [{"$any": [1, 2]}, 1]}, [1, 2]),
    ({"$set": []}, []),
    ({"$contains": [2]}, [1, 2, 3]),
    ({"$any": [[1], {"a": 1}]}, {"a": 1, "b": 2}),
    ({"$about": ["x", "key"]}, "the key k"),
    ({"$equal": {"$set": [1]}}, {"$set": [1]}),
    (1, 1.0),
    (None, None),
])  # fmt: skip
def test_matches(pattern, value):
    assert mismatches(pattern, value) == []


@pytest.mark.parametrize(("pattern", "value", "place"), [
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]: expected 2, found 3"),
    ({"a": 1}, {"b": 1}, "no member a"),
    ({"a": 1}, [], 'expected {"a":1}, found []'),
    ([1], [1, 2], "expected 1 elements, found 2"),
    ([1], 1, "expected [1], found 1"),
    (True, 1, "expected true, found 1"),
    (0, False, "expected 0, found false"),
    ("1", 1, 'expected "1", found 1'),
    ({"$set": [1, 1]}, [1, 2], "[1]: expected 1, found 2"),
    ({"$set": [1, 1, 1]}, [1, 2, 3], "1 is missing"),
    ({"$set": [{"n": "a", "v": 1}, {"n": "b", "v": 2}]}, [{"n": "b", "v": 3}, {"n": "a", "v": 1}], "[0].v: expected 2"),
    ({"$set": [1]}, [1, 2], "[1]: not expected: 2"),
    ({"$set": [1]}, {}, "found {}"),
    ({"$contains": [4]}, [1, 2], "4 is missing"),
    ({"$any": [1, 2]}, 3, "expected one of [1,2], found 3"),
    ({"$about": ["x"]}, "y", "a text with one of"),
    ({"$about": ["x"]}, None, "found null"),
    ({"$equal": {"a": 1}}, {"a": 1, "b": 2}, "expected"),
    ({"$equal": [True]}, [1], "expected [true]"),
])  # fmt: skip
def test_says_where_it_does_not_match(pattern, value, place):
    found = mismatches(pattern, value)
    assert found
    assert place in found[0]


def test_any_order_finds_the_assignment_that_a_greedy_choice_misses():
    anything, one = {"$any": [1, 2]}, 1
    assert mismatches({"$set": [anything, anything, one]}, [1, 2, 2]) == []
    assert mismatches({"$set": [anything, one, one]}, [1, 2, 2]) != []


def test_files(tmp_path):
    data = b"\x01\x02\x03"
    (tmp_path / "0").write_bytes(data)
    (tmp_path / "other").write_bytes(b"abc")
    wanted = {"$file": {"size": 3, "sha256": hashlib.sha256(data).hexdigest(), "hex": data.hex()}}
    assert mismatches(wanted, "0", tmp_path) == []
    assert "616263" in mismatches(wanted, "other", tmp_path)[0]
    del wanted["$file"]["hex"]
    assert "other bytes" in mismatches(wanted, "other", tmp_path)[0]
    assert "can't be read" in mismatches(wanted, "absent", tmp_path)[0]
    assert "expected 4" in mismatches({"$file": {"size": 4, "sha256": ""}}, "0", tmp_path)[0]
    outside = tmp_path / "sub"
    outside.mkdir()
    assert "leads out" in mismatches(wanted, "../0", outside)[0]
    assert "name of a file" in mismatches(wanted, 0, tmp_path)[0]


def rejected(code, phase="open"):
    return {"id": 1, "result": "rejected", "code": code, "phase": phase, "subject": "", "message": "no"}


def test_codes_and_phases():
    expect = {"result": "rejected", "codes": ["root.digest", "state.layout"]}
    assert unexpected(expect, rejected("root.digest"), INDEX, None) == []
    assert unexpected(expect, rejected("state.layout", "plan"), INDEX, None) == []
    assert "the registry has plan or save" in unexpected(expect, rejected("state.layout", "open"), INDEX, None)[0]
    assert "code" in unexpected(expect, rejected("usage.invalid"), INDEX, None)[0]
    narrow = {**expect, "phases": ["save"]}
    assert "phase of state.layout: expected save" in unexpected(narrow, rejected("state.layout", "plan"), INDEX, None)[0]
    anywhere = {"result": "rejected", "codes": ["usage.invalid"]}
    assert unexpected(anywhere, rejected("usage.invalid", "delete"), INDEX, None) == []
    assert unexpected(anywhere, {"id": 1, "result": "ok"}, INDEX, None) == [
        "expected rejected by usage.invalid, found ok"
    ]


def test_error_passes_nothing():
    for expect in ({"result": "ok"}, {"result": "rejected", "codes": ["root.digest"]}):
        assert "error" in unexpected(expect, {"id": 1, "result": "error", "message": "oops"}, INDEX, None)[0]


def test_alternatives():
    expect = [{"result": "ok", "values": {"a": 1, "b": 2}}, {"result": "rejected", "codes": ["root.digest"]}]
    assert unexpected(expect, {"result": "ok", "a": 1, "b": 2}, INDEX, None) == []
    assert unexpected(expect, rejected("root.digest"), INDEX, None) == []
    assert any("b: expected 2, found 3" in text for text in unexpected(expect, {"result": "ok", "a": 1, "b": 3}, INDEX, None))
    found = unexpected(expect, {"result": "unsupported", "what": "s3"}, INDEX, None)
    assert found == ["expected ok or rejected by root.digest, found unsupported (s3)"]


def test_values_of_refusals_count():
    expect = {"result": "rejected", "codes": ["root.digest"], "values": {"subject": {"$about": ["c/checkpoint.json"]}}}
    assert "subject" in unexpected(expect, rejected("root.digest"), INDEX, None)[0]
