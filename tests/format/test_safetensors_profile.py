"""Every safetensors reader opens what is built; what is parsed has exactly the strict form."""

from __future__ import annotations

import json
from math import prod

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, LimitExceeded, UsageError
from pyckpt.format.dtypes import DTYPES
from pyckpt.format.geometry import Box, Region
from pyckpt.format.names import entry_name
from pyckpt.format.safetensors import Entry, build_header, entry_form, header_size, parse_header

CONTAINERS = {dtype.name: dtype.bits for dtype in DTYPES.values() if dtype.container == dtype.name}
META = {"format": "pt", "scf.attempt": "0123456789abcdef"}


@st.composite
def headers(draw):
    names = draw(st.lists(st.text(min_size=1, max_size=8).map(lambda name: entry_name((name,))), unique=True, max_size=6))
    entries, position = [], 0
    for name in names:
        dtype = draw(st.sampled_from(sorted(CONTAINERS)))
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
        if prod(shape) * CONTAINERS[dtype] % 8:
            shape = (*shape, 4)
        end = position + prod(shape) * CONTAINERS[dtype] // 8
        entries.append(Entry(name, dtype, shape, position, end))
        position = end
    return entries, position


@given(headers(), st.sampled_from([{}, META]))
@settings(max_examples=100, deadline=None)
def test_round_trip_and_the_reference_reader(case, metadata):
    entries, size = case
    header = build_header(entries, metadata)
    assert len(header) % 4096 == 0
    assert parse_header(header, len(header) + size) == (metadata, tuple(entries))
    loaded = dict(safetensors.deserialize(header + bytes(size)))
    assert {name: (info["dtype"], tuple(info["shape"])) for name, info in loaded.items()} == {
        entry.name: (entry.dtype, entry.shape) for entry in entries
    }


def test_the_reference_reader_gets_the_values(tmp_path):
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], dtype=np.int16)}
    entries = [Entry("a", "F32", (2, 3), 0, 24), Entry("b", "I16", (2,), 24, 28)]
    path = tmp_path / "x.safetensors"
    path.write_bytes(build_header(entries, META) + values["a"].tobytes() + values["b"].tobytes())
    for name, array in safetensors.numpy.load_file(path).items():
        np.testing.assert_array_equal(array, values[name])
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == META


def make(text, size=0, pad=True):
    data = text if isinstance(text, bytes) else text.encode()
    if pad:
        data = data.ljust(-(-(len(data) + 8) // 4096) * 4096 - 8)
    return len(data).to_bytes(8, "little") + data, len(data) + 8 + size


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def refused(header, size):
    with pytest.raises(Corrupt) as caught:
        parse_header(header, size)
    assert caught.value.code == "object.header"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        "",
        " {}",
        "{}x",
        "{}\n",
        "\ufeff{}",
        '{"a":1}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"__metadata__":{"a":1}}',
        '{"__metadata__":[]}',
        '{"__metadata__":{"a":"b","a":"b"}}',
        b'{"\xff":1}',
        json.dumps({"a": entry(extra=1)}),
        json.dumps({"a": {"dtype": "F32", "shape": [1]}}),
        json.dumps({"a": entry(dtype=1)}),
        json.dumps({"a": entry(shape=[True])}),
        json.dumps({"a": entry(shape=[1.0])}),
        json.dumps({"a": entry(shape=[-1])}),
        json.dumps({"a": entry(shape=[2**63])}),
        json.dumps({"a": entry(shape=[1] * 65)}),
        json.dumps({"a": entry(offsets=[0, 4, 4])}),
        json.dumps({"a": entry(offsets=[0, 8])}),
        json.dumps({"a": entry(offsets=[1, 5])}),
        json.dumps({"a": entry(offsets=[0, -4])}),
        json.dumps({"a": entry(dtype="F5", offsets=[1, 4])}),
        json.dumps({"a": entry(), "b": entry(dtype="F5", offsets=[0, 4])}),
        json.dumps({"a": entry(shape=[2**62, 2**62])}),
        json.dumps({"a": entry(), "b": entry()}),
        json.dumps({"a": entry(), "b": entry(offsets=[8, 12])}),
        json.dumps({"b": entry(offsets=[4, 8]), "a": entry()}),
        '{"a":' + "[" * 100 + "]" * 100 + "}",
    ],
)
def test_refused(text):
    refused(*make(text, 4))


def test_sizes():
    good, size = make(json.dumps({"a": entry()}), 4)
    assert parse_header(good, size)[1][0].end == 4
    refused(good, size + 1)
    refused(good, size - 1)
    refused(good[:-1], size)
    refused(good + b" ", size)
    refused(b"", 0)
    refused(good[:7], size)
    refused(*make(json.dumps({"a": entry()}), 4, pad=False))
    tabs = good.replace(b" ", b"\t")
    refused(tabs, size)
    for length in (2**64 - 1, 2**63, 100_000_001, 10**8):
        refused(length.to_bytes(8, "little") + good[8:], size)
    with pytest.raises(Corrupt):
        header_size((2**30 - 8).to_bytes(8, "little"), 2**40)


def test_a_newer_dtype_takes_what_it_says():
    assert parse_header(*make(json.dumps({"a": entry(dtype="F5", offsets=[0, 3])}), 3))[1][0].dtype == "F5"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes(data):
    header = bytearray(build_header([Entry("a", "F32", (1,), 0, 4), Entry("b", "U8", (3,), 4, 7)], META))
    header[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    try:
        parse_header(bytes(header), len(header) + 7)
    except Corrupt as error:
        assert error.code == "object.header"


def test_build_refuses_what_would_not_parse():
    with pytest.raises(UsageError):
        build_header([Entry("a", "U8", (1,), 0, 1), Entry("a", "U8", (1,), 1, 2)], {})
    with pytest.raises(UsageError):
        build_header([Entry("a", "U8", (1,), 1, 2)], {})
    with pytest.raises(UsageError):
        build_header([Entry("__metadata__", "U8", (1,), 0, 1)], {})
    with pytest.raises(UsageError):
        build_header([Entry("\ud800", "U8", (1,), 0, 1)], {})
    with pytest.raises(LimitExceeded):
        build_header([Entry("a" * 50_000 + str(n), "U8", (0,), 0, 0) for n in range(2001)], {})


def test_entry_forms():
    whole = Region.whole((2, 3))
    assert entry_form("BF16", whole, encoded=False, stored_size=12) == ("BF16", (2, 3))
    assert entry_form("C128", whole, encoded=False, stored_size=96) == ("F64", (2, 3, 2))
    assert entry_form("C32", Region(Box((0, 0), (2, 3)), 1, 4), encoded=False, stored_size=12) == ("F16", (3, 2))
    assert entry_form("F32", Region.of_box(Box((1, 0), (1, 3))), encoded=False, stored_size=12) == ("F32", (1, 3))
    assert entry_form("F32", whole, encoded=True, stored_size=7) == ("U8", (7,))
    assert entry_form("F32", Region.whole(()), encoded=False, stored_size=4) == ("F32", ())
