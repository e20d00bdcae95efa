"""Faults of manifests, one at a time."""

from __future__ import annotations

import struct
from dataclasses import replace

import msgpack
import pytest
import zstandard
from oracle_drafts import (
    B,
    Draft,
    Item,
    Object,
    Shard,
    Tensor,
    W,
    codes,
    draft,
    numbered,
    opened,
    read_all,
    refused,
    store_of,
)

from conformance.oracle.encode import column
from conformance.oracle.encode_region import Region
from conformance.oracle.errors import Rejected
from conformance.oracle.limits import Limits
from conformance.oracle.opening import open_item, open_root
from conformance.oracle.reading import read_region
from conformance.oracle.regions import whole

ZSTD = ((), ({"id": "zstd"},))
MAXINT = 2**63 - 1


def compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def change(*path, value):
    def twist(record):
        for step in path[:-1]:
            record = record[step]
        old = record.get(path[-1]) if isinstance(record, dict) else record[path[-1]]
        record[path[-1]] = value(old) if callable(value) else value

    return twist


def without(*path):
    def twist(record):
        for step in path[:-1]:
            record = record[step]
        del record[path[-1]]

    return twist


def every(*twists):
    def twist(record):
        for each in twists:
            each(record)

    return twist


def tensors(name, value):
    return change("tensors", "columns", name, value=value)


def shards(name, value):
    return change("shards", "columns", name, value=value)


def faulty(twist, one: Draft | None = None) -> str:
    return refused((one or draft()).with_item("model", record=twist))


ROWS = Draft(
    items={
        "model": Item(
            tensors=(W, B),
            shards=(
                Shard(0, Region((0, 0), (2, 6))),
                Shard(0, Region((2, 0), (2, 6), (0, 5))),
                Shard(0, Region((2, 0), (2, 6), (5, 12))),
                Shard(1),
                Shard(None, name="lost", data=b"12345"),
            ),
        ),
    },
)
ENCODED = Draft(
    items={
        "model": Item(
            tensors=(Tensor("w", "F32", (64, 64), numbered(4096)), B),
            shards=(Shard(0, codec=1, encode=compress), Shard(1)),
            codecs=ZSTD,
        ),
    },
)


def test_the_drafts_are_sound():
    for one in (draft(), ROWS, ENCODED):
        assert codes(one) == []
        assert codes(one, deep=False) == []
    assert read_all(ROWS, "w") == W.data
    assert read_all(ENCODED, "w") == numbered(4096)


