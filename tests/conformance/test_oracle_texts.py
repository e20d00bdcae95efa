"""The strict parsers of the oracle for text: JSON, metadata, safetensors headers, names."""

from __future__ import annotations

import json
import struct

import pytest

from conformance.oracle import names
from conformance.oracle.entries import tensor_name
from conformance.oracle.errors import Rejected
from conformance.oracle.header import read_header
from conformance.oracle.json_profile import JsonFault, parse
from conformance.oracle.metadata import decode as metadata


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1}',
        ' \t\r\n{ "a" : [ ] , "b" : { } } \n',
        '{"a":[1,-0,0.5,-1.5e-3,1E+2,true,false,null]}',
        r'{"a":"\u0041\n\/\\\"\ud83d\ude00","\u007f":""}',
        '{"é":"é\x7f"}',
        '{"a":' + "9" * 4300 + "}",
        '{"a":-' + "9" * 4300 + "}",
        '{"a":1e308,"b":1e-999,"c":' + "1" * 5000 + ".0e-5000}",
        "{" + '"a":{' * 63 + "}" * 64,
    ],
)
def test_json_of_the_profile_is_read(text):
    assert parse(text.encode()) == json.loads(text, parse_int=lambda digits: int(digits[:4301]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        '{"a":1}{}',
        '{"a":1} x',
        '{"a":1}\x00',
        '{"a":1,}',
        '{"a" 1}',
        '{"a":}',
        "{a:1}",
        "{'a':1}",
        '{"a":1,"a":2}',
        r'{"a":1,"\u0061":2}',
        '{"a":[1,]}',
        '{"a":[1 2]}',
        '{"a":01}',
        '{"a":-}',
        '{"a":+1}',
        '{"a":1.}',
        '{"a":.5}',
        '{"a":1e}',
        '{"a":0x10}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e309}',
        '{"a":-1e999}',
        '{"a":' + "9" * 4301 + "}",
        '{"a":tru}',
        '{"a":trux}',
        '{"a":nulL}',
        '{xa":1}',
        '{"a":"\tn"}',
        '{"a":True}',
        '{"a":"b}',
        '{"a":"\t"}',
        '{"a":"\n"}',
        r'{"a":"\x41"}',
        r'{"a":"\u12"}',
        r'{"a":"\u+123"}',
        r'{"a":"\ud800"}',
        r'{"a":"\ud800x\udc00"}',
        r'{"a":"\udc00\ud800"}',
        r'{"a":"\udc00"}',
        r'{"a":"\ud800\ud800\udc00"}',
        "{" + '"a":{' * 64 + "}" * 65,
        '{"a":' + "[" * 64 + "]" * 64 + "}",
        '{"a":1}//',
        '{"a":1}\xa0',
        "\ufeff{}",
    ],
)
def test_json_outside_the_profile_is_refused(text):
    with pytest.raises(JsonFault):
        parse(text.encode())


@pytest.mark.parametrize("data", [b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b"\xef\xbb\xbf{}"])
def test_json_that_is_not_utf8_is_refused(data):
    with pytest.raises(JsonFault):
        parse(data)


def test_deep_json_does_not_overflow_the_stack():
    for text in ("[" * 10**6, '{"a":' * 10**6):
        with pytest.raises(JsonFault):
            parse(b'{"a":' + text.encode())


def test_metadata_keeps_types():
    text = r'{"i":1,"f":1.0,"e":1e0,"n":{"$float":"nan"},"p":{"$float":"inf"},"m":{"$float":"-inf"},"z":-0.0,"$$x":[{"$$$y":null}],"b":{"$int":"-9007199254740992"}}'
    found = metadata(parse(text.encode()))
    assert [type(found[key]) for key in "ife"] == [int, float, float]
    assert found["n"] != found["n"]
    assert (found["p"], found["m"], found["b"]) == (float("inf"), float("-inf"), -(2**53))
    assert struct.pack("<d", found["z"]) == struct.pack("<d", -0.0)
    assert found["$x"] == [{"$$y": None}]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":9007199254740992}',
        '{"a":[-9007199254740992]}',
        '{"a":{"$int":"5"}}',
        '{"a":{"$int":"9007199254740991"}}',
        '{"a":{"$int":"-0"}}',
        '{"a":{"$int":"099999999999999999999"}}',
        '{"a":{"$int":"+99999999999999999999"}}',
        '{"a":{"$int":99999999999999999999}}',
        '{"a":{"$int":"' + "9" * 4097 + '"}}',
        '{"a":{"$float":"Infinity"}}',
        '{"a":{"$float":"1.5"}}',
        '{"a":{"$float":1.5}}',
        '{"a":{"$bytes":""}}',
        '{"a":{"$":1}}',
        '{"a":{"$int":"99999999999999999999","b":1}}',
        '{"$int":"99999999999999999999"}',
        '{"$x":1}',
    ],
)
def test_metadata_outside_the_table_is_refused(text):
    with pytest.raises(Rejected) as caught:
        metadata(parse(text.encode()))
    assert caught.value.code == "root.schema"


def header_bytes(text: str, pad: bytes = b" ", length: int | None = None) -> bytes:
    data = text.encode()
    size = 4088 if length is None else length
    return size.to_bytes(8, "little") + data.ljust(4088, pad)


def braced(*members: str) -> str:
    return "{" + ",".join(members) + "}"


