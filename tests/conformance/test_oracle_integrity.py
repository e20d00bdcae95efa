"""Damage below the manifest: what verification finds, and what reading refuses."""

from __future__ import annotations

import json

import pytest
import zstandard
from oracle_drafts import (
    B,
    Draft,
    Item,
    MemoryStore,
    Object,
    Shard,
    Tensor,
    W,
    codes,
    draft,
    numbered,
    opened,
    read_all,
    store_of,
)

from conformance.oracle.assets import read_asset
from conformance.oracle.encode import Region, column
from conformance.oracle.errors import Rejected
from conformance.oracle.limits import Limits
from conformance.oracle.opening import open_root
from conformance.oracle.reading import read_region
from conformance.oracle.regions import whole
from conformance.oracle.store import NoSuchKey
from conformance.oracle.verify import verify

OBJECT = "c/model/3f9c2a71d0b84e55-00000.safetensors"
SECOND = "c/model/3f9c2a71d0b84e55-00001.safetensors"
LARGE = Tensor("w", "F32", (64, 64), numbered(4096))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def planes(data: bytes) -> bytes:
    parts = [data[at::4] for at in range(4)]
    stored = [zstd(part) if at % 2 else part for at, part in enumerate(parts)]
    heads = b"".join(bytes([at % 2]) + len(part).to_bytes(8, "little") for at, part in enumerate(stored))
    return heads + b"".join(stored)


def encoded(encode=zstd, chain=({"id": "zstd"},)) -> Draft:
    shards = (Shard(0, codec=1, encode=encode), Shard(1, object=1))
    return Draft(
        items={"model": Item((LARGE, B), shards, objects=(Object(0), Object(1, digest="sha256")), codecs=((), chain))}
    )


def flipped(one: Draft, key: str, at: int) -> MemoryStore:
    store = store_of(one)
    data = store.objects[key]
    at %= len(data)
    store.objects[key] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    return store


def code_of(store, path: str, **options) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        read_all(store, path, **options)
    return caught.value.code, caught.value.phase


@pytest.mark.parametrize(("encode", "chain"), [(zstd, {"id": "zstd"}), (planes, {"id": "planes", "item": 4})])
def test_codecs_are_decoded(encode, chain):
    one = encoded(encode, (chain,))
    assert codes(one) == []
    assert read_all(one, "w") == LARGE.data
    assert read_region(opened(one), 0, whole((64, 64))) == LARGE.data


def test_a_damaged_block_is_refused_and_named():
    store = flipped(encoded(), OBJECT, -1)
    assert code_of(store, "w") == ("block.digest", "read")
    assert read_all(store, "b") == B.data
    (finding,) = verify(store, "c", deep=True)
    assert (finding.code, finding.subject) == ("block.digest", f"{OBJECT} w block 3")
    assert verify(store, "c", deep=False) == []


def test_blocks_that_do_not_decode_are_refused_with_their_own_code():
    for encode in (
        lambda data: zstd(data) + b"x",
        lambda data: zstd(data + b"x"),
        lambda data: zstd(data[:-1]),
        lambda data: data[:100],
        lambda data: zstd(data[:9]) + zstd(data[9:]),
    ):
        one = encoded(encode)
        assert codes(one) == ["block.codec"]
        assert code_of(one, "w") == ("block.codec", "read")
        assert read_all(one, "b") == B.data
    damaged = flipped(encoded(), OBJECT, 4096 + 2)
    assert code_of(damaged, "w", verify=False) == ("block.codec", "read")


def test_decoded_digests_are_compared_in_depth_alone():
    def other(record):
        columns = record["shards"]["columns"]
        columns["decoded_digest"] = bytes(32) + columns["decoded_digest"][32:]

    one = encoded().with_item("model", record=other)
    (finding,) = verify(store_of(one), "c", deep=True)
    assert (finding.code, finding.subject) == ("block.digest", f"{OBJECT} w block 0")
    assert codes(one, deep=False) == []
    assert read_all(one, "w") == LARGE.data
    absent = encoded().with_item("model", record=lambda record: record["shards"]["columns"].pop("decoded_digest"))
    assert codes(absent) == []


