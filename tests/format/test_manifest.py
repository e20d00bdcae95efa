"""A manifest comes back as it was, and one that is incomplete or contradicts itself is refused with the right code."""

from __future__ import annotations

import base64
import json

import msgpack
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_cases import (
    ATTEMPT,
    ITEM,
    code_of,
    column,
    decode,
    full_manifest,
    make_manifest,
    opened,
    own,
    plain,
)

from pyckpt.errors import Corrupt, LimitExceeded, PyckptError, UnsupportedState
from pyckpt.format.codecs import Codec
from pyckpt.format.geometry import Box, Region
from pyckpt.format.manifest import (
    Manifest,
    compress_manifest,
    decode_manifest,
    decompress_manifest,
    encode_manifest,
)
from pyckpt.format.manifest_check import check_manifest
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.projection import manifest_to_json, node_to_json
from pyckpt.format.shard_columns import shard_columns
from pyckpt.format.shard_table import UNASSIGNED
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tree import TensorRef


def test_everything_comes_back():
    manifest = full_manifest()
    back = opened(manifest)
    assert shard_columns(back.shards) == shard_columns(manifest.shards)
    assert back.tensors.columns() == manifest.tensors.columns()
    assert back.objects == manifest.objects
    assert back.codecs == manifest.codecs
    assert repr(back.tree) == repr(manifest.tree)
    assert encode_manifest(back) == encode_manifest(manifest)


def test_rows_of_the_tables():
    shards = opened(full_manifest()).shards
    tensors = shards.tensors
    assert [tensors.name_of(i) for i in range(len(tensors))] == ["w", "b", "s", "e", "q", "z", "none"]
    assert tensors.shape_of(0) == (64, 48)
    assert tensors.shape_of(2) == ()
    assert (tensors.dtype_of(5), tensors.nbytes_of(5), tensors.nbytes_of(4)) == ("C128", 48, 8)
    assert [len(shards.slice_of(i)) for i in range(len(tensors))] == [3, 1, 1, 1, 2, 1, 0]
    assert shards.region(0) == Region.of_box(Box((0, 0), (64, 24)))
    assert shards.region(2) == Region(Box((0, 24), (64, 24)), 100, 1536)
    assert shards.region(4) == Region.whole(())
    assert shards.block_range(0) == (0, 2)
    assert shards.stored_sizes(0) == [7, 8]
    assert shards.decoded_sizes(0) == [4096, 2048]
    assert shards.stored_sizes(2) == [4096, 5744 - 4096]
    assert shards.block_range(5) == (shards.block_range(4)[0] + 1, 0)
    assert len(shards.digest_of(3)) == 32
    assert shards.decoded_digest_of(1, 0) == shards.digest_of(2)
    assert shards.decoded_digest_of(0, 1) == shards.decoded_digest[32:64]
    assert [shards.entry_name(i) for i in (0, 2, 3, 4)] == [
        "w@[0:64,0:24]+enc",
        "w@[0:64,24:48](100:1536)",
        "b",
        "s@[]+enc",
    ]
    assert shards.entry_name(shards.assigned) == "lost9"
    assert shards.stored_sizes(shards.assigned) == [4096, 904]


def test_an_empty_item():
    empty = Manifest(ITEM, ATTEMPT, ((),), TensorTable.build([]), (), make_manifest([], []).shards, {"lr": 0.1})
    assert opened(Manifest(ITEM, ATTEMPT, ((),), empty.tensors, (own(0, 4096),), empty.shards, {})).tree == {}


def test_many_whole_tensors_need_no_columns_for_regions():
    manifest = make_manifest([(f"t{i}", "F32", (3, i)) for i in range(1, 50)], [(i, None, False) for i in range(49)])
    columns = shard_columns(opened(manifest).shards)
    assert sorted(columns) == ["block_digest", "object", "offset", "tensor"]