TOP = ["scf", "attempt", "item", "dtypes", "codecs", "tensors", "objects", "shards", "tree"]
FAULTS = [
    *(without(name) for name in TOP),
    *(without(table, part) for table in ("tensors", "shards") for part in ("count", "columns")),
    *(without("tensors", "columns", name) for name in ("dtype", "ndim", "shape", "name_size", "name")),
    *(without("shards", "columns", name) for name in ("tensor", "object", "offset")),
    *(without("objects", 0, name) for name in ("key", "size", "data_start", "block")),
    *(tensors(name, lambda old: old + b"\0") for name in ("dtype", "ndim", "shape", "name_size", "name")),
    *(tensors(name, lambda old: old[:-1]) for name in ("dtype", "ndim", "shape", "name_size", "name")),
    *(shards(name, lambda old: old[:-1]) for name in ("tensor", "object", "offset", "block_digest")),
    *(shards(name, lambda old: old + b"\0" * 32) for name in ("tensor", "object", "offset", "block_digest")),
    change("scf", value=2),
    change("scf", value=True),
    change("scf", value=1.0),
    change("attempt", value="0" * 16),
    change("item", value="other"),
    change("item", value=b"model"),
    change("dtypes", value="F32"),
    change("dtypes", value=["F32", "BF16", 3]),
    change("dtypes", value=["F32", "BF16", "BF16"]),
    change("dtypes", value=["F32", "BF16", "9X"]),
    change("dtypes", value=["F32", "BF16"]),
    change("dtypes", value=["F32", "BF16", "F99"]),
    change("dtype_bits", value=[32, 16]),
    change("dtype_bits", value=[32, 16, 32]),
    change("dtype_bits", value=[32, 16, 64.0]),
    every(change("dtypes", 2, value="F99"), change("dtype_bits", value=[32, 16, 0])),
    every(change("dtypes", 2, value="F99"), change("dtype_bits", value=[32, 16, 65537])),
    change("codecs", value=[]),
    change("codecs", value=[[], []]),
    change("codecs", value=[[{"id": "zstd"}]]),
    change("codecs", value=[[], [{"id": "zstd"}], [{"id": "zstd"}]]),
    change("codecs", value=[[], [{"id": "x", "a": [1.0], "b": 2}], [{"b": 2, "a": [1.0], "id": "x"}]]),
    change("codecs", value=[[], [{"id": ""}]]),
    change("codecs", value=[[], [{"id": 1}]]),
    change("codecs", value=[[], [{}]]),
    change("codecs", value=[[], ["zstd"]]),
    change("codecs", value=[[], [{"id": "zstd"}] * 5]),
    change("codecs", value=[[], {"id": "zstd"}]),
    change("codecs", value=[[], *([{"id": str(number)}] for number in range(65535))]),
    change("tensors", "count", value=2),
    change("tensors", "count", value=2**32 - 1),
    change("tensors", "count", value="3"),
    change("tensors", "columns", value=[]),
    change("tensors", "columns", "extra", value="text"),
    change("tensors", "columns", 7, value=b""),
    tensors("dtype", column("u16", [0, 1, 3])),
    tensors("ndim", b"\x41\0\0"),
    tensors("name_size", column("u16", [1, 0, 2])),
    tensors("name", b"wbw"),
    tensors("name", b"w\xc3s"),
    every(tensors("name_size", column("u16", [12, 1, 1])), tensors("name", b"__metadata__bs")),
    tensors("shape", column("u64", [2**32, 2**32, 3])),
    tensors("shape", column("u64", [0, 2**63, 3])),
    tensors("shape", column("u64", [2**32, 2**26, 3])),
    change("shards", "count", value=2**40 + 1),
    change("shards", "columns", "extra", value=1),
    shards("tensor", column("u32", [0, 1, 3])),
    shards("tensor", column("u32", [0, 2, 1])),
    shards("object", column("u32", [0, 0, 1])),
    shards("codec", column("u16", [0, 0, 1])),
    shards("box_offset", column("u64", [0, 0, 0])),
    shards("box_size", column("u64", [4, 6, 3])),
    shards("run_start", column("u64", [0, 0, 0])),
    shards("run_stop", column("u64", [24, 3, 1])),
    shards("entry_size", column("u16", [0, 0, 0])),
    shards("entry", b""),
    shards("block_stored_size", b""),
    shards("decoded_digest", b""),
    shards("stored_size", column("u64", [96, 6, 9])),
    shards("offset", column("u64", [4096, 4096, 4096])),
    shards("offset", column("u64", [0, 4200, 4192])),
    shards("offset", column("u64", [2**64 - 8, 4200, 4192])),
    shards("offset", lambda old: old[:-8] + column("u64", [struct.unpack("<Q", old[-8:])[0] + 8])),
    change("objects", value={}),
    change("objects", 0, value=[]),
    change("objects", 0, "key", value="other/3f9c2a71d0b84e55-00000.safetensors"),
    change("objects", 0, "key", value="model/3f9c2a71d0b84e55-000001.safetensors"),
    change("objects", 0, "key", value="../c/model/3f9c2a71d0b84e55-00000.safetensors"),
    change("objects", 0, "store_key", value="a/model/3f9c2a71d0b84e55-00000.safetensors"),
    change("objects", 0, "size", value=-1),
    change("objects", 0, "size", value=2**63),
    change("objects", 0, "data_start", value=0),
    change("objects", 0, "data_start", value=4100),
    change("objects", 0, "data_start", value=8192),
    every(
        change("objects", 0, "data_start", value=4100),
        change("objects", 0, "size", value=lambda size: size + 4),
        shards("offset", column("u64", [4108, 4204, 4100])),
    ),
    change("objects", 0, "block", value=2048),
    change("objects", 0, "block", value=5000),
    change("objects", 0, "block", value=2**31),
    change("objects", 0, "header_digest", value=b"0" * 31),
    change("objects", 0, "header_digest", value="0" * 32),
    change("objects", 0, "digest", value=1),
    every(
        change("objects", 0, "size", value=2**62),
        change("objects", 0, "data_start", value=100_000_768),
        shards("offset", column("u64", [100_000_768, 100_000_872, 100_000_864])),
    ),
]


