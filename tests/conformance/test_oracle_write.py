"""What the oracle writes is what was asked for: read back by its reading half, and audited."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
from oracle_requests import before_creation, directory, item, node_map, ok, refused, request, tensor

from conformance.oracle import operations
from conformance.oracle.audit import audit
from conformance.oracle.codecs import decoder
from conformance.oracle.content import content
from conformance.oracle.dir_writer import WritableDirectory
from conformance.oracle.dtypes import DTYPES
from conformance.oracle.encode_blocks import chain_for, encode_block
from conformance.oracle.limits import DEFAULT
from conformance.oracle.messages import node
from conformance.oracle.mpack import parse
from conformance.oracle.opening import open_item, open_root
from conformance.oracle.packing import pack
from conformance.oracle.snapshot import Snapshot
from conformance.oracle.store import DirectoryStore


@pytest.fixture
def store(tmp_path):
    return directory(tmp_path / "store")


def written(message):
    """The response, after an audit that found nothing."""
    before = Snapshot.take(DirectoryStore(message["store"]["path"]))
    response = ok(message)
    after = Snapshot.take(DirectoryStore(message["store"]["path"]))
    assert audit(before, after, message, response, should=True) == []
    return response


def inspected(store, checkpoint="c"):
    return ok({"op": "inspect", "store": store, "checkpoint": checkpoint, "items": None, "expect": None})


def opened(store, checkpoint="c", name="model"):
    found = DirectoryStore(store["path"])
    return open_item(found, open_root(found, checkpoint), name)


EVERY_NODE = node_map(
    nil=["nil"],
    yes=["bool", True],
    least=["int", str(-(2**63))],
    most=["int", str(2**64 - 1)],
    huge=["int", str(2**64)],
    lower=["int", str(-(2**63) - 1)],
    small=["int", "-33"],
    nan=["float", "7ff4000000000001"],
    zero=["float", "8000000000000000"],
    text=["text", "é\u0000"],
    bytes=["bytes", "00ff"],
    tuple=["tuple", [["list", []], ["map", [[{"int": "-1"}, ["nil"]], ["1", ["nil"]]]]]],
    complex=["complex", "7ff0000000000000", "0000000000000001"],
    time=["timestamp", "-1", 999999999, None],
    zone=["timestamp", "1767323045", 0, -86399],
    set=["set", ["b", "a"]],
    numbers=["set", [{"int": "10"}, {"int": "9"}]],
    flat=["flattened", [["q", ["int", "1"]], ["a", ["int", "2"]]], ["dtype", "NEW"]],
    rank=["indexed", "rank", "2", [["int", "5"], ["nil"]]],
)


def test_every_node_is_kept(store):
    written(request(store, EVERY_NODE))
    tree = dict(inspected(store)["items"]["model"]["tree"][1])
    assert tree.pop("set") == ["set", ["a", "b"]]
    assert tree.pop("numbers") == ["set", [{"int": "9"}, {"int": "10"}]]
    assert tree.pop("rank") == ["indexed", "rank", 2, [["int", "5"], ["nil"]]]
    assert list(tree.items()) == [entry for entry in map(tuple, EVERY_NODE[1]) if entry[0] in tree]


@pytest.mark.parametrize(
    "value",
    [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, -1, -32, -33, -128, -129, -(2**15) - 1, -(2**63)]
    + ["", "a" * 31, "a" * 32, "a" * 256, "a" * 65536, b"", b"a" * 256, b"a" * 65536]
    + [list(range(15)), list(range(16)), dict.fromkeys(range(16), 1), [True, False, None]],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]}-{len(str(value))}",
)
def test_messagepack_is_read_as_it_was_packed(value):
    assert parse(pack({"x": value}), DEFAULT) == {"x": value}


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_dtype_is_stored_bit_for_bit(store, dtype, tmp_path):
    written(request(store, node_map(w=tensor("w", dtype, [4, 8]), s=tensor("s", "U8", []))))
    out = tmp_path / "out"
    out.mkdir()
    asked = {"op": "read", "store": store, "checkpoint": "c", "item": "model", "paths": [["w"]], "out": str(out)}
    ok({**asked, "expect": None, "assets": [], "verify": True})
    assert (out / "0").read_bytes() == content({"kind": "mix", "seed": 7}, dtype, DTYPES[dtype].bits, (4, 8))


@pytest.mark.parametrize("digest", ["blake3", "sha256"])
@pytest.mark.parametrize("codec", ["zstd", "planes"])
def test_codecs_and_digests(store, codec, digest):
    fill = {"kind": "count", "start": 0}
    tree = node_map(
        w=tensor("w", "F32", [3000], fill=fill),
        u=tensor("u", "U8", [5000], fill={"kind": "constant", "bits": "07"}),
        x=tensor("x", "F64", [64]),
    )
    written(request(store, tree, items={"model": item(codec=codec, digest=digest)}))
    manifest = opened(store).manifest
    stored = {manifest.tensors[shard.tensor].name: manifest.chains[shard.codec] for shard in manifest.shards.rows}
    assert stored["w"][0]["id"] == codec
    assert stored["x"] == ()
    assert stored["u"] == (() if codec == "planes" else stored["w"])
    assert manifest.objects[0].digest == digest


@pytest.mark.parametrize("size", [1, 7, 8, 9, 4096])
@pytest.mark.parametrize("dtype", ["F16", "F32", "C128"])
def test_planes_decode_to_what_was_encoded(dtype, size):
    block = content({"kind": "count", "start": 3}, "U8", 8, (size,))
    chain = chain_for("planes", dtype)
    assert decoder(chain)(encode_block(chain, block), size) == block


def test_entries_are_in_falling_order_of_item_size(store):
    tree = node_map(
        a=tensor("a", "U8", [3]), b=tensor("b", "F64", [1]), c=tensor("c", "C32", [1]), d=tensor("d", "F32", [2])
    )
    written(request(store, tree))
    key = opened(store).manifest.objects[0].key
    data = DirectoryStore(store["path"]).get(key)
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    assert list(header) == ["__metadata__", "b", "d", "c", "a"]
    assert header["c"]["shape"] == [1, 2]


def test_names_of_paths_and_ties(store):
    inner = ["map", [[{"int": "0"}, tensor("x", "U8", [2])], ["#a/%@", tensor("y", "U8", [2])], ["", ["nil"]]]]
    tree = node_map(state=inner, __metadata__=tensor("m", "U8", [1]), again=tensor("x", "U8", [2]))
    written(request(store, tree))
    names = [row.name for row in opened(store).manifest.tensors]
    assert names == ["state/#0", "state/%23a%2F%25%40", "%5F_metadata__"]
    assert opened(store).numbers["again",] == 0


def test_a_long_name_becomes_its_digest(store):
    written(request(store, node_map(**{"n" * 60_001: tensor("x", "U8", [1])})))
    assert opened(store).manifest.tensors[0].name == "%h" + hashlib.sha256(b"n" * 60_001).hexdigest()


def test_metadata_keeps_types(store):
    metadata = ["map", [["$a", ["int", str(2**53)]], ["$$", ["float", "3ff0000000000000"]], ["", ["list", [["nil"]]]]]]
    metadata[1] += [["n", ["float", "fff8000000000000"]], ["i", ["float", "fff0000000000000"]], ["o", ["int", "1"]]]
    metadata[1] += [["z", ["float", "8000000000000000"]], ["e", ["float", "0000000000000001"]]]
    written(request(store, node_map(), metadata=metadata))
    assert dict(inspected(store)["root"]["metadata"][1])["$a"] == ["int", str(2**53)]


def test_sequence_and_parent(store):
    first = written(request(store, node_map()))
    written(request(store, node_map(), checkpoint="d", parent=first["digest"]))
    root = inspected(store, "d")["root"]
    assert (root["sequence"], root["parent"]) == (2, first["digest"])


# Several writers


def test_shards_of_writers_tile_one_tensor(store):
    rows = [tensor("w", "F4", [4, 6], [[2 * place, 0], [2, 6], None]) for place in range(2)]
    runs = [tensor("f", "F32", [3, 5], [[0, 0], [3, 5], run]) for run in ([0, 7], [7, 15])]
    written(request(store, *(node_map(w=w, f=f, e=tensor("e", "F32", [0, 3])) for w, f in zip(rows, runs))))
    assert [len(opened(store).manifest.shards.of(number)) for number in range(3)] == [2, 2, 0]


def test_replicas_are_compared_and_one_is_assigned(store):
    fill = {"kind": "count", "start": 0}
    one = node_map(w=tensor("w", "F32", [5000], fill=fill))
    trees = [one, node_map(v=tensor("v", "U8", [3]), w=tensor("a", "F32", [5000], fill=fill))]
    written(request(store, *trees, items={"model": item(codec="zstd")}))
    rows = opened(store).manifest.shards.rows
    assert [shard.tensor for shard in rows] == [0, 1, None]
    assert rows[2].blocks > 1


def test_replicas_of_other_bytes_are_refused(store):
    trees = [node_map(w=tensor("w", "F32", [2000], fill={"kind": "mix", "seed": seed})) for seed in (1, 2)]
    assert refused(request(store, *trees)) == ("state.diverged", "commit")


def test_a_union_of_trees(store):
    one = node_map(
        b=["set", ["y"]], a=["list", [node_map(k=["nil"])]], i=["indexed", "rank", 3, {"2": ["int", "2"], "0": ["nil"]}]
    )
    other = node_map(
        z=["nil"], a=["list", [node_map(l=["nil"])]], b=["set", ["x"]], i=["indexed", "rank", 3, [None, ["nil"], None]]
    )
    written(request(store, one, other))
    assert inspected(store)["items"]["model"]["tree"] == node_map(
        b=["set", ["x", "y"]],
        a=["list", [node_map(k=["nil"], l=["nil"])]],
        i=["indexed", "rank", 3, [["nil"], ["nil"], ["int", "2"]]],
        z=["nil"],
    )


def test_a_tensor_that_another_writer_names_otherwise_first(store):
    half = [tensor("t", "F32", [4], [[2 * place], [2], None]) for place in range(2)]
    written(request(store, node_map(a=half[0], b=half[0]), node_map(b=half[1])))
    manifest = opened(store).manifest
    assert [row.name for row in manifest.tensors] == ["a"]
    assert [shard.entry for shard in manifest.shards.rows] == [None, "b@[2:4]"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["int", "1"], ["int", "2"]),
        (["int", "1"], ["bool", True]),
        (["float", "0000000000000000"], ["float", "8000000000000000"]),
        (["list", []], ["list", [["nil"]]]),
        (["list", []], ["tuple", []]),
        (["set", ["a"]], ["set", [{"int": "1"}]]),
        (["indexed", "rank", 2, {"0": ["nil"]}], ["indexed", "rank", 2, {"0": ["nil"]}]),
        (["indexed", "rank", 1, {"0": ["nil"]}], ["indexed", "data", 1, {"0": ["nil"]}]),
        (["indexed", "rank", 1, {"0": ["nil"]}], ["indexed", "rank", 1, {"0": ["int", "0"]}]),
        (tensor("w", "F32", [2]), ["nil"]),
        (tensor("w", "F32", [2]), tensor("w", "I32", [2])),
        (tensor("w", "F32", [2]), tensor("w", "F32", [2, 1])),
    ],
)
def test_nodes_without_a_union_are_refused(store, one, other):
    response = operations.perform(request(store, node_map(deep=one), node_map(deep=other)))
    assert (response["code"], response["phase"]) == ("state.diverged", "commit")
    assert "deep" in response["subject"]
    assert "0, 1" in response["message"]


def test_a_tie_that_only_some_writers_see_is_refused(store):
    half = [[[[2 * place], [2], None]] for place in range(2)]
    one, tied = tensor("x", "U8", [4], *half[0]), tensor("x", "U8", [4], *half[1])
    loose = tensor("y", "U8", [4], *half[1])
    assert refused(request(store, node_map(a=one, b=one), node_map(a=tied, b=loose))) == ("state.diverged", "commit")


@pytest.mark.parametrize("regions", [[[[0], [3], None]], [[[0], [3], None], [[2], [2], None]], [[[0], [4], [0, 3]]]])
def test_a_gap_or_an_overlap_is_refused(store, regions):
    assert refused(request(store, node_map(w=tensor("w", "U8", [4], *regions)))) == ("tiling.inexact", "commit")


@pytest.mark.parametrize(
    "leaf",
    [
        tensor("w", "U8", [4], [[1], [4], None]),
        tensor("w", "U8", [4], [[0], [4], [2, 5]]),
        tensor("w", "U8", [4], [[0, 0], [4, 1], None]),
        tensor("w", "F4", [2, 4], [[0, 0], [2, 4], [1, 8]]),
        tensor("w", "F4", [2, 4], [[0, 0], [2, 3], None]),
        tensor("w", "F4", [3]),
    ],
)
def test_regions_that_make_no_sense_are_refused(store, leaf):
    assert refused(request(store, node_map(w=leaf))) == ("state.layout", "save")
    assert not list(DirectoryStore(store["path"]).list(""))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (["unsupported"], "state.unsupported"),
        (["text", "\ud800"], "state.unsupported"),
        (["map", [[{"int": str(2**64)}, ["nil"]]]], "state.unsupported"),
        (["set", ["a", {"int": "1"}]], "state.unsupported"),
        (node(2**32767), "state.unsupported"),
        (["timestamp", "0", 10**9, None], "state.unsupported"),
        (["dtype", "no-name"], "state.unsupported"),
        (["map", [["a", ["nil"]], ["a", ["nil"]]]], "usage.invalid"),
        (["nonsense"], "usage.invalid"),
        (["indexed", "rank", 1, {"1": ["nil"]}], "usage.invalid"),
    ],
)
def test_values_that_no_node_holds_are_refused(store, value, code):
    response = operations.perform(request(store, node_map(deep=value)))
    assert (response["result"], response["code"]) == ("rejected", code)
    assert "deep" in response["subject"] + response["message"]


def test_bounds_of_bigints_and_levels(store):
    deep = ["nil"]
    for _ in range(62):
        deep = ["list", [deep]]
    written(request(store, node_map(a=node(2**32767 - 1), b=node(-(2**32767)), c=deep)))
    response = operations.perform(request(store, node_map(c=["list", [deep]]), checkpoint="d"))
    assert response["code"] == "limit.exceeded"


# Commit


def test_a_name_that_is_taken(store):
    written(request(store, node_map()))
    assert refused(request(store, node_map())) == ("checkpoint.exists", "save")


def test_another_committer_is_faster(store, monkeypatch):
    message = request(store, node_map())
    with before_creation(monkeypatch, "c/checkpoint.json", lambda: ok(message)):
        assert refused(message) == ("checkpoint.exists", "commit")


@pytest.mark.parametrize(("fault", "code"), [("fails", "rank.failed"), ("dies", "rank.timeout")])
def test_a_writer_that_fails_ends_the_save(store, fault, code):
    message = request(store, node_map(a=["nil"]), node_map(b=["nil"]))
    message["writers"][1]["fault"] = fault
    response = operations.perform(message)
    assert (response["code"], response["subject"]) == (code, "writer 1")
    assert ok({"op": "list", "store": store})["checkpoints"] == []


def test_a_writer_that_is_silent_beyond_the_deadline(store, monkeypatch):
    from conformance.oracle import commit

    monkeypatch.setattr(commit, "_run", lambda *_: None)
    assert refused(request(store, node_map(), deadline=0.01)) == ("rank.timeout", "commit")


def test_a_writer_with_another_store_is_found(store, tmp_path):
    message = request(store, node_map(a=["nil"]), node_map(b=["nil"]))
    message["writers"][1]["store"] = directory(tmp_path / "other")
    assert refused(message) == ("store.split", "save")
    message["writers"][1]["store"] = directory(tmp_path / "store" / ".." / "store")
    written(message)


def test_a_collector_that_judges_the_attempt_dead_ends_the_save(store, monkeypatch, tmp_path):
    def collect():
        for marker in (tmp_path / "store" / "c").glob(".attempt-*"):
            marker.unlink()

    with before_creation(monkeypatch, ".msgpack.zst", collect):
        assert refused(request(store, node_map())) == ("save.aborted", "commit")


def test_no_marker_stays(store, tmp_path):
    written(request(store, node_map()))
    refused(request(store, node_map(w=tensor("w", "U8", [4], [[0], [3], None])), checkpoint="d"))
    assert not list((tmp_path / "store").glob("*/.attempt-*"))


@pytest.mark.parametrize("kind", ["model", "optimizer", "scheduler"])
def test_a_state_that_never_changes_is_told(store, kind):
    trees = [node_map(w=tensor("w", "F32", [3000], [[1500 * place], [1500], None])) for place in range(2)]
    for checkpoint, codec, warnings in (("a", "zstd", []), ("b", "none", ["unchanged"])):
        items = {"model": item(kind, codec=codec)}
        response = written(request(store, *trees, checkpoint=checkpoint, items=items))
        assert response["warnings"] == ([] if kind == "scheduler" else warnings)
    halves = [[[1500 * place], [1500], None] for place in range(2)]
    others = [node_map(w=tensor("w", "F32", [3000], half, fill={"kind": "mix", "seed": 8})) for half in halves]
    whole = node_map(w=tensor("w", "F32", [3000], fill={"kind": "mix", "seed": 8}))
    assert written(request(store, *others, checkpoint="d", items=items))["warnings"] == []
    assert written(request(store, whole, checkpoint="e", items=items))["warnings"] == []


# Names, assets


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": ".."},
        {"checkpoint": ".tombstones"},
        {"items": {"checkpoint.json": item()}, "writers": []},
        {"items": {"model": item(**{"a\\b": ""})}},
        {"items": {"model": item(**{"0123456789abcdef.d/x": ""})}},
        {"items": {"model": item(**{"a": "", "a/b": ""})}},
    ],
)
def test_names_outside_the_grammar_are_refused(store, change):
    assert refused({**request(store, node_map()), **change}) == ("key.invalid", "save")


def test_assets_keep_their_plain_key_where_they_can(store, tmp_path):
    folder = tmp_path / "store" / "c" / "model"
    folder.mkdir(parents=True)
    (folder / "same").write_bytes(b"\1")
    (folder / "other").write_bytes(b"\2")
    (folder / "file").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "folder" / "below").write_bytes(b"")
    assets = {"same": "01", "other": "01", "new/deep": "03", "file/below": "04", "folder": "05"}
    response = written(request(store, node_map(), items={"model": item(**assets)}))
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    attempt = response["attempt"]
    displaced = {f"{attempt}.d/{name}" for name in ("other", "file/below", "folder")}
    assert there == {"same", "other", "file", "folder/below", "new/deep", f"manifest-{attempt}.msgpack.zst", *displaced}


def test_an_asset_of_a_deleted_checkpoint_is_not_taken_over(store, tmp_path):
    message = request(store, node_map(), items={"model": item(a="01")})
    written(message)
    ok({"op": "delete", "store": store, "checkpoint": "c"})
    attempt = written(message)["attempt"]
    assert (tmp_path / "store" / "c" / "model" / f"{attempt}.d" / "a").exists()


# Carrying over


def carrying(store, checkpoint, source, name="model", **more):
    return request(
        store, checkpoint=checkpoint, items={}, carry={"again": {"checkpoint": source, "item": name}}, **more
    )


def test_an_item_is_carried_from_its_origin(store):
    written(request(store, node_map(w=tensor("w", "F32", [3])), items={"model": item(a="01")}))
    written(carrying(store, "d", "c"))
    written(carrying(store, "e", "d", "again"))
    root = inspected(store, "e")["root"]
    assert [one["checkpoint"] for one in root["external"]] == ["c"]
    assert opened(store, "e", "again").item.manifest.store_key.startswith("c/model/")


def test_what_is_not_there_is_not_carried(store):
    written(request(store, node_map()))
    written(carrying(store, "d", "c"))
    ok({"op": "delete", "store": store, "checkpoint": "c"})
    assert refused(carrying(store, "e", "x"))[0] == "checkpoint.missing"
    assert refused(carrying(store, "e", "d"))[0] == "item.missing"
    assert refused(carrying(store, "e", "d", "again")) == ("external.missing", "commit")
    assert refused(carrying(store, "c", "d", "again")) == ("external.missing", "commit")
    written(request(store, node_map(a=["nil"])))
    assert refused(carrying(store, "e", "d", "again")) == ("external.digest", "commit")


def test_what_is_being_deleted_is_not_carried(store, monkeypatch):
    written(request(store, node_map()))
    with monkeypatch.context() as patch:
        patch.setattr(WritableDirectory, "delete", lambda *_: None)
        ok({"op": "delete", "store": store, "checkpoint": "c"})
    assert refused(carrying(store, "d", "c")) == ("external.missing", "commit")
