"""Only one well-formed value passes, and no bytes raise anything but the library's own errors."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.format.msgpack_strict import pack, unpack

CODE = "manifest.syntax"

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=8) | st.integers(0, 99), inner),
    max_leaves=20,
)


def read(data, **options):
    return unpack(data, code=CODE, **options)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_round_trip(value):
    assert read(pack(value)) == value


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_form_of_length(size):
    for value in ("x" * size, b"x" * size, [None] * size, dict.fromkeys(range(size))):
        assert read(pack(value)) == value


def test_float32_has_its_exact_value():
    assert read(b"\xca" + struct.pack(">f", 0.1)) == struct.unpack(">f", struct.pack(">f", 0.1))[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x92\xc0",
        b"\x82\xa1a\x01\xa1a\x02",  # "a" twice
        b"\x82\x01\x01\xcc\x01\x02",  # 1 twice, in two forms
        b"\x81\xc0\x01",  # nil as a key
        b"\x81\xc2\x01",  # False as a key
        b"\x81\xca\x3f\x80\x00\x00\x01",  # 1.0 as a key
        b"\x81\xc4\x01a\x01",  # bin as a key
        b"\x81\x90\x01",  # array as a key
        b"\xa2\xc3\x28",  # malformed UTF-8
        b"\xa2\xc0\x80",  # overlong
        b"\xa3\xed\xa0\x80",  # surrogate
        b"\xd9",
        b"\xda\x00",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xffabc",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xcf\x00",
    ],
)
def test_refused(data):
    with pytest.raises(Corrupt) as caught:
        read(data)
    assert caught.value.code == CODE


@pytest.mark.parametrize("data", [b"\xd4\x05a", b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x00\x05", b"\x91\xd7\xff" + bytes(8)])
def test_extensions_are_refused_unless_a_hook_takes_them(data):
    with pytest.raises(Corrupt) as caught:
        read(data)
    assert caught.value.code == "tree.schema"


def test_messagepacks_own_timestamp_never_reaches_a_hook():
    with pytest.raises(Corrupt):
        read(msgpack.packb(msgpack.Timestamp(1, 2)), ext_hook=lambda kind, payload: payload)


@pytest.mark.parametrize("first", [b"\x91", b"\x81\x01"])
def test_depth(first):
    assert read(first * 127 + b"\x90") is not None
    with pytest.raises(Corrupt):
        read(first * 128 + b"\x90")
    with pytest.raises(Corrupt):
        read(first * 500_000 + b"\xc0")


def nest(depth):
    data = b"\xc0"
    for _ in range(depth):
        data = msgpack.packb(msgpack.ExtType(2, data))
    return data


def test_nested_extensions_are_scanned_too():
    hook = {"nested": frozenset({2}), "ext_hook": lambda kind, payload: payload}
    assert read(nest(64), **hook) is not None
    for bad in (nest(65), nest(20_000)):
        with pytest.raises(Corrupt) as caught:
            read(bad, **hook)
        assert caught.value.code == "tree.schema"
    for payload in (b"", b"\x91", b"\xc0\xc0", b"\xdc\xff\xff"):
        with pytest.raises(Corrupt):
            read(msgpack.packb(msgpack.ExtType(2, payload)), **hook)
        assert read(msgpack.packb(msgpack.ExtType(3, payload)), **hook) == payload


def test_a_count_is_bounded_by_the_bytes_and_by_a_limit():
    with pytest.raises(Corrupt):
        read(b"\xdd\x10\x00\x00\x00" + bytes(100))
    with pytest.raises(LimitExceeded):
        read(pack([0] * 101), max_values=100)
    assert read(pack([0] * 99), max_values=100) == [0] * 99


@given(st.binary(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_bytes(data):
    try:
        value = read(data, nested=frozenset({2}), ext_hook=lambda kind, payload: (kind, payload))
    except (Corrupt, LimitExceeded):
        return
    # what is accepted, the plain decoder reads the same way
    expected = msgpack.unpackb(data, strict_map_key=False, ext_hook=lambda kind, payload: (kind, payload))
    assert repr(value) == repr(expected)


@given(VALUES, st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_bytes(value, data):
    raw = bytearray(pack(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(raw))
    except (Corrupt, LimitExceeded):
        return
    msgpack.unpackb(bytes(raw), strict_map_key=False)
