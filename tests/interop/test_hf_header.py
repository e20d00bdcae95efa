"""Headers of foreign safetensors files: what the reference library opens is opened alike, what it refuses is refused."""

from __future__ import annotations

import json
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from pyckpt.errors import Corrupt, Unsupported
from pyckpt.format.dtypes import DTYPES
from pyckpt.interop.hf.header import header_bytes, parse_header

BITS = {dtype.name: dtype.bits for dtype in DTYPES.values() if dtype.name == dtype.container}


def file_of(text, data=b""):
    text = text if isinstance(text, bytes) else text.encode()
    return len(text).to_bytes(8, "little") + text + data


def ours(file):
    """Name -> (dtype, shape, bytes of the data), or the error."""
    try:
        start = header_bytes(file[:8], len(file), "f")
        entries = parse_header(file[:start], len(file), "f")
    except (Corrupt, Unsupported) as error:
        return error
    return {e.name: (e.dtype, list(e.shape), bytes(file[start + e.begin : start + e.end])) for e in entries}


def theirs(file):
    try:
        return {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in deserialize(file)}
    except SafetensorError as error:
        return error


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


def header(**entries):
    return json.dumps(entries)


@st.composite
def files(draw):
    """A file with tensors of any dtype in any order, a header in another order, padded or not."""
    names = draw(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=5))
    names = [name for name in names if name != "__metadata__"]
    entries, position = {}, 0
    for name in names:
        dtype = draw(st.sampled_from(sorted(BITS)))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        if prod(shape) * BITS[dtype] % 8:
            shape = [*shape, 8]
        size = prod(shape) * BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    mixed = {name: entries[name] for name in draw(st.permutations(names))}
    if draw(st.booleans()):
        mixed["__metadata__"] = draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))
    text = json.dumps(mixed, ensure_ascii=draw(st.booleans())) + " " * draw(st.integers(0, 9))
    return file_of(text, draw(st.binary(min_size=position, max_size=position)))


@given(files())
def test_what_the_library_opens_is_opened_alike(file):
    assert ours(file) == theirs(file)


@settings(max_examples=400)
@given(files(), st.data())
def test_damage_is_never_taken_for_something_else(file, data):
    """One to three bytes changed, added or removed: either both read the same, or we refuse."""
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        what = data.draw(st.sampled_from(["set", "cut", "add"]))
        byte = data.draw(st.one_of(st.sampled_from(b'{}[]",:0123456789-. \\uF'), st.integers(0, 255)))
        if what == "set":
            damaged[at] = byte
        elif what == "cut" and len(damaged) > 1:
            del damaged[at]
        else:
            damaged.insert(at, byte)
    found = ours(bytes(damaged))
    if not isinstance(found, Exception) and b"-0" not in damaged:
        assert found == theirs(bytes(damaged))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (header(a=entry()) + "\n\t ", b"12345678"),
        ("  " + header(a=entry()), b"12345678"),
        (header(a=entry(extra=[[1]])), b"12345678"),
        ('{"__metadata__":null,' + header(a=entry())[1:], b"12345678"),
        (header(b=entry(shape=[1], data_offsets=[4, 8]), a=entry(shape=[1], data_offsets=[0, 4])), b"12345678"),
        (header(a=entry(shape=[0], data_offsets=[0, 0]), b=entry(shape=[2, 0], data_offsets=[0, 0])), b""),
        (header(a=entry(dtype="U8", shape=[1], data_offsets=[0, 1]), b=entry(data_offsets=[1, 9])), b"123456789"),
        ("{}", b""),
    ],
    ids=["trailing space", "leading space", "more members", "null metadata", "any order", "empty", "unaligned", "none"],
)
def test_allowed_by_both(text, data):
    file = file_of(text, data)
    assert not isinstance(ours(file), Exception)
    assert ours(file) == theirs(file)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (header(a=entry(data_offsets=[4, 12])), b"x" * 12),
        (header(a=entry()), b"x" * 9),
        (header(a=entry()), b"x" * 7),
        (header(a=entry(), b=entry(data_offsets=[4, 12])), b"x" * 12),
        (header(a=entry(data_offsets=[8, 0])), b"x" * 8),
        (header(a=entry(data_offsets=[0, 8, 8])), b"x" * 8),
        (header(a=entry(data_offsets=[0, 2**63])), b"x" * 8),
        (header(a=entry(shape=[2**62, 2**62, 0], data_offsets=[0, 0])), b""),
        (header(a=entry(shape=[2**40, 2**40])), b"x" * 8),
        (header(a=entry(shape=[-2])), b"x" * 8),
        (header(a=entry(shape=[2.0])), b"x" * 8),
        (header(a=entry(shape=[True, 2])), b"x" * 8),
        (header(a=entry(shape=2)), b"x" * 8),
        (header(a=entry(dtype="F4", shape=[3], data_offsets=[0, 2])), b"xx"),
        (header(a=entry(dtype="C128", shape=[1], data_offsets=[0, 16])), b"x" * 16),
        (header(a=entry(dtype=7)), b"x" * 8),
        (header(a={"dtype": "F32", "shape": [2]}), b"x" * 8),
        ('{"__metadata__":{"a":1}}', b""),
        ("[]", b""),
        ("{} {}", b""),
        (b'{"\xff":1}', b""),
        ("", b""),
    ],
)
def test_refused_by_both(text, data):
    file = file_of(text, data)
    assert isinstance(theirs(file), SafetensorError)
    assert isinstance(ours(file), (Corrupt, Unsupported))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', 8),
        ('{"a":["F32",[2],[0,8]]}', 8),
        (header(**{"": entry()}), 8),
        (header(a=entry(shape=[1] * 64 + [2])), 8),
    ],
    ids=["two of one name", "array", "empty name", "65 dimensions"],
)
def test_refused_by_us_alone(text, data):
    file = file_of(text, b"x" * data)
    assert not isinstance(theirs(file), Exception)
    assert ours(file).code == "object.header"


def test_unknown_dtype_is_named():
    error = ours(file_of(header(weight=entry(dtype="F2")), b"x" * 8))
    assert error.code == "dtype.unsupported"
    assert "'weight'" in str(error)


@pytest.mark.parametrize(("length", "size"), [(2**64 - 1, 100), (2**63, 2**64), (100_000_001, 10**12), (93, 100)])
def test_length_is_bounded_before_anything_is_read(length, size):
    with pytest.raises(Corrupt, match=r"object\.header"):
        header_bytes(length.to_bytes(8, "little"), size, "f")


@pytest.mark.parametrize("size", range(8))
def test_files_that_are_too_short(size):
    with pytest.raises(Corrupt, match="too few"):
        header_bytes(b"\0" * size, size, "f")