@pytest.mark.parametrize("twist", FAULTS)
def test_faults_of_the_schema(twist):
    assert faulty(twist) == "manifest.schema"


@pytest.mark.parametrize(
    "twist",
    [
        shards("box_offset", lambda old: b"\x03" + old[1:]),  # leaves the tensor
        shards("box_size", lambda old: b"\x05" + old[1:]),
        shards("box_size", lambda old: old[:8] + bytes(8) + old[16:]),  # no elements
        shards("box_offset", lambda old: b"\xff" * 8 + old[8:]),
        shards("box_offset", lambda old: old + bytes(8)),
        shards("run_start", lambda old: column("u64", [0, 0, 5, 0, 1])),  # an unassigned one with a run
        shards("run_stop", lambda old: column("u64", [12, 5, 13, 3, 0])),
        shards("run_start", lambda old: column("u64", [0, 0, 13, 0, 0])),
        shards("run_start", lambda old: column("u64", [0, 5, 5, 0, 0])),
        shards("run_start", lambda old: column("u64", [0, 1, 0, 0, 0])),
        without("shards", "columns", "run_stop"),
        without("shards", "columns", "box_size"),
        without("shards", "columns", "entry"),
        every(without("shards", "columns", "entry"), without("shards", "columns", "entry_size")),
        without("shards", "columns", "stored_size"),
        shards("entry", b"\xc3\x28st"),
        every(shards("entry_size", column("u16", [0, 0, 0, 0, 12])), shards("entry", b"__metadata__")),
        every(shards("entry_size", column("u16", [1, 0, 0, 0, 4])), shards("entry", b"\xc3\xa4" + b"los")),
        shards("tensor", lambda old: old[-4:] + old[4:]),
        shards("stored_size", lambda old: old[:-8] + b"\xff" * 8),
        every(change("codecs", value=[[], [{"id": "zstd"}]]), shards("codec", column("u16", [0, 0, 0, 0, 1]))),
    ],
)
def test_faults_of_regions_and_unassigned_shards(twist):
    assert faulty(twist, ROWS) == "manifest.schema"


@pytest.mark.parametrize(
    "twist",
    [
        without("shards", "columns", "block_stored_size"),
        without("shards", "columns", "stored_size"),
        shards("block_stored_size", lambda old: bytes(8) + old[8:]),
        shards("block_stored_size", lambda old: old[:-8] + column("u64", [4096 + 32 + 1025])),
        shards("block_stored_size", lambda old: old + column("u64", [1])),
        shards("block_stored_size", lambda old: old[:-8] + column("u64", [2**64 - 1])),
        shards("decoded_digest", lambda old: old[:-32]),
        shards("decoded_digest", b""),
        shards("stored_size", lambda old: column("u64", [1]) + old[8:]),
        shards("codec", column("u16", [2, 0])),
    ],
)
def test_faults_of_encoded_shards(twist):
    assert faulty(twist, ENCODED) == "manifest.schema"


def with_blocks_of(size) -> Draft:
    """The encoded draft, with stored blocks of a size that follows from the decoded one."""
    item = ENCODED.items["model"]
    return Draft(items={"model": replace(item, shards=(replace(item.shards[0], encode=size), item.shards[1]))})


