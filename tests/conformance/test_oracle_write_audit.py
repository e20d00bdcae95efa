"""The audit finds each single thing that a writer or committer can get wrong."""

from __future__ import annotations

import msgpack
import pytest
from oracle_requests import item, node_map, request, tensor

from conformance.oracle.audit import audit
from conformance.oracle.audit_store import collected, deleted_or_whole, kept
from conformance.oracle.content import content
from conformance.oracle.encode import ATTEMPT, Draft, Item, Object, Shard, Tensor, build
from conformance.oracle.encode_region import Region
from conformance.oracle.reach import tombstone_key
from conformance.oracle.root import root_digest
from conformance.oracle.snapshot import Snapshot


def data(name):
    bits = {"F32": 32, "U8": 8}[DTYPES[name]]
    return content({"kind": "mix", "seed": 7}, DTYPES[name], bits, (2, 3))


DTYPES = {"w": "F32", "b": "U8", "z": "F32"}
TENSORS = {name: Tensor(name, dtype, (2, 3), data(name)) for name, dtype in DTYPES.items()}
TREE = {
    "w": msgpack.ExtType(1, bytes(4)),
    "b": msgpack.ExtType(1, b"\1\0\0\0"),
    "tie": msgpack.ExtType(1, bytes(4)),
    "step": 2,
    "in": {"x": None, "y": 1.5},
}
MODEL = Item(tensors=(TENSORS["w"], TENSORS["b"]), tree=TREE, assets={"config.json": b"{}"})
DRAFT = Draft(items={"model": MODEL}, metadata={"a": 1, "b": 0.5}, parent="0" * 64, sequence=1)

ASKED = request(
    {},
    node_map(
        w=tensor("w", "F32", [2, 3]),
        b=tensor("b", "U8", [2, 3]),
        tie=tensor("w", "F32", [2, 3]),
        step=["int", "2"],
        **{"in": node_map(x=["nil"], y=["float", "3ff8000000000000"])},
    ),
    items={"model": item(**{"config.json": "7b7d"})},
    metadata=["map", [["b", ["float", "3fe0000000000000"]], ["a", ["int", "1"]]]],
    parent="0" * 64,
)


def files(draft, checkpoint="c"):
    return {f"{checkpoint}/{key}": value for key, value in build(draft).items()}


def found(draft, asked=ASKED, *, before=None, should=False, response=None):
    before = Snapshot(before or {})
    return audit(before, Snapshot({**before.objects, **files(draft)}), asked, response, should=should)


def test_what_was_asked_for_is_found():
    root = files(DRAFT)["c/checkpoint.json"]
    response = {"digest": root_digest(root), "attempt": ATTEMPT}
    assert found(DRAFT, should=True, response=response) == []
    assert found(DRAFT, response={**response, "digest": "1" * 64}) != []
    assert found(DRAFT, response={**response, "attempt": "1" * 16}) != []


def members(**change):
    return DRAFT.with_(members=lambda root: root.update(change))


def in_item(change):
    return DRAFT.with_(members=lambda root: change(root["items"]["model"]))


def record(change):
    return DRAFT.with_item("model", record=change)


def tree(**change):
    return DRAFT.with_item("model", tree={**TREE, **change})


REORDERED = DRAFT.with_item("model", tree={key: TREE[key] for key in reversed(TREE)})
UNTIED = DRAFT.with_item(
    "model",
    tensors=(*MODEL.tensors, TENSORS["z"]),
    tree={**TREE, "tie": msgpack.ExtType(1, b"\2\0\0\0")},
    shards=(Shard(0), Shard(2), Shard(1)),
)
TIED = DRAFT.with_item("model", tree={**TREE, "b": msgpack.ExtType(1, bytes(4))}, tensors=(TENSORS["w"],))
OTHER_BYTES = DRAFT.with_item("model", tensors=(Tensor("w", "F32", (2, 3), bytes(24)), TENSORS["b"]))
OTHER_SHAPE = DRAFT.with_item("model", tensors=(Tensor("w", "F32", (3, 2), data("w")), TENSORS["b"]))
OTHER_DTYPE = DRAFT.with_item("model", tensors=(Tensor("w", "I32", (2, 3), data("w")), TENSORS["b"]))