def test_frames():
    raw = encode_manifest(full_manifest())
    stored = compress_manifest(raw)
    assert decompress_manifest(stored, len(raw)) == raw
    nothing = zstandard.ZstdCompressor(write_checksum=False).compress(b"")
    assert decompress_manifest(nothing, 0) == b""
    for bad, size in (
        (stored + b"\0", len(raw)),
        (stored[:-1], len(raw)),
        (stored, len(raw) + 1),
        (b"", len(raw)),
        (b"", 0),
        (nothing + b"\0", 0),
        (nothing[:-1], 0),
        (nothing + nothing, 0),
        (zstandard.ZstdCompressor().compress(b"x" * 300), 0),
        (zstandard.ZstdCompressor(write_content_size=False).compress(raw), len(raw)),
    ):
        with pytest.raises(Corrupt) as caught:
            decompress_manifest(bad, size)
        assert caught.value.code == "manifest.frame"
    with pytest.raises(LimitExceeded):
        decompress_manifest(stored, len(raw), limit=len(raw) - 1)


def test_item_and_attempt_are_those_of_the_key():
    raw = encode_manifest(full_manifest())
    for item, attempt in (("other", ATTEMPT), (ITEM, "0" * 16)):
        with pytest.raises(Corrupt) as caught:
            decode_manifest(raw, item=item, attempt=attempt)
        assert caught.value.code == "manifest.schema"


def test_unknown_members_and_columns_are_ignored():
    record = plain(full_manifest())
    record["later"] = {"x": [1]}
    record["tensors"]["columns"]["later"] = b"?"
    record["shards"]["later"] = 1
    record["objects"][0]["later"] = None
    assert len(decode(pack(record)).shards) == 10


def test_an_unknown_codec_or_dtype_leaves_the_rest_readable():
    manifest = full_manifest()
    record = plain(manifest)
    record["codecs"][1] = [{"id": "lz77", "x": 1}]
    assert decode(pack(record)).codecs[1] == (Codec("lz77", {"x": 1}),)
    record["dtypes"][0] = "F32X"
    assert code_of(record) == "manifest.schema"
    record["dtype_bits"] = list(manifest.tensors.bits)
    back = decode(pack(record))
    assert back.tensors.dtype_of(0) == "F32X"
    assert decode(encode_manifest(back)).tensors.bits == manifest.tensors.bits
    record["dtype_bits"][1] = 8
    assert code_of(record) == "manifest.schema"


def change(*path, to):
    def apply(record):
        for step in path[:-1]:
            record = record[step]
        if to is KeyError:
            del record[path[-1]]
        else:
            record[path[-1]] = to

    return apply


