"""Chapter 19: what an independent writer made of the specification's text, and what the library makes of that."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone

import jsonschema
import numpy as np
import pytest
import safetensors.numpy
import worked_example as tool
import zstandard
from example_bytes import write_example
from example_reading import TENSOR, WANTED, elements, global_boxes
from example_state import ASSET, ASSET_NAME, ATTEMPT, CHECKPOINT, CREATED, ITEM, SHARDS, TENSORS

import pyckpt
from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.load import load
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.verify import verify
from pyckpt.format.geometry import Box, Region, region_boxes
from pyckpt.format.manifest import decode_manifest, decompress_manifest
from pyckpt.format.projection import manifest_to_json
from pyckpt.format.root import decode_root
from pyckpt.format.tree import DTypeName, Indexed
from pyckpt.storage.memory import MemoryStore
from pyckpt.storage.url import open_store
from tests.durability.two_writers import BytesBinder, leaf, save_by_threads

EXTRA = {
    "step": 2,
    "betas": (0.9, 0.999),
    "seed": 2**64,
    "saved": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    "cursor": Indexed("rank", 2, {0: 40, 1: 300}),
    "seen": frozenset({"books", "web"}),
    "compute": DTypeName("BF16"),
}
METADATA = {"step": 2, "lr": 0.001, "loss": math.nan, "tokens": 2**64}
EMBED = np.arange(1, 9, dtype="<f4").reshape(4, 2)
MOMENT = np.array([[0, 1, 2], [10, 11, 12], [20, 21, 22], [30, 31, 32]], "<i4")
NORM = bytes.fromhex("803f 00c0 003f")


@pytest.fixture(scope="module")
def example():
    return write_example()


@pytest.fixture
def url(spec):
    return str(spec / tool.STORE / CHECKPOINT)


def test_the_committed_files_are_what_the_program_writes(spec):
    assert tool.problems(spec) == []
    assert tool.main(["--check"]) == 0


def test_check_finds_every_difference(spec, tmp_path, capsys):
    shutil.copytree(spec / tool.STORE, tmp_path / tool.STORE)
    names = list(tool.expected_files())
    (tmp_path / tool.STORE / CHECKPOINT / "more").write_bytes(b"")
    (tmp_path / names[-1]).write_bytes(b"")
    assert tool.problems(tmp_path) == [
        f"{tool.CHAPTER}: is missing", f"{names[-1]}: is stale", f"{tool.STORE}/{CHECKPOINT}/more: is no part of the example"
    ]
    assert tool.main(["--check", "--spec", str(tmp_path)]) == 1
    assert "is stale" in capsys.readouterr().out


def test_the_program_uses_no_part_of_the_library(spec):
    program = "import sys, worked_example; worked_example.expected_files(); assert 'pyckpt' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=spec / "tools", check=True)


def test_verification_finds_nothing(url, example):
    report = pyckpt.verify(url, deep=True)
    assert (report.findings, report.remarks) == ((), ())
    assert report.digest == example.digest
    assert report.objects == 2


def test_values(url):
    store = open_store(url.rsplit("/", 1)[0])
    loaded = load(
        store, CHECKPOINT, None, BytesBinder(), items=None, options=LoadOptions(threads=1), coordinator=Single()
    ).values
    embed = ("F32", (4, 2), EMBED.tobytes())
    assert loaded == {
        ITEM: {
            "embed.weight": embed,
            "moment": ("I32", (4, 3), MOMENT.tobytes()),
            "norm.weight": ("BF16", (3,), NORM),
            "scale": ("F64", (), np.float64(65536).tobytes()),
            "unused": ("F32", (0, 3), b""),
            "head.weight": embed,
            "extra": EXTRA,
        }
    }
    assert list(loaded[ITEM]) == ["embed.weight", "moment", "norm.weight", "scale", "unused", "head.weight", "extra"]


def test_tensors_of_torch(url):
    torch = pytest.importorskip("torch")
    model = pyckpt.load(url)[ITEM]
    assert model["embed.weight"] is model["head.weight"]
    assert torch.equal(model["embed.weight"], torch.from_numpy(EMBED.astype(np.float32)))
    assert torch.equal(model["moment"], torch.from_numpy(MOMENT.astype(np.int32)))
    assert torch.equal(model["norm.weight"], torch.tensor([1.0, -2.0, 0.5], dtype=torch.bfloat16))
    assert torch.equal(model["scale"], torch.tensor(65536.0, dtype=torch.float64))
    assert torch.equal(model["unused"], torch.empty(0, 3))
    assert model["extra"] == {**EXTRA, "compute": torch.bfloat16}


def test_metadata_and_asset(url):
    opened = pyckpt.open(url)
    same = {**opened.metadata}
    assert math.isnan(same.pop("loss"))
    assert same == {name: value for name, value in METADATA.items() if name != "loss"}
    assert all(type(same[name]) is type(METADATA[name]) for name in same)
    asset = opened.root.items[ITEM].assets[ASSET_NAME]
    assert (asset.size, asset.sha256) == (len(ASSET), hashlib.sha256(ASSET).hexdigest())


def test_other_tools_open_it(spec, example):
    for each in example.objects:
        folder = spec / tool.STORE / CHECKPOINT
        if each.writer == 0:
            found = safetensors.numpy.load_file(folder / each.key)
            assert found["scale"] == 65536
            assert np.array_equal(found["embed.weight@[0:2,0:2]"], EMBED[:2])
            assert found["unused"].shape == (0, 3)
        assert (folder / each.key).read_bytes() == each.content
    assert zstandard.ZstdDecompressor().decompress(example.stored) == example.raw


def test_the_region_that_the_chapter_reads(url, example):
    part = pyckpt.open(url, framework="numpy")[ITEM]["moment"][1:3, 1:3]
    assert part.tolist() == [[11, 12], [21, 22]]
    found = list(elements(example.objects))
    assert [element.value for element in found] == part.ravel().tolist()
    stored = [example.objects[SHARDS[e.shard].writer].content[e.begin : e.begin + 4] for e in found]
    assert b"".join(stored) == part.tobytes()
    assert (TENSORS[TENSOR].name, WANTED.offset, WANTED.size) == ("moment", (1, 1), (2, 2))
    assert {SHARDS[element.shard].writer for element in found} == {0, 1}


def test_runs_as_boxes():
    for shard in SHARDS:
        region = Region(Box(shard.box.offset, shard.box.size), shard.start, shard.stop)
        assert [(box.offset, box.size) for box in global_boxes(shard)] == [
            (box.offset, box.size) for box, _ in region_boxes(region)
        ]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="a command of GNU coreutils")
def test_digest_by_the_command_of_the_chapter(spec, url, example):
    command = re.search(r"^\(head .*sha256sum$", (spec / tool.CHAPTER).read_text(), re.MULTILINE)[0]
    done = subprocess.run(["sh", "-c", command], cwd=url, check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] == example.digest == decode_root(example.root).digest


def test_schemas_accept_it(spec, example):
    manifest = decode_manifest(example.raw, item=ITEM, attempt=ATTEMPT)
    for name, value in (("checkpoint", json.loads(example.root)), ("manifest", manifest_to_json(manifest))):
        schema = json.loads((spec / "schema" / f"{name}.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(value)


def test_dumps_cover_the_manifest(spec, example):
    """The bytes that the chapter prints, in its order, are the raw manifest."""
    text = (spec / tool.CHAPTER).read_text().split("## 19.5")[1].split("## 19.6")[0]
    rows = re.findall(r"^ *([0-9]+)  ((?:[0-9a-f]{2} ?){1,16})(?=  |$)", text, re.MULTILINE)
    printed = b""
    for offset, row in rows:
        assert int(offset) == len(printed)
        printed += bytes.fromhex(row)
    assert printed == example.raw


def states():
    """The same content, as the two writers of a save would have it."""

    def piece(tensor, writer):
        for shard in SHARDS:
            if (shard.tensor, shard.writer) == (tensor, writer):
                return Region(Box(shard.box.offset, shard.box.size), shard.start, shard.stop)
        raise LookupError(tensor)

    def state(writer):
        rows = EMBED[2 * writer : 2 * writer + 2].tobytes()
        run = piece(1, writer)
        embed = leaf("F32", (4, 2), [(piece(0, writer), rows)])
        both = {"replicas": (0, 1)}
        tree = {
            "embed.weight": embed,
            "moment": leaf("I32", (4, 3), [(run, MOMENT.tobytes()[4 * run.start : 4 * run.stop])]),
            "norm.weight": leaf("BF16", (3,), [(Region.whole((3,)), NORM)], **both),
            "scale": leaf("F64", (), [(Region.whole(()), np.float64(65536).tobytes())], **both),
            "unused": leaf("F32", (0, 3), [(Region.whole((0, 3)), b"")], **both),
            "head.weight": embed,
            "extra": {
                **EXTRA,
                "cursor": Indexed("rank", 2, {writer: (40, 300)[writer]}),
                "seen": frozenset({("books", "web")[writer]}),
            },
        }
        return lambda: [ItemState(ITEM, "model", tree)]

    return [state(0), state(1)]


@pytest.fixture
def saved(monkeypatch, request):
    """The store in which the library saved the same content, in the same attempt and at the same time."""
    monkeypatch.setattr("pyckpt.engine.save.secrets.token_hex", lambda _: ATTEMPT)
    monkeypatch.setattr("pyckpt.engine.commit.timestamp", lambda: CREATED)
    store = MemoryStore(request.node.name)
    outcomes = save_by_threads(
        store,
        CHECKPOINT,
        states(),
        metadata=METADATA,
        assets={ITEM: {ASSET_NAME: ASSET}},
        options=SaveOptions(threads=1, block_bytes=4096),
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return store


def test_the_library_writes_the_same_data_objects(saved, example):
    for each in example.objects:
        assert saved.get(f"{CHECKPOINT}/{each.key}", limit=1 << 20) == each.content
    assert saved.get(f"{CHECKPOINT}/{ITEM}/{ASSET_NAME}", limit=1 << 20) == ASSET
    assert sorted(info.key for info in saved.list("")) == sorted(example.files())


def test_the_library_writes_an_equal_manifest(saved, example):
    root = decode_root(saved.get(f"{CHECKPOINT}/checkpoint.json", limit=1 << 20))
    stored = saved.get(f"{CHECKPOINT}/{example.manifest_key}", limit=1 << 20)
    raw = decompress_manifest(stored, root.items[ITEM].raw_size)
    manifests = [decode_manifest(each, item=ITEM, attempt=ATTEMPT) for each in (raw, example.raw)]
    ours, theirs = map(manifest_to_json, manifests)
    assert ours == theirs
    assert manifests[0].tree == manifests[1].tree


def test_the_library_writes_an_equal_root(saved, example):
    """All but the program's name, and the manifest's frame, which the library compresses."""
    roots = [saved.get(f"{CHECKPOINT}/checkpoint.json", limit=1 << 20), example.root]
    ours, theirs = (decode_root(data, checkpoint=CHECKPOINT) for data in roots)
    for name in ("spec", "attempt", "created", "features_read", "features_write", "sequence", "parent", "external"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert repr(ours.metadata) == repr(theirs.metadata)
    one, two = ours.items[ITEM], theirs.items[ITEM]
    for name in ("kind", "raw_size", "tensors", "shards", "objects", "bytes", "assets"):
        assert getattr(one, name) == getattr(two, name), name
    assert one.manifest.key == two.manifest.key


def test_one_changed_byte_is_found(example):
    """Bytes of every object, its first and last among them, are covered by a digest."""
    for key, data in example.files().items():
        for at in sorted({0, 20, len(data) // 2, len(data) - 1} & set(range(len(data)))):
            store = MemoryStore("worked-example-changed")
            for name, content in example.files().items():
                changed = bytearray(content)
                if name == key:
                    changed[at] ^= 1
                store.put(name, bytes(changed))
            assert verify(store, CHECKPOINT, deep=True, threads=1).findings, (key, at)