FAULTS = {
    "spec": (members(spec="1.0"), "SCF-COMPAT-007"),
    "sequence": (DRAFT.with_(sequence=2), "SCF-ROOT-012"),
    "feature": (DRAFT.with_(features={"read": [], "write": ["x-new"]}), "SCF-COMPAT-003"),
    "parent": (DRAFT.with_(parent=None), "parent"),
    "metadata type": (DRAFT.with_(metadata={"a": 1.0, "b": 0.5}), "SCF-ROOT-026"),
    "metadata member": (DRAFT.with_(metadata={"a": 1}), "SCF-ROOT-026"),
    "another item": (DRAFT.with_(items={"model": MODEL, "more": Item()}), "items are"),
    "external": (DRAFT.with_(external=[{"checkpoint": "d", "digest": "1" * 64}]), "SCF-REF-004"),
    "reserved member": (members(encryption={}), "SCF-COMPAT-006"),
    "member of item": (in_item(lambda one: one.update(encryption={})), "SCF-COMPAT-006"),
    "member of descriptor": (in_item(lambda one: one["manifest"].update(crc=1)), "SCF-COMPAT-006"),
    "kind": (in_item(lambda one: one.update(kind="optimizer")), "kind"),
    "counts": (in_item(lambda one: one["counts"].update(bytes=1)), "manifest.schema"),
    "asset": (DRAFT.with_item("model", assets={"config.json": b"[]"}), "asset config.json"),
    "more assets": (DRAFT.with_item("model", assets={"config.json": b"{}", "x": b""}), "assets of model"),
    "displaced asset": (DRAFT.with_item("model", displaced=frozenset({"config.json"})), "section 5.5"),
    "order of tree": (REORDERED, "another order"),
    "value": (tree(step=3), "step has another value"),
    "kind of value": (tree(step=True), "step is of the kind bool"),
    "less members": (tree(**{"in": {"x": None}}), "in has other members"),
    "more members": (tree(new=1), "other members"),
    "untied": (UNTIED, "SCF-MODEL-003"),
    "tied": (TIED, "SCF-MODEL-003"),
    "bytes": (OTHER_BYTES, "other bytes"),
    "shape": (OTHER_SHAPE, "[3, 2]"),
    "dtype": (OTHER_DTYPE, "I32"),
    "key of manifest": (record(lambda one: one.update(attempt2=1)), "SCF-COMPAT-006"),
    "column": (record(lambda one: one["shards"]["columns"].update(crc=b"")), "SCF-COMPAT-006"),
    "row of object": (record(lambda one: one["objects"][0].update(encryption={})), "SCF-COMPAT-006"),
    "chain": (record(lambda one: one["codecs"].append([{"id": "lz4"}])), "SCF-CODEC-001"),
    "digest": (DRAFT.with_item("model", objects=(Object(block=8192),)), "blocks of 8192"),
    "order of entries": (DRAFT.with_item("model", shards=(Shard(1), Shard(0))), "SCF-OBJ-005"),
    "attempt": (DRAFT.with_item("model", attempt="1" * 16), "SCF-LAYOUT-006"),
    "unsound": (DRAFT.with_item("model", objects=(Object(after=lambda raw: raw[:-1] + b"!"),)), "block.digest"),
    "encoded": (
        DRAFT.with_item(
            "model",
            codecs=((), ({"id": "planes", "item": 2},)),
            shards=(Shard(0, codec=1, encode=lambda raw: planes(raw, 2)), Shard(1)),
        ),
        "SCF-OBJ-005",
    ),
}