def test_objects_that_are_gone_or_have_another_size():
    store = store_of(encoded())
    for changed, code in ((None, "object.missing"), (b"x", "object.size"), (-1, "object.size")):
        store = store_of(encoded())
        data = store.objects.pop(OBJECT)
        if changed is not None:
            store.objects[OBJECT] = data + changed if isinstance(changed, bytes) else data[:changed]
        assert code_of(store, "w") == (code, "read")
        assert read_all(store, "b") == B.data
        assert codes(store) == codes(store, deep=False) == [code]


class Vanishing(MemoryStore):
    """A store whose objects are deleted after their sizes were looked up."""

    def get_range(self, key: str, begin: int, end: int) -> bytes:
        raise NoSuchKey(key)


def test_an_object_that_is_deleted_while_it_is_read():
    store = Vanishing(store_of(draft()).objects)
    assert code_of(store, "w") == ("object.missing", "read")
    assert codes(store) == ["object.missing"]


def test_a_failing_store_is_never_absence_nor_soundness():
    for key, fails in (("c/checkpoint.json", "open"), (OBJECT, "read"), ("c/model/config.json", "asset")):
        store = store_of(draft())
        store.broken = {key}
        assert codes(store) == codes(store, deep=False) == ["store.io"], fails
    store = store_of(draft())
    store.broken = {OBJECT}
    assert code_of(store, "w") == ("store.io", "store")


def test_headers():
    store = flipped(encoded(), OBJECT, 4000)
    assert codes(store) == ["object.header_digest"]
    assert codes(store, deep=False) == []
    assert read_all(store, "w") == LARGE.data


def header(change) -> Draft:
    def twist(text: bytes) -> bytes:
        members = json.loads(text)
        change(members)
        return json.dumps(members).encode()

    return draft(objects=(Object(header=twist),))


def rename(members, old, new):
    entries = [(new if name == old else name, value) for name, value in members.items()]
    members.clear()
    members.update(entries)


@pytest.mark.parametrize(
    "change",
    [
        lambda members: rename(members, "w", "v"),
        lambda members: members["w"].update(dtype="I32"),
        lambda members: members["w"].update(shape=[6, 4]),
        lambda members: members["w"].update(x=1),
        lambda members: members["__metadata__"].update(n=1),
        lambda members: members.update(more={"dtype": "U8", "shape": [0], "data_offsets": [110, 110]}),
        lambda members: members["b"].update(data_offsets=[104, 109]),
    ],
)
def test_headers_that_disagree_with_the_manifest(change):
    one = header(change)
    assert codes(one) == ["object.header"]
    assert read_all(one, "w") == W.data


def test_other_headers_are_sound():
    assert codes(header(lambda members: members.pop("__metadata__"))) == []
    last = header(lambda members: members.update(__metadata__=members.pop("__metadata__")))
    assert codes(last) == []
    assert codes(draft(objects=(Object(pads=4096),))) == []


def test_an_entry_that_is_split_in_the_header_is_found():
    one = header(
        lambda members: (
            members.pop("b"),
            members.update(
                b={"dtype": "BF16", "shape": [2], "data_offsets": [104, 108]},
                c={"dtype": "BF16", "shape": [1], "data_offsets": [108, 110]},
            ),
        ),
    )
    assert codes(one) == ["object.header"]


def test_unassigned_shards_are_verified_and_never_read():
    shards = (
        Shard(0),
        Shard(None, name="w", object=1, data=b"\xff" * 96, header=("F32", (4, 6))),
        Shard(1),
        Shard(None, name="none"),
    )
    one = Draft(items={"model": Item((W, B), shards, objects=(Object(0), Object(1)))})
    assert codes(one) == []
    assert read_all(one, "w") == W.data
    (finding,) = verify(flipped(one, SECOND, -1), "c", deep=True)
    assert (finding.code, finding.subject) == ("block.digest", f"{SECOND} w block 0")


