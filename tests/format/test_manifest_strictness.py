"""Rules of the manifest that readers could differ on: what an independent reader and this one have to agree about."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from manifest_cases import ATTEMPT, BLOCK, ITEM, digests, full_manifest, make_manifest, own

from pyckpt.errors import Corrupt, PyckptError
from pyckpt.format.codecs import Codec, encode_block, planes, zstd
from pyckpt.format.manifest import Manifest, decode_manifest, encode_manifest
from pyckpt.format.manifest_check import check_manifest, check_object_keys
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.shard_rows import ShardRow, build_shards
from pyckpt.format.shard_table import BLOCK_GROWTH, BLOCK_GROWTH_PART, ObjectRow
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tree import TensorRef


def plain(manifest):
    return msgpack.unpackb(
        encode_manifest(manifest), strict_map_key=False, ext_hook=lambda kind, data: msgpack.ExtType(kind, data)
    )


def read(record):
    manifest = decode_manifest(pack(record), item=ITEM, attempt=ATTEMPT)
    check_manifest(manifest)
    return manifest


def code_of(record):
    with pytest.raises(PyckptError) as caught:
        read(record)
    return caught.value.code


def test_an_object_has_one_name():
    key = f"{ITEM}/{ATTEMPT}-00001.safetensors"
    other = ObjectRow(None, f"step_1/{key}", 5000, 4096, b"h" * 32, "blake3", BLOCK)
    manifest = make_manifest([("a", "U8", (4,))], [(0, None, False)], objects=lambda size: (own(0, size), other))
    check_object_keys(manifest, "step_2")
    with pytest.raises(Corrupt, match="own keys") as caught:
        check_object_keys(manifest, "step_1")
    assert caught.value.code == "manifest.schema"


# ---- extensions outside the tree

EXTENSIONS = {
    "tensor": msgpack.ExtType(1, bytes(4)),
    "tuple": msgpack.ExtType(2, b"\x90"),
    "complex": msgpack.ExtType(3, bytes(16)),
    "bigint": msgpack.ExtType(4, bytes(8) + b"\x01"),
    "timestamp": msgpack.ExtType(5, bytes(16)),
    "set": msgpack.ExtType(7, b"\x90"),
    "dtype": msgpack.ExtType(9, b"F32"),
}
PLACES = [
    lambda record, value: record.update({"x-a": value}),
    lambda record, value: record.update({"x-a": [{"b": [1, value]}]}),
    lambda record, value: record["codecs"][1][0].update({"x-p": value}),
    lambda record, value: record["objects"][0].update({"x-o": value}),
    lambda record, value: record["tensors"].update({"x-t": value}),
]


@pytest.mark.parametrize("put", PLACES)
@pytest.mark.parametrize("name", EXTENSIONS)
def test_extensions_outside_the_tree(put, name):
    record = plain(full_manifest())
    put(record, EXTENSIONS[name])
    assert code_of(record) == "manifest.schema"
    record = plain(full_manifest())
    put(record, msgpack.ExtType(99, b""))
    assert code_of(record) == "tree.schema"
    record = plain(full_manifest())
    put(record, [None, True, -1, 2**64 - 1, 0.5, "x", b"x", {5: []}])
    read(record)


def test_an_extension_is_no_map_key():
    raw = pack({"x": 1}).replace(b"\xa1x", pack(EXTENSIONS["bigint"]))
    for data in (raw, pack(2**64 - 1).join((b"\x81", b"\x01"))):
        record = plain(full_manifest())
        whole = pack({**record, "x-a": 0})
        assert whole.endswith(b"\x00")
        if data is raw:
            with pytest.raises(Corrupt, match="extension") as caught:
                decode_manifest(whole[:-1] + data, item=ITEM, attempt=ATTEMPT)
            assert caught.value.code == "manifest.syntax"
        else:
            decode_manifest(whole[:-1] + data, item=ITEM, attempt=ATTEMPT)


# ---- names


@pytest.mark.parametrize("name", ["", "bad name", "1F", "F-32", "Ü", "F" * 65, "F\n"])
def test_names_of_dtypes(name):
    record = plain(full_manifest())
    record["dtypes"].append(name)
    record["dtype_bits"] = [32, 16, 64, 4, 128, 8]
    assert code_of(record) == "manifest.schema"
    record["dtypes"][-1] = "_F" + "3" * 62
    read(record)


@pytest.mark.parametrize("name", ["__metadata__", ""])
def test_invalid_names_of_tensors(name):
    with pytest.raises(Corrupt, match="name"):
        TensorTable.build([("a", "U8", ()), (name, "U8", ())])
    TensorTable.build([("__metadata__x", "U8", ()), ("x__metadata__", "U8", ())])


def test_invalid_names_of_entries():
    def named(entry):
        tensors = TensorTable.build([("a", "U8", (4,)), ("b", "U8", (4,))])
        rows = [ShardRow(n, 0, None, 4096 + 4 * n, 4, digests(1, n), entry=("x", entry)[n]) for n in range(2)]
        return build_shards(tensors, (own(0, 4104),), rows)

    with pytest.raises(Corrupt, match="__metadata__"):
        named("__metadata__")
    named("__metadata__1")


@pytest.mark.parametrize("table", ["tensors", "shards"])
@pytest.mark.parametrize("column", [{"x-c": 5}, {"x-c": "text"}, {"x-c": None}, {7: b""}])
def test_every_column_is_bytes_under_a_name(table, column):
    record = plain(full_manifest())
    record[table]["columns"].update(column)
    assert code_of(record) == "manifest.schema"


# ---- chains

EQUAL = [
    ([{"id": "a"}], [{"id": "a"}]),
    ([{"id": "a", "x": 1, "y": [{"p": 1, "q": 2}]}], [{"y": [{"q": 2, "p": 1}], "id": "a", "x": 1}]),
    ([{"id": "a", "x": float("nan")}], [{"id": "a", "x": float("nan")}]),
    ([{"id": "a", 5: 1}], [{"id": "a", 5: 1}]),
]
DIFFERENT = [
    ([{"id": "a"}], [{"id": "a", "level": 3}]),
    ([{"id": "a", "x": 1}], [{"id": "a", "x": True}]),
    ([{"id": "a", "x": 1}], [{"id": "a", "x": 1.0}]),
    ([{"id": "a", "x": 0.0}], [{"id": "a", "x": -0.0}]),
    ([{"id": "a", "x": "1"}], [{"id": "a", "x": b"1"}]),
    ([{"id": "a", "x": {}}], [{"id": "a", "x": []}]),
    ([{"id": "a", "x": [[1], 2]}], [{"id": "a", "x": [[1, 2]]}]),
    ([{"id": "a"}, {"id": "b"}], [{"id": "b"}, {"id": "a"}]),
    ([{"id": "a", 5: 1}], [{"id": "a", "5": 1}]),
]


@pytest.mark.parametrize("pair", EQUAL)
def test_equal_chains(pair):
    record = plain(full_manifest())
    record["codecs"] += [[{"id": f"filler{number}"}] for number in range(300)]
    record["codecs"] += pair
    assert code_of(record) == "manifest.schema"


@pytest.mark.parametrize("pair", DIFFERENT)
def test_different_chains(pair):
    record = plain(full_manifest())
    record["codecs"] += pair
    assert len(read(record).codecs) == 4


def test_number_of_chains():
    record = plain(make_manifest([], []))
    record["codecs"] = [[], *([{"id": "a", "n": number}] for number in range(65_534))]
    assert read(record).codecs[-1] == (Codec("a", {"n": 65_533}),)
    record["codecs"].append([{"id": "b"}])
    assert code_of(record) == "manifest.schema"


# ---- sizes


@pytest.mark.parametrize("shape", [(0, 2**61), (2**61, 0), (2**32, 0, 2**32), (0, 2**63 - 1), (*[2] * 60, 0)])
def test_sizes_of_an_empty_tensor_are_bounded_too(shape):
    with pytest.raises(Corrupt, match="2\\^63-1 bits"):
        TensorTable.build([("x", "U8", (3,)), ("t", "F32", shape)])


@pytest.mark.parametrize("shape", [(0, 2**57), (2**29, 0, 2**28), (0,) * 64, (*[2] * 57, 0)])
def test_sizes_of_an_empty_tensor_at_the_bound(shape):
    assert TensorTable.build([("x", "U8", (3,)), ("t", "F32", shape)]).elements.tolist() == [3, 0]


def coded(stored, decoded=BLOCK):
    record = plain(make_manifest([("a", "U8", (decoded,))], [(0, None, True)]))
    record["objects"][0]["size"] = 4096 + sum(stored)
    columns = record["shards"]["columns"]
    columns["stored_size"] = np.array([sum(stored)], dtype="<u8").tobytes()
    columns["block_stored_size"] = np.array(stored, dtype="<u8").tobytes()
    return record


def test_encoded_blocks_are_bounded():
    whole, rest = BLOCK + BLOCK // 128 + 1024, 100 + 1 + 1024
    read(coded([whole, rest], BLOCK + 100))
    assert code_of(coded([whole + 1, rest], BLOCK + 100)) == "manifest.schema"
    assert code_of(coded([whole, rest + 1], BLOCK + 100)) == "manifest.schema"
    assert code_of(coded([0, rest], BLOCK + 100)) == "manifest.schema"
    read(coded([whole]))
    assert code_of(coded([whole + 1])) == "manifest.schema"


@pytest.mark.parametrize("size", [1, 7, 127, 129, 4096, 100_001, 1 << 20])
@pytest.mark.parametrize("chain", [(zstd(),), (planes(2),), (planes(8),)])
def test_no_codec_of_this_library_exceeds_the_bound(chain, size):
    noise = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    for level in (1, 3, 19 if size < 10**5 else 5):
        assert len(encode_block(chain, noise, level)) <= size + -(-size // BLOCK_GROWTH_PART) + BLOCK_GROWTH


def test_encoded_shards_state_their_size():
    record = coded([BLOCK])
    read(record)
    del record["shards"]["columns"]["stored_size"]
    assert code_of(record) == "manifest.schema"
    del record["shards"]["columns"]["codec"], record["shards"]["columns"]["block_stored_size"]
    del record["shards"]["columns"]["decoded_digest"]
    read(record)


# ---- digests


@pytest.mark.parametrize("name", ["digest", "header_digest"])
def test_absent_digests_of_an_object(name):
    record = plain(full_manifest())
    record["objects"][0][name] = None
    assert code_of(record) == "manifest.schema"
    del record["objects"][0][name]
    assert code_of(record) == "digest.missing"


def test_block_digests_are_needed_where_there_are_blocks():
    record = plain(make_manifest([("e", "F32", (0, 5))], [(0, None, False)]))
    assert record["shards"]["columns"].pop("block_digest") == b""
    assert read(record).shards.block_range(0) == (0, 0)
    record = plain(full_manifest())
    record["shards"]["columns"]["block_digest"] = b""
    assert code_of(record) == "digest.missing"


@pytest.mark.parametrize("name", ["key", "store_key"])
def test_nil_is_not_absence(name):
    record = plain(full_manifest())
    record["objects"][0][name] = None
    assert code_of(record) == "manifest.schema"
    record = plain(full_manifest())
    record["dtype_bits"] = None
    assert code_of(record) == "manifest.schema"


# ---- shards of no bytes


def unassigned(places):
    rows = [ShardRow(0, 0, None, 4096, 100, digests(1, 0))]
    rows += [ShardRow(None, 0, None, at, size, digests(bool(size), at), entry=f"n{n}") for n, (at, size) in enumerate(places)]
    tensors = TensorTable.build([("a", "U8", (100,))])
    objects = (own(0, 4196 + sum(size for _, size in places)),)
    return Manifest(ITEM, ATTEMPT, ((),), tensors, objects, build_shards(tensors, objects, rows), {"a": TensorRef(0)})


@pytest.mark.parametrize("places", [[(4196, 0)], [(4096, 0)], [(4150, 0)], [(4150, 0)] * 2, [(4196, 0), (4196, 3), (4199, 0)]])
def test_unassigned_shards_of_no_bytes_cover_nothing(places):
    read(plain(unassigned(places)))


@pytest.mark.parametrize("places", [[(4095, 0)], [(4197, 0)]])
def test_unassigned_shards_of_no_bytes_lie_in_their_object(places):
    with pytest.raises(Corrupt, match="outside"):
        unassigned(places)