GOOD_ENTRY = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (braced(GOOD_ENTRY), 8),
        (braced(GOOD_ENTRY, '"__metadata__":{"format":"pt"}'), 8),
        ('{ "a" : {"shape":[0,9223372036854775807,9],"data_offsets":[0,0],"dtype":"F64"}\n}', 0),
        (
            '{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"b":{"dtype":"NEW","shape":[7],"data_offsets":[1,3]}}',
            3,
        ),
        ("{}", 0),
        ('{"__metadata__":{}}', 0),
    ],
)
def test_headers_of_the_profile_are_read(text, size):
    read_header(header_bytes(text), 4096 + size, "object")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (header_bytes(" " + braced(GOOD_ENTRY)), 8),
        (header_bytes(braced(GOOD_ENTRY) + "\n"), 8),
        (header_bytes(braced(GOOD_ENTRY), b"\0"), 8),
        (header_bytes(braced(GOOD_ENTRY, GOOD_ENTRY)), 8),
        (header_bytes(braced(GOOD_ENTRY)), 9),
        (header_bytes(braced(GOOD_ENTRY)), 7),
        (header_bytes("{}"), 1),
        (header_bytes(braced(GOOD_ENTRY), length=4080), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("}", ',"x":1}'))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace('"shape":[2],', ""))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[0,8]", "[0,8,8]"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[0,8]", "[8,0]"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[0,8]", "[-8,0]"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[2]", "[2.0]"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[2]", "[true,2]"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[2]", "[3]"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[2]", "[9223372036854775808,0]").replace("8]}", "0]}"))), 0),
        (header_bytes(braced(GOOD_ENTRY.replace('"F32"', "32"))), 8),
        (header_bytes(braced(GOOD_ENTRY, '"__metadata__":{"format":1}')), 8),
        (header_bytes(braced(GOOD_ENTRY, '"__metadata__":[]')), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[0,8]", "[4,12]"))), 12),
        (header_bytes("[" + GOOD_ENTRY + "]"), 8),
        ((4095).to_bytes(8, "little") + b"{}".ljust(4095), 7),
        (header_bytes(braced(GOOD_ENTRY.replace("[2]", "2"))), 8),
        (header_bytes(braced(GOOD_ENTRY.replace("[0,8]", "8"))), 8),
    ],
)
def test_headers_outside_the_profile_are_refused(data, size):
    with pytest.raises(Rejected) as caught:
        read_header(data, 4096 + size, "object")
    assert caught.value.code == "object.header"


def test_a_header_shape_of_millions_of_dimensions_takes_no_time():
    shape = ",".join(["9223372036854775807"] * 200_000)
    text = braced(GOOD_ENTRY.replace("[2]", f"[{shape}]"))
    data = (4096 * 1000 - 8).to_bytes(8, "little") + text.encode().ljust(4096 * 1000 - 8)
    with pytest.raises(Rejected):
        read_header(data, len(data) + 8, "object")


def test_the_grammars_of_names():
    assert all(map(names.is_checkpoint, ["a", "...", "A.b_c-1", "x" * 128, ".hidden"]))
    assert not any(
        map(names.is_checkpoint, ["", ".", "..", ".tombstones", "a/b", "a\\b", "é", "x" * 129, "a\n", "a b"])
    )
    assert all(map(names.is_item, ["a", "_", "-x", "a.json", "x" * 128]))
    assert not any(map(names.is_item, ["", ".a", "checkpoint.json", "a/b", "x" * 129, "a\n"]))
    good = ["config.json", "é.json", "a/b/c/d/e/f/g/h", "x" * 255, "a.d/b", "0123456789abcdef.dd", " a", "manifest-0"]
    assert all(map(names.is_asset, good))
    bad = ["", "a//b", "/a", "a/", ".", "a/..", "a:b", "a\\b", "a\x7f", "a\n", "x" * 256, "/".join("a" * 9), "é" * 451]
    bad += ["manifest-0123456789abcdef.msgpack.zst", "0123456789abcdef-1.safetensors", "0123456789abcdef.d/a"]
    bad += ["0123456789abcdef.d", "a/.tmp-0123456789abcdef", ".probe-0123456789abcdef", "a?", "a*", 'a"', "a|b", "<a>"]
    assert not any(map(names.is_asset, bad))
    assert names.clashing_asset(["a", "a/b"]) == "a/b"
    assert names.clashing_asset(["a", "ab/c", "b/a"]) is None
    assert names.data_object_key("m/0123456789abcdef-00000.safetensors")
    assert names.data_object_key("m/0123456789abcdef-9223372036854775807.safetensors")
    wrong = ["0000", "000000", "000001", "9223372036854775808", "1" * 20, "-0001", "1e003"]
    assert not any(names.data_object_key(f"m/0123456789abcdef-{number}.safetensors") for number in wrong)
    assert not names.data_object_key("m/n/0123456789abcdef-00000.safetensors")
    assert not names.data_object_key("m/0123456789ABCDEF-00000.safetensors")


def test_tensor_names_of_paths():
    assert tensor_name(("layers.0.weight",)) == "layers.0.weight"
    assert tensor_name(("state", 0, "exp/avg")) == "state/#0/exp%2Favg"
    assert tensor_name(("a", "", "#1", "50%@x")) == "a/%/%231/50%25%40x"
    assert tensor_name(("k", -3)) == "k/#-3"
    assert tensor_name(("__metadata__",)) == "%5F_metadata__"
    assert tensor_name(("\x1f\x7f",)) == "%1F%7F"
    assert len(tensor_name(("x" * 60_001,))) == 66
    assert tensor_name(("x" * 60_000,)) == "x" * 60_000