def test_all_findings_of_a_checkpoint_are_reported():
    one = Draft(
        items={
            "a": Item((W,), assets={"x": b"1"}),
            "b": Item((LARGE,), (Shard(0, Region((0, 0), (60, 64))),)),
            "c": Item((W,)),
        },
    )
    store = store_of(one)
    for key, at in (
        ("c/a/x", 0),
        ("c/a/3f9c2a71d0b84e55-00000.safetensors", 4096),
        ("c/b/3f9c2a71d0b84e55-00000.safetensors", 4096),
    ):
        data = bytearray(store.objects[key])
        data[at] ^= 1
        store.objects[key] = bytes(data)
    key = "c/c/manifest-3f9c2a71d0b84e55.msgpack.zst"
    store.objects[key] = store.objects[key][:-1] + bytes([store.objects[key][-1] ^ 1])
    found = {(one.code, one.subject) for one in verify(store, "c", deep=True)}
    assert found == {
        ("asset.digest", "c/a/x"),
        ("block.digest", "c/a/3f9c2a71d0b84e55-00000.safetensors w block 0"),
        ("block.digest", "c/b/3f9c2a71d0b84e55-00000.safetensors w block 0"),
        ("tiling.inexact", "w"),
        ("manifest.digest", key),
    }


def test_a_tensor_whose_tiling_is_beyond_the_limit_is_a_finding():
    halves = (
        Shard(0, Region((0, 0), (4, 6), (0, 5))),
        Shard(0, Region((0, 0), (2, 6), (5, 12))),
        Shard(0, Region((2, 0), (2, 6))),
    )
    store = store_of(Draft(items={"model": Item((W,), halves)}))
    assert codes(store) == []
    (finding,) = verify(store, "c", deep=True, limits=Limits(max_box_numbers=4))
    assert (finding.code, finding.subject) == ("limit.exceeded", "w")


def test_assets():
    store = store_of(draft())
    root = open_root(store, "c")
    item = root.items["model"]
    assert read_asset(store, root, item, "config.json") == b"{}"
    for data, code, shallow in (
        (b"{x", "asset.digest", []),
        (b"{}}", "asset.size", ["asset.size"]),
        (b"{", "asset.size", ["asset.size"]),
        (None, "asset.missing", ["asset.missing"]),
    ):
        store.objects.pop("c/model/config.json", None)
        if data is not None:
            store.objects["c/model/config.json"] = data
        with pytest.raises(Rejected) as caught:
            read_asset(store, root, item, "config.json")
        assert (caught.value.code, caught.value.phase) == (code, "read")
        assert codes(store) == [code]
        assert codes(store, deep=False) == shallow
        assert read_all(store, "w") == W.data


def test_displaced_assets_and_foreign_objects():
    one = Draft(items={"model": Item((W,), assets={"a/b.json": b"1"}, displaced=frozenset({"a/b.json"}))})
    store = store_of(one)
    store.objects |= {"c/.attempt-0": b"", "c/model/foreign": b"", "c/checkpoint.json.sig": b"", "c/SHA256SUMS": b""}
    assert codes(store) == []


def test_one_item_is_read_without_the_others():
    one = Draft(items={"model": Item((W,)), "optimizer": Item((B,))})
    store = store_of(one)
    store.objects = {key: data for key, data in store.objects.items() if "/optimizer/" not in key}
    assert read_all(store, "w") == W.data
    assert codes(store) == ["manifest.missing"]


def test_a_shape_alone_takes_no_memory():
    def huge(record):
        record["tensors"]["columns"]["shape"] = column("u64", [2**30, 2**30, 3])

    one = draft().with_item("model", record=huge)
    assert codes(one) != []
    with pytest.raises(Rejected):
        read_all(one, "w")


def test_text_of_a_checkpoint_is_escaped_in_messages():
    odd = Tensor("\x1b[31m\u202e", "F32", (2, 2), bytes(16))
    one = Draft(items={"model": Item((odd,), (Shard(0, Region((0, 0), (1, 2))),))})
    with pytest.raises(Rejected) as caught:
        read_all(one, odd.name)
    assert caught.value.subject == odd.name
    assert str(caught.value).isprintable()
    with pytest.raises(Rejected) as caught:
        opened(one).number(("\x1b",))
    assert str(caught.value).isprintable()
