"""Requests and trees from which cases of writing and restoring are made."""

import sys

import pytest

from conformance.generate.drafts_c import packed
from conformance.generate.expect import node
from conformance.generate.requests import integer, item, mapping, save, tensor, write_case

NODES = [
    ["nil"],
    ["bool", True],
    ["int", "-9223372036854775809"],
    ["float", "fff4000000000001"],
    ["bytes", "00ff"],
    ["complex", "3ff0000000000000", "8000000000000000"],
    ["timestamp", "-1", 999_999_999, None],
    ["timestamp", "1767319445", 0, 3600],
    ["set", [{"int": "-1"}, {"int": "18446744073709551615"}]],
    ["dtype", "BF16"],
    ["tuple", [["list", []], ["tensor", 7]]],
    ["indexed", "rank", 2, [["text", "a"], ["map", [[{"int": "3"}, ["nil"]]]]]],
    ["flattened", [["q", ["tensor", 0]]], ["map", [["bits", ["int", "8"]]]]],
]


@pytest.mark.parametrize("value", NODES, ids=lambda value: value[0])
def test_a_packed_node_reads_back(value):
    assert node(packed(value), ordered=True) == value


@pytest.mark.parametrize("value", [0, -1, 10**4000, -(10**4000) + 1, 2**32767 - 1, -(2**32767), 10**8000 + 5], ids=hash)
def test_long_integers_are_written_whole(value):
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert integer(value) == ["int", str(value)]
    finally:
        sys.set_int_max_str_digits(before)


def test_options_are_those_that_the_requests_need():
    tree = mapping(("a", ["list", [tensor("t", dtype="BF16"), ["indexed", "rank", 2, {"1": ["nil"]}]]]))
    spec = item(codec="zstd", digest="sha256", block=4096)
    case = write_case("id", "title", [], save(tree, spec=spec), options=["s3"])
    assert case.options == [
        "s3", "write-block", "write-codec:zstd", "write-digest:sha256", "write-dtype:BF16", "write-node:indexed",
        "write-node:list", "write-node:nil",
    ]  # fmt: skip