def planes(raw, width):
    rows = len(raw) // width
    head = b"".join(b"\0" + rows.to_bytes(8, "little") for _ in range(width))
    return head + b"".join(raw[plane::width] for plane in range(width))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(name):
    draft, text = FAULTS[name]
    findings = found(draft)
    assert findings
    assert any(text in finding for finding in findings), findings


def test_what_is_private_is_allowed():
    assert found(members(**{"x-acme": 1})) == []
    assert found(record(lambda one: one.update({"x-acme": 1}))) == []


def test_planes_have_the_item_of_the_dtype():
    asked = {**ASKED, "items": {"model": item(codec="planes", **{"config.json": "7b7d"})}}
    for width, text in ((4, ""), (2, "section 11.4")):
        draft = DRAFT.with_item(
            "model",
            codecs=((), ({"id": "planes", "item": width},)),
            shards=(Shard(1), Shard(0, codec=1, encode=lambda raw, width=width: planes(raw, width))),
        )
        assert [text in finding for finding in found(draft, asked)] == ([True] if text else [])


def test_digest_and_block_are_those_that_were_asked_for():
    asked = {**ASKED, "items": {"model": item(digest="sha256", **{"config.json": "7b7d"})}}
    assert any("blake3" in finding for finding in found(DRAFT, asked))
    assert found(DRAFT.with_item("model", objects=(Object(digest="sha256"),)), asked) == []


def test_what_is_recommended_is_found_on_demand():
    without = DRAFT.with_item("model", objects=(Object(header=lambda text: b"{" + text[text.index(b'"w"') :]),))
    renamed = DRAFT.with_item("model", tensors=(Tensor("v", "F32", (2, 3), data("w")), TENSORS["b"]))
    for draft, text in ((without, "SCF-OBJ-004"), (renamed, "SCF-OBJ-010")):
        assert found(draft) == []
        assert [text in finding for finding in found(draft, should=True)] == [True]
    marker = {f"c/.attempt-{ATTEMPT}": b""}
    after = Snapshot({**files(DRAFT), **marker})
    assert [text[:14] for text in audit(Snapshot({}), after, ASKED, should=True)] == ["SCF-LAYOUT-011"]


def test_shards_of_regions_and_replicas_are_no_fault():
    rows = [Region((row, 0), (1, 3)) for row in range(2)]
    unassigned = Shard(None, data=data("w"), name="copy", header=("F32", (2, 3)))
    draft = DRAFT.with_item("model", shards=(Shard(0, rows[1]), Shard(0, rows[0]), unassigned, Shard(1)))
    assert found(draft) == []


# What was there before


def test_nothing_that_was_there_may_change():
    before = {"d/x": b"1", "c/notes": b"2"}
    assert found(DRAFT, before=before) == []
    after = {**before, **files(DRAFT)}
    for key in before:
        for changed in ({**after, key: b"3"}, {one: raw for one, raw in after.items() if one != key}):
            (finding,) = audit(Snapshot(before), Snapshot(changed), ASKED)
            assert key in finding


def test_new_objects_lie_below_the_checkpoint_and_are_accounted_for():
    for key, text in (("d/x", "SCF-LAYOUT-004"), (f"c/model/{ATTEMPT}-00009.safetensors", "SCF-OBJ-009")):
        (finding,) = audit(Snapshot({}), Snapshot({**files(DRAFT), key: b""}), ASKED)
        assert text in finding


def test_assets_that_were_there():
    plain = {"c/model/config.json": b"{}"}
    assert found(DRAFT, before=plain) == []
    buried = {**plain, tombstone_key("c", "1" * 64): b"{}"}
    assert ["SCF-COMMIT-011" in text for text in found(DRAFT, before=buried)] == [True]
    displaced = DRAFT.with_item("model", displaced=frozenset({"config.json"}))
    assert found(displaced, before=buried) == []
    assert found(displaced, before={"c/model/config.json/x": b""}) == []
    assert found(displaced, before={"c/model": b""}) == []