HUGE = msgpack.ExtType(4, b"\x01" * 4096)
SCHEMA = [
    change("scf", to=2),
    change("scf", to=True),
    change("scf", to=KeyError),
    change("item", to=KeyError),
    change("attempt", to=5),
    change("dtypes", to=KeyError),
    change("dtypes", to=["F32"]),
    change("dtypes", to=["F32", "F32", "F64", "F4", "C128"]),
    change("dtypes", to=[1]),
    change("dtype_bits", to=[32]),
    change("dtype_bits", to=[HUGE] * 5),
    change("codecs", to=KeyError),
    change("codecs", to=[]),
    change("codecs", to=[[]]),
    change("codecs", to=[[{"id": "zstd"}], []]),
    change("codecs", to=[[], []]),
    change("codecs", to=[[], [{"id": "zstd"}], [{"id": "zstd"}]]),
    change("codecs", to=[[], [{"id": "a"}] * 5]),
    change("codecs", to=[[], [{"id": 1}]]),
    change("codecs", to=[[], [{"id": ""}]]),
    change("codecs", to=[[], ["zstd"]]),
    change("tensors", to=[]),
    change("tensors", "count", to=8),
    change("tensors", "count", to=-1),
    change("tensors", "count", to=HUGE),
    change("tensors", "count", to=2**63),
    change("tensors", "columns", to=None),
    change("tensors", "columns", "dtype", to=KeyError),
    change("tensors", "columns", "ndim", to=b"\xff" * 7),
    change("tensors", "columns", "shape", to=b""),
    change("tensors", "columns", "name", to=b"wbseqznon"),
    change("tensors", "columns", "name", to=b"wwseqznone"),
    change("tensors", "columns", "name", to=b"wbseqz\xff\xff\xff\xff"),
    change("tensors", "columns", "name", to="wbseqznone"),
    change("objects", to={}),
    change("objects", to=[]),
    change("objects", 0, to=None),
    change("objects", 0, "size", to=HUGE),
    change("objects", 0, "size", to=2**63),
    change("objects", 0, "data_start", to=4095),
    change("objects", 0, "data_start", to=0),
    change("objects", 0, "data_start", to=1 << 30),
    change("objects", 0, "block", to=4097),
    change("objects", 0, "block", to=2048),
    change("objects", 0, "block", to=1 << 31),
    change("objects", 0, "block", to=8192),
    change("objects", 0, "header_digest", to=b"x" * 31),
    change("objects", 0, "digest", to=None),
    change("objects", 0, "key", to=KeyError),
    change("objects", 0, "key", to=HUGE),
    change("objects", 0, "key", to="../x"),
    change("objects", 0, "key", to=f"other/{ATTEMPT}-00000.safetensors"),
    change("objects", 0, "store_key", to=f"c/{ITEM}/{ATTEMPT}-00000.safetensors"),
    change("shards", "count", to=9),
    change("shards", "columns", "tensor", to=KeyError),
    change("shards", "columns", "tensor", to=b"\x07\0\0\0" * 10),
    change("shards", "columns", "object", to=b"\x01\0\0\0" * 10),
    change("shards", "columns", "box_size", to=KeyError),
    change("shards", "columns", "run_stop", to=KeyError),
    change("shards", "columns", "stored_size", to=KeyError),
    change("shards", "columns", "codec", to=KeyError),
    change("shards", "columns", "codec", to=b"\x02\0" * 10),
    change("shards", "columns", "block_stored_size", to=KeyError),
    change("shards", "columns", "block_stored_size", to=b"\x05" + bytes(7)),
    change("shards", "columns", "decoded_digest", to=b"\0" * 32),
    change("shards", "columns", "block_digest", to=b"\0" * 33),
    change("shards", "columns", "entry", to=KeyError),
    change("shards", "columns", "entry", to=b"\xff" * 5),
    change("shards", "columns", "entry_size", to=bytes(20)),
]


@pytest.mark.parametrize("damage", SCHEMA)
def test_schema(damage):
    record = plain(full_manifest())
    damage(record)
    assert code_of(record) == "manifest.schema"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (change("shards", "columns", "block_digest", to=KeyError), "digest.missing"),
        (change("objects", 0, "header_digest", to=KeyError), "digest.missing"),
        (change("objects", 0, "digest", to=KeyError), "digest.missing"),
        (change("tree", to=KeyError), "manifest.schema"),
        (change("tree", to=[]), "tree.schema"),
        (change("tree", "tied", to=msgpack.ExtType(1, b"\x07\0\0\0")), "tree.schema"),
        (change("tree", "a", to=[]), "tree.schema"),
        (change("tree", "x", to=msgpack.ExtType(99, b"")), "tree.schema"),
        (change("later", to=msgpack.ExtType(99, b"")), "tree.schema"),
        (change("tree", "x", to=msgpack.ExtType(2, b"\xc1")), "manifest.syntax"),
    ],
)
def test_other_codes(damage, code):
    record = plain(full_manifest())
    damage(record)
    assert code_of(record) == code