def test_the_bounds_of_a_stored_block():
    largest = with_blocks_of(lambda data: bytes(len(data) + -(-len(data) // 128) + 1024))
    assert codes(largest) == ["block.codec"]
    assert codes(with_blocks_of(lambda data: b"x")) == ["block.codec"]
    assert refused(with_blocks_of(lambda data: bytes(len(data) + -(-len(data) // 128) + 1025))) == "manifest.schema"
    assert refused(with_blocks_of(lambda data: b"")) == "manifest.schema"


def in_order(*rows: int, dims: tuple[int, ...]):
    """A twist that puts the rows of the shard table into this order; `dims` are their numbers of dimensions before."""
    widths = {"tensor": 4, "object": 4, "codec": 2, "entry_size": 2, "block_digest": 32}

    def twist(record):
        columns = record["shards"]["columns"]
        for name, data in columns.items():
            if name.startswith("box_"):
                ends = [8 * sum(dims[:end]) for end in range(len(dims) + 1)]
                columns[name] = b"".join(data[ends[row] : ends[row + 1]] for row in rows)
            elif name != "entry":
                width = widths.get(name, 8)
                columns[name] = b"".join(data[row * width : (row + 1) * width] for row in rows)

    return twist


TWO_LOST = ROWS.with_item(
    "model",
    shards=(*ROWS.items["model"].shards, Shard(None, name="more", data=b"1")),
)


@pytest.mark.parametrize("rows", [(3, 0, 1, 2, 4, 5), (1, 0, 2, 3, 4, 5), (0, 2, 1, 3, 4, 5), (4, 0, 1, 2, 3, 5)])
def test_shards_out_of_order(rows):
    same = TWO_LOST.with_item("model", record=in_order(0, 1, 2, 3, 4, 5, dims=(2, 2, 2, 1, 0, 0)))
    assert codes(same) == []
    assert faulty(in_order(*rows, dims=(2, 2, 2, 1, 0, 0)), TWO_LOST) == "manifest.schema"


def test_unassigned_shards_out_of_order():
    def swapped(record):
        in_order(0, 1, 2, 3, 5, 4, dims=(2, 2, 2, 1, 0, 0))(record)
        record["shards"]["columns"]["entry"] = b"morelost"

    assert faulty(swapped, TWO_LOST) == "manifest.schema"


@pytest.mark.parametrize(
    "twist",
    [
        without("shards", "columns", "block_digest"),
        shards("block_digest", b""),
        without("objects", 0, "digest"),
        without("objects", 0, "header_digest"),
    ],
)
def test_digests_that_are_left_out(twist):
    assert faulty(twist) == "digest.missing"


def ext(code, payload):
    return msgpack.ExtType(code, payload)


TREE_FAULTS = [
    change("tree", value=[]),
    change("tree", value=ext(2, b"\x90")),
    change("tree", "w", value=ext(1, b"\x03\0\0\0")),
    change("tree", "w", value=ext(1, b"\x01\0\0\0")),
    without("tree", "w"),
    change("tree", "x", value=ext(10, b"")),
    change("tree", "x", value=msgpack.Timestamp(5)),
    change("x", value=ext(99, b"")),
    change("objects", 0, "x", value=msgpack.Timestamp(5)),
]


@pytest.mark.parametrize("twist", TREE_FAULTS)
def test_faults_of_the_tree(twist):
    assert faulty(twist) == "tree.schema"


@pytest.mark.parametrize(
    "twist",
    [
        change("x", value=ext(1, bytes(4))),
        change("tensors", "columns", "x", value=ext(9, b"F32")),
        change("codecs", value=[[], [{"id": "zstd", "x": ext(9, b"F32")}]]),
    ],
)
def test_extensions_outside_the_tree(twist):
    assert faulty(twist) == "manifest.schema"


GOOD = [
    change("x-unknown", value={"a": [1, {"b": None}]}),
    change("encryption", value="later"),
    change(5, value=6),
    change("tensors", "columns", "x-more", value=b"123"),
    change("tensors", "x-more", value=1),
    change("shards", "columns", "x-more", value=b""),
    change("objects", 0, "x-more", value=[]),
    change("dtype_bits", value=[32, 16, 64]),
    every(change("dtypes", value=["F32", "BF16", "F64", "NEW"]), change("dtype_bits", value=[32, 16, 64, 12])),
    change("codecs", value=[[], [{"id": "x", "a": 1}], [{"id": "x", "a": 1.0}], [{"id": "x", "a": True}]]),
    change("codecs", value=[[], [{"id": "x", "a": 0.0}], [{"id": "x", "a": -0.0}], [{"id": "x", "a": ["1"]}]]),
    change("codecs", value=[[], *([{"id": str(number)}] for number in range(65534))]),
    every(shards("run_start", column("u64", [0, 0, 0])), shards("run_stop", column("u64", [24, 3, 1]))),
    every(shards("entry_size", column("u16", [0, 0, 0])), shards("entry", b"")),
    shards("codec", bytes(6)),
    shards("stored_size", column("u64", [96, 6, 8])),
]


@pytest.mark.parametrize("twist", GOOD)
def test_what_is_no_reason_to_refuse(twist):
    one = draft().with_item("model", record=twist)
    assert codes(one) == []
    assert read_all(one, "w") == W.data


def test_unknown_names_stop_only_what_uses_them():
    def dtype(record):
        record["dtypes"][1] = "NEW"
        record["dtype_bits"] = [32, 16, 64]

    one = draft().with_item("model", record=dtype)
    assert codes(one, deep=False) == ["dtype.unsupported"]
    assert read_all(one, "w") == W.data
    with pytest.raises(Rejected, match=r"dtype\.unsupported") as caught:
        read_all(one, "b")
    assert caught.value.phase == "plan"

    odd = ENCODED.with_item("model", record=change("codecs", 1, value=[{"id": "lz9"}]))
    assert codes(odd) == ["codec.unsupported"]
    assert codes(odd, deep=False) == []
    assert read_all(odd, "b") == B.data
    for options in ({}, {"verify": False}):
        with pytest.raises(Rejected, match=r"codec\.unsupported"):
            read_all(odd, "w", **options)

    two = Draft(
        items={"model": Item((W, B), (Shard(0), Shard(1, object=1)), objects=(Object(0), Object(1, digest="sha256")))},
    ).with_item("model", record=change("objects", 0, "digest", value="md6"))
    assert codes(two) == ["digest.unsupported"]
    assert read_all(two, "b") == B.data
    assert read_all(two, "w", verify=False) == W.data
    with pytest.raises(Rejected, match=r"digest\.unsupported"):
        read_all(two, "w")


def test_stored_bytes_that_are_not_those_of_the_descriptor():
    assert refused(draft().with_item("model", stored=lambda data: data + b"x")) == "manifest.size"
    assert refused(draft().with_item("model", stored=lambda data: data[:-1])) == "manifest.size"
    assert refused(draft().with_item("model", stored=lambda data: data[:-1] + b"x")) == "manifest.digest"
    assert refused(draft().with_item("model", frame=lambda raw: compress(raw) + b"x")) == "manifest.frame"
    assert refused(draft().with_item("model", frame=lambda raw: compress(raw + b"x"))) == "manifest.frame"
    assert refused(draft().with_item("model", frame=lambda raw: raw)) == "manifest.frame"
    assert refused(draft().with_item("model", raw=lambda raw: raw + b"\xc0")) == "manifest.syntax"
    assert refused(draft().with_(drop=("model/manifest-3f9c2a71d0b84e55.msgpack.zst",))) == "manifest.missing"


def test_the_limits_of_the_reader():
    store = store_of(draft())
    root = open_root(store, "c")
    item = root.items["model"]
    for name, value in (("max_manifest_raw_bytes", item.raw_size), ("max_manifest_bytes", item.manifest.size)):
        open_item(store, root, "model", Limits(**{name: value}))
        with pytest.raises(Rejected) as caught:
            open_item(store, root, "model", Limits(**{name: value - 1}))
        assert (caught.value.code, caught.value.phase) == ("limit.exceeded", "manifest")
        assert name in caught.value.message
    huge = draft().with_(members=lambda members: members["items"]["model"].update(raw_size=2**31 + 1))
    assert refused(huge) == "limit.exceeded"


def test_external_objects():
    origin = draft()
    row = {}

    def keep(record):
        row.update(record["objects"][0])

    store_of(origin.with_item("model", record=keep))
    carried = Draft(
        items={
            "model": Item(
                (W,),
                (Shard(0, offset=4104),),
                objects=(
                    Object(
                        store_key="a/model/3f9c2a71d0b84e55-00000.safetensors",
                        origin={key: row[key] for key in ("size", "data_start", "header_digest")},
                    ),
                ),
            ),
        },
        external=[{"checkpoint": "a", "digest": "0" * 64}],
    )
    store = store_of(carried, a=origin)
    assert codes(store) == []
    assert read_all(store, "w") == W.data
    del store.objects["a/checkpoint.json"]
    assert codes(store) == []
    assert codes(carried) == ["external.missing"]
    with pytest.raises(Rejected, match=r"external\.missing") as caught:
        read_all(carried, "w")
    assert caught.value.phase == "read"
    key = ("objects", 0, "store_key")
    for wrong in ("b/model/3f9c2a71d0b84e55-00000.safetensors", "a/3f9c2a71d0b84e55-00000.safetensors"):
        assert faulty(change(*key, value=wrong), carried) == "manifest.schema"
    own = carried.with_(external=[{"checkpoint": name, "digest": "0" * 64} for name in "ab"])
    assert codes(store_of(own.with_item("model", record=change(*key, value="b" + row["key"])))) == ["manifest.schema"]
    hidden = every(lambda record: record["objects"].append({**record["objects"][0]}))
    assert faulty(hidden, carried) == "manifest.schema"
    lost = change("shards", "columns", "tensor", value=column("u32", [0xFFFFFFFF]))
    assert faulty(every(lost, without("tree", "w"), change("tree", value={})), carried) == "manifest.schema"
    renamed = carried.with_item(
        "model", record=lambda r: (r["tensors"]["columns"].update(name=b"v"), r.update(tree={"v": ext(1, bytes(4))}))
    )
    assert codes(store_of(renamed, a=origin)) == ["object.header"]


def carried_over(one: Draft) -> Draft:
    """A checkpoint with the item `model` of this one, which lies under the name a, as `other`."""
    member = {}
    inner = one.members
    store_of(one.with_(members=lambda members: (inner and inner(members), member.update(members["items"]["model"]))))

    def moved(descriptor):
        return {"store_key": f"a/{descriptor['key']}", "size": descriptor["size"], "sha256": descriptor["sha256"]}

    assets = {name: moved(descriptor) for name, descriptor in member["assets"].items()}
    return Draft(
        carried={"other": {**member, "manifest": moved(member["manifest"]), "assets": assets}},
        external=[{"checkpoint": name, "digest": "0" * 64} for name in "ab"],
    )


def test_a_carried_over_item_is_read_from_its_origin():
    store = store_of(carried_over(draft()), a=draft())
    assert codes(store) == []
    item = opened(store, "other")
    assert read_region(item, 0, whole((4, 6))) == W.data
    assert item.manifest.objects[0].key == "a/model/3f9c2a71d0b84e55-00000.safetensors"
    assert codes(carried_over(draft())) == ["external.missing"]


@pytest.mark.parametrize(("base", "code"), [("a", "manifest.schema"), ("b", "external.missing")])
def test_a_carried_over_manifest_does_not_name_its_base_by_store_key(base, code):
    def renamed(record):
        record["objects"][0]["store_key"] = f"{base}/{record['objects'][0].pop('key')}"

    origin = draft().with_item("model", record=renamed)
    assert codes(store_of(carried_over(origin), a=origin)) == [code]


def test_empty_tensors():
    empty = Tensor("e", "F32", (0, 3), b"")
    for given in ((Shard(0),), ()):
        one = Draft(items={"model": Item((empty,), given)})
        assert codes(one) == []
        assert read_all(one, "e") == b""
    twice = Draft(items={"model": Item((empty,), (Shard(0), Shard(0, name="again")))})
    assert codes(twice) == ["tiling.inexact"]
    with pytest.raises(Rejected, match=r"tiling\.inexact"):
        read_all(twice, "e")
    part = Draft(items={"model": Item((empty,), (Shard(0, Region((0, 0), (0, 2))),))})
    assert refused(part) == "manifest.schema"


def test_tilings_of_a_manifest_stop_only_their_tensor():
    gap = Draft(items={"model": Item((W, B), (Shard(0, Region((0, 0), (3, 6))), Shard(1)))})
    both = Draft(items={"model": Item((W, B), (Shard(0), Shard(0, Region((1, 0), (1, 6))), Shard(1)))})
    for one in (gap, both):
        assert codes(one) == ["tiling.inexact"]
        assert read_all(one, "b") == B.data
        with pytest.raises(Rejected, match=r"tiling\.inexact") as caught:
            read_all(one, "w")
        assert caught.value.phase == "manifest"


def test_cut_bytes():
    four = Tensor("f", "F4", (4, 3), bytes(6))
    for region in (Region((0, 0), (4, 3), (0, 3)), Region((0, 0), (2, 3))):
        assert refused(Draft(items={"model": Item((four,), (Shard(0, region, data=b"12"),))})) == "manifest.schema"
    odd = Draft(items={"model": Item((Tensor("f", "F4", (3,), b"12"),), (Shard(0, data=b"12"),))})
    assert refused(odd) == "manifest.schema"


def test_the_sizes_of_a_tensor():
    def alone(dtype, shape):
        return Draft(items={"model": Item((Tensor("t", dtype, shape, b""),), (), objects=())})

    assert codes(alone("U8", (0, 2**60 - 1))) == []
    assert refused(alone("U8", (0, 2**60))) == "manifest.schema"
    assert refused(alone("F4", (3,))) == "manifest.schema"
    assert codes(draft(tensors=(Tensor("t", "F32", (1,) * 64, bytes(4)),))) == []
    assert refused(draft(tensors=(Tensor("t", "F32", (1,) * 65, bytes(4)),))) == "manifest.schema"


def test_an_item_without_tensors():
    nothing = Draft(items={"model": Item(objects=())})
    assert codes(nothing) == []
    for name in ("objects", "codecs", "dtypes"):
        assert faulty(change(name, value={}), nothing) == "manifest.schema"


def test_overlaps_in_an_object_are_refused_and_holes_are_found():
    shift = shards("offset", lambda old: old[:-8] + column("u64", [struct.unpack("<Q", old[-8:])[0] + 1]))
    assert faulty(every(shift, change("objects", 0, "size", value=lambda size: size + 1))) == "manifest.schema"
    grown = draft().with_item("model", objects=(Object(after=lambda data: data + b"\0"),))
    larger = grown.with_item("model", record=change("objects", 0, "size", value=lambda size: size + 1))
    assert codes(larger, deep=False) == ["manifest.schema"]
    assert codes(larger) == ["manifest.schema", "object.header"]
    assert read_all(larger, "w") == W.data


def test_counts_are_compared_by_verification_alone():
    for name in ("tensors", "shards", "objects", "bytes"):
        one = draft().with_(
            members=lambda m, name=name: m["items"]["model"]["counts"].update(
                {name: m["items"]["model"]["counts"][name] + 1}
            ),
        )
        assert codes(one, deep=False) == ["manifest.schema"]
        assert read_all(one, "w") == W.data


def test_equal_entry_names_are_found():
    same = replace(ROWS.items["model"], shards=(Shard(0, name="x"), Shard(1, name="x")))
    with_both = Draft(items={"model": same})
    assert "manifest.schema" in codes(with_both, deep=False)


def test_a_hundred_thousand_shards():
    count = 100_000
    wide = Tensor("w", "U8", (count, 2), bytes(2 * count))

    def many(record):
        record["shards"]["count"] = count
        record["shards"]["columns"] = {
            "tensor": bytes(4 * count),
            "object": bytes(4 * count),
            "box_offset": b"".join(column("u64", [at, 0]) for at in range(count)),
            "box_size": column("u64", [1, 2]) * count,
            "offset": column("u64", range(4096, 4096 + 2 * count, 2)),
            "block_digest": bytes(32 * count),
        }

    item = opened(Draft(items={"model": Item((wide,))}).with_item("model", record=many))
    assert item.is_tiled(0)
    with pytest.raises(Rejected, match=r"block\.digest"):
        read_region(item, 0, whole((count, 2)))