def test_the_sequence_follows_the_roots_that_were_there():
    before = files(Draft(sequence=7), "old")
    assert found(DRAFT.with_(sequence=8), before=before) == []
    assert found(DRAFT, before=before) != []


def test_carried_items():
    before = files(DRAFT, "old")
    digest = root_digest(before["old/checkpoint.json"])
    members = build_member(before)
    asked = {**ASKED, "items": {}, "writers": [], "carry": {"again": {"checkpoint": "old", "item": "model"}}}
    external = [{"checkpoint": "old", "digest": digest}]
    draft = DRAFT.with_(items={}, carried={"again": members}, sequence=2, external=external)
    assert found(draft, asked, before=before) == []
    assert found(draft.with_(carried={"again": {**members, "kind": "other"}}), asked, before=before) != []
    assert found(draft.with_(carried={"again": {**members, "assets": {}}}), asked, before=before) != []
    other = {**members, "manifest": {**members["manifest"], "store_key": "copy" + members["manifest"]["store_key"][3:]}}
    copied = {**before, **{f"copy{key[3:]}": raw for key, raw in before.items()}}
    chained = draft.with_(carried={"again": other}, external=[{"checkpoint": "copy", "digest": digest}, *external])
    assert any("SCF-ROOT-021" in text for text in found(chained, asked, before=copied))
    wrong = [{"checkpoint": "old", "digest": "1" * 64}]
    assert any("SCF-REF-007" in text for text in found(draft.with_(external=wrong), asked, before=before))


def build_member(before):
    """The member of a root for the item of another checkpoint, by reference."""
    import json

    member = json.loads(before["old/checkpoint.json"])["items"]["model"]
    for descriptor in (member["manifest"], *member["assets"].values()):
        descriptor["store_key"] = f"old/{descriptor.pop('key')}"
    return member


# The judges of transactions


def test_checkpoints_are_kept():
    before = Snapshot({**files(DRAFT), **files(Draft(), "d"), "c/garbage": b""})
    assert kept(before, before) == []
    for key in files(DRAFT):
        less = {one: raw for one, raw in before.objects.items() if one != key}
        assert [key in text for text in kept(before, Snapshot(less))] == [True]
        assert kept(before, Snapshot(less), but=["c"]) == []
        assert kept(before, Snapshot({**less, key: b"x"})) != []
    assert kept(before, Snapshot({key: raw for key, raw in before.objects.items() if key != "c/garbage"})) == []


def test_a_deletion_is_done_or_not():
    start = files(DRAFT)
    root = start["c/checkpoint.json"]
    tomb = {tombstone_key("c", root_digest(root)): root}
    gone = {key: raw for key, raw in start.items() if key != "c/checkpoint.json"}
    for after in (start, {**start, **tomb}, {**gone, **tomb}):
        assert deleted_or_whole(Snapshot(start), Snapshot(after), "c") == []
    less = {key: raw for key, raw in gone.items() if not key.endswith(".safetensors")}
    for after in (gone, {**less, **tomb}, {**gone, **tomb, "x": b""}, {**start, "c/checkpoint.json": b""}):
        assert deleted_or_whole(Snapshot(start), Snapshot(after), "c") != []


def test_a_collection_removes_garbage_alone():
    start = {**files(DRAFT), "c/.attempt-0123456789abcdef": b""}
    assert collected(Snapshot(start), Snapshot(files(DRAFT))) == []
    for key in files(DRAFT):
        assert collected(Snapshot(start), Snapshot({one: raw for one, raw in start.items() if one != key})) != []
    assert collected(Snapshot(start), Snapshot({**start, "new": b""})) != []
    assert collected(Snapshot(start), Snapshot({**start, "c/.attempt-0123456789abcdef": b"1"})) != []