U64 = ("box_offset", "box_size", "run_start", "run_stop", "offset", "stored_size", "block_stored_size")
HOSTILE = [0, 1, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


@given(st.sampled_from(U64), st.integers(0, 30), st.sampled_from(HOSTILE), st.integers(0, 30), st.sampled_from(HOSTILE))
@settings(max_examples=300, deadline=None)
def test_no_number_of_the_shards_can_be_changed_unseen(name, row, value, other, second):
    record = plain(full_manifest())
    numbers = column(record, "shards", name, "<u8")
    before = numbers.copy()
    numbers[row % len(numbers)] = value
    numbers[other % len(numbers)] = second
    if (numbers == before).all():
        return
    record["shards"]["columns"][name] = numbers.tobytes()
    try:
        changed = decode(pack(record))
        check_manifest(changed)
    except Corrupt as error:
        assert error.code in ("manifest.schema", "tiling.inexact")
    else:
        # an empty shard lies anywhere between others, a run of an unassigned shard is nothing
        assert name == "offset"


@given(st.integers(0, 10), st.sampled_from(HOSTILE), st.integers(0, 10), st.sampled_from(HOSTILE))
@settings(max_examples=150, deadline=None)
def test_hostile_shapes(at, value, other, second):
    record = plain(full_manifest())
    shape = column(record, "tensors", "shape", "<u8")
    before = shape.copy()
    shape[at % len(shape)], shape[other % len(shape)] = value, second
    record["tensors"]["columns"]["shape"] = shape.tobytes()
    try:
        check_manifest(decode(pack(record)))
    except Corrupt as error:
        assert error.code in ("manifest.schema", "tiling.inexact")
    else:
        # "none" has no shards, so it may be of any empty shape
        assert (shape[:8] == before[:8]).all()


@pytest.mark.parametrize("shape", [(2**32, 2**32), (2**62, 2), (2**61,), (3,) * 64, (2**63 - 1,) * 64])
def test_too_many_bits(shape):
    with pytest.raises(Corrupt):
        TensorTable.build([("t", "F32", shape)])


def test_the_largest_tensor():
    assert TensorTable.build([("t", "U8", (2**60 - 1,))]).nbytes_of(0) == 2**60 - 1


def test_a_tree_that_can_not_be_stored():
    with pytest.raises(UnsupportedState):
        encode_manifest(make_manifest([], [], tree={"x": object()}))


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_damaged_bytes(data):
    raw = bytearray(RAW)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    try:
        check_manifest(decode(bytes(raw)))
    except PyckptError:
        return


RAW = encode_manifest(full_manifest())


def test_projection():
    manifest = opened(full_manifest())
    shown = json.loads(json.dumps(manifest_to_json(manifest), allow_nan=False))
    assert shown["item"] == ITEM
    w = shown["tensors"][0]
    assert (w["name"], w["dtype"], w["shape"], len(w["shards"])) == ("w", "F32", [64, 48], 3)
    assert w["shards"][2]["box"] == {"offset": [0, 24], "size": [64, 24]}
    assert w["shards"][2]["run"] == [100, 1536]
    assert w["shards"][0]["codec"] == 1
    assert [block["stored_size"] for block in w["shards"][0]["blocks"]] == [7, 8]
    assert w["shards"][0]["blocks"][1]["digest"] == manifest.shards.digest_of(1).hex()
    assert w["shards"][0]["blocks"][1]["decoded_digest"] == manifest.shards.decoded_digest[32:64].hex()
    assert shown["unassigned"][0]["entry"] == "lost9"
    assert shown["tree"]["map"][2] == [
        3,
        {
            "tuple": [
                1,
                None,
                {"$float": "nan"},
                {"$int": str(2**70)},
                {"bytes": base64.b64encode(b"x").decode()},
                {"map": [["tensor", 3]]},
            ]
        },
    ]


def test_projection_of_nodes():
    assert node_to_json({"tensor": 1, "b": 2}) == {"tensor": 1, "b": 2}
    assert node_to_json(TensorRef(1)) == {"tensor": 1}
    assert node_to_json({}) == {}
    assert node_to_json(2**53) == {"$int": "9007199254740992"}
    assert node_to_json(-(10**9000))["$int"] == "-1" + "0" * 9000
    assert node_to_json(10**4000)["$int"] == "1" + "0" * 4000


def test_unassigned_number():
    assert int(full_manifest().shards.tensor[-1]) == UNASSIGNED
