"""The generator's building blocks, against libraries that know nothing of them."""

import math
import struct

import msgpack
import pytest
import zstandard

from conformance.generate.areas.man_frame import COMPRESSED, _base
from conformance.generate.drafts import assembled, basic, raw_tree, scalars, tensor
from conformance.generate.expect import finding, inspected, leaves, metadata, node, number, read_values, root_digest
from conformance.generate.pack import Ext, Raw, ext, long, pack
from conformance.generate.squeeze import squeezed
from conformance.oracle.encode import build

VALUES = [None, True, 0, 127, 128, -32, -33, 1 << 63, -(1 << 63), (1 << 64) - 1, 1.5, -0.0, "", "é" * 20, "x" * 300]
VALUES += [b"", b"\x00" * 300, [], list(range(20)), {}, {1: {"1": [None]}}, {str(at): at for at in range(20)}]


def unpacked(data):
    return msgpack.unpackb(data, strict_map_key=False)


def raw_of(draft):
    found = []
    build(draft.with_item("model", raw=lambda raw: found.append(raw) or raw))
    return found[0]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_packed_values_are_read_back(value):
    assert pack(value) == msgpack.packb(value)
    assert unpacked(long(value)) == value
    assert len(long(value)) >= len(pack(value))


@pytest.mark.parametrize("width", [None, 1, 2, 4])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8, 16, 17, 255])
def test_extensions_in_every_encoding(size, width):
    assert unpacked(ext(5, bytes(size), width)) == msgpack.ExtType(5, bytes(size))


def test_an_extension_of_a_value_holds_its_encoding():
    assert unpacked(pack(Ext(2, [1, Raw(b"\xa1a")]))) == msgpack.ExtType(2, b"\x92\x01\xa1a")


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"a" * 64, b"ab" + b"c" * 300_000 + b"d", bytes(1 << 20) + b"x" * 200_000]
)
def test_squeezed_frames_unfold(data):
    frame = squeezed(data)
    assert zstandard.ZstdDecompressor().decompress(frame) == data
    assert len(frame) < 100


def test_the_compressed_constant_is_the_base():
    assert zstandard.ZstdDecompressor().decompress(COMPRESSED) == raw_of(_base())


def test_a_tree_and_keys_are_put_in():
    raw = build(raw_tree(scalars(), pack({"a": 1})))["model/manifest-3f9c2a71d0b84e55.msgpack.zst"]
    assert unpacked(zstandard.ZstdDecompressor().decompress(raw))["tree"] == {"a": 1}
    raw = build(assembled(scalars(), {"x": [1], 2: 3}))["model/manifest-3f9c2a71d0b84e55.msgpack.zst"]
    record = unpacked(zstandard.ZstdDecompressor().decompress(raw))
    assert (record["x"], record[2], record["scf"]) == ([1], 3, 1)


def test_nodes_of_the_examples_of_the_text():
    rows = {
        "d8 03 000000000000f03f00000000000000c0": ["complex", "3ff0000000000000", "c000000000000000"],
        "c7 09 04 000000000000000001": ["int", str(1 << 64)],
        "c7 09 04 ffffffffffffff7fff": ["int", str(-(1 << 63) - 1)],
        "d8 05 95275769000000000000 0000100e0000": ["timestamp", "1767319445", 0, 3600],
        "d8 05 a535576900000000 0065cd1d 00000080": ["timestamp", "1767323045", 500_000_000, None],
        "c7 05 07 92a161a162": ["set", ["a", "b"]],
        "d6 09 42463136": ["dtype", "BF16"],
        "d6 02 9201a161": ["tuple", [["int", "1"], ["text", "a"]]],
    }
    assert [node(unpacked(bytes.fromhex(data))) for data in rows] == list(rows.values())
    assert node({1: math.inf}) == ["map", {"$set": [[{"int": "1"}, ["float", "7ff0000000000000"]]]}]


def test_metadata_of_the_example_of_the_text():
    given = {"loss": 0.5, "best": {"$float": "inf"}, "seed": {"$int": "18446744073709551615"}, "$$price": 3}
    values = [["loss", ["float", struct.pack(">d", 0.5).hex()]], ["best", ["float", "7ff0000000000000"]]]
    values += [["seed", ["int", "18446744073709551615"]], ["$price", ["int", "3"]]]
    assert metadata(given) == ["map", {"$set": values}]


def test_expectations_of_a_whole_checkpoint():
    draft = basic()
    values = inspected(draft)
    assert values["root"]["digest"] == root_digest(draft)
    assert values["root"]["items"]["model"]["counts"] == {"tensors": 2, "shards": 3, "objects": 1, "bytes": 30}
    assert values["items"]["model"]["tensors"] == [{"dtype": "F32", "shape": [2, 3]}, {"dtype": "BF16", "shape": [3]}]
    item = draft.items["model"]
    assert read_values(item, [("b",)])["tensors"][0]["file"]["$file"]["hex"] == "803f00404040"
    assert {each["path"][0] for each in read_values(item)["tensors"]["$set"]} == {"w", "b"}
    assert inspected(draft, items=[])["items"] == {"$equal": {}}


def test_leaves_below_every_container():
    inside = msgpack.ExtType(2, pack([Ext(1, b"\x01\0\0\0"), {2: Ext(1, b"\x02\0\0\0")}]))
    flat = msgpack.ExtType(8, pack({"inner": {"q": Ext(1, b"\x03\0\0\0")}, "attributes": Ext(1, b"\x04\0\0\0")}))
    indexed = msgpack.ExtType(6, pack({"axis": "a", "size": 1, "values": {0: Ext(1, b"\x05\0\0\0")}}))
    tree = {"t": tensor(0), "l": [inside], 7: flat, "i": indexed}
    assert dict(leaves(tree)) == {
        ("t",): 0, ("l", 0, 0): 1, ("l", 0, 1, 2): 2, (7, "inner", "q"): 3, (7, "attributes"): 4, ("i", 0): 5
    }  # fmt: skip


def test_integers_beyond_json_are_text():
    assert [number(value) for value in ((1 << 53) - 1, 1 << 53)] == [9007199254740991, "9007199254740992"]


def test_findings_name_their_subject():
    expect = finding("block.digest", about=["w"])
    contains = [{"code": "block.digest", "subject": {"$about": ["w"]}}]
    assert expect["values"] == {"sound": False, "findings": {"$contains": contains}}
