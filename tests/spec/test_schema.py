"""The JSON schemas accept what the library writes and refuse what the text refuses."""

from __future__ import annotations

import copy
import json
import math
import re
from datetime import datetime, timezone

import jsonschema
import pytest

from pyckpt.format.manifest import decode_manifest
from pyckpt.format.projection import TAGS, manifest_to_json, node_to_json
from pyckpt.format.root import Descriptor, External, ItemEntry, Root, decode_root, encode_root, root_digest
from pyckpt.format.tree import DTypeName, Flattened, Indexed, TensorRef

SHA = "0123456789abcdef" * 4
ATTEMPT = "3f9c2a71d0b84e55"


@pytest.fixture(scope="module")
def checkpoint(spec):
    return validator(spec / "schema" / "checkpoint.schema.json")


def validator(path):
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def descriptor(key=None, store_key=None):
    return Descriptor(key, store_key, 10, SHA)


def item(manifest, assets=None):
    return ItemEntry("model", manifest, 20, 1, 2, 1, 30, assets or {})


def root() -> Root:
    own = descriptor(f"model/manifest-{ATTEMPT}.msgpack.zst")
    carried = descriptor(None, f"step_1/model/manifest-{ATTEMPT}.msgpack.zst")
    assets = {
        "config.json": descriptor("model/config.json"),
        "tokenizer/vocab é.txt": descriptor(f"model/{ATTEMPT}.d/tokenizer/vocab é.txt"),
    }
    return Root(
        spec="1.0-draft",
        attempt=ATTEMPT,
        created="2026-01-02T03:04:05.25Z",
        writer_name="test",
        writer_version="1",
        features_read=(),
        features_write=(),
        sequence=3,
        parent=SHA,
        metadata={
            "step": 2, "loss": 0.5, "best": math.inf, "seed": 2**80, "$price": 3, "nested": {"list": [None, True, "x"]}
        },
        items={"model": item(own, assets), "frozen": item(carried)},
        external=(External("step_1", SHA),),
    )  # fmt: skip


@pytest.fixture
def written():
    return json.loads(encode_root(root()))


def test_roots_of_the_library_are_accepted(checkpoint, written):
    checkpoint.validate(written)
    written["items"] = {}
    written["unknown"] = written["features"]["unknown"] = {"$any": 1}
    written["parent"] = None
    checkpoint.validate(written)


def change(value, path, new):
    *parents, last = path
    for name in parents:
        value = value[name]
    if new is KeyError:
        del value[last]
    else:
        value[last] = new


MANIFEST = ("items", "model", "manifest")
BROKEN = [
    *[((name,), KeyError) for name in json.loads(encode_root(root())) if name != "scf"],
    (("scf",), 2),
    (("scf",), "1"),
    (("digest",), SHA.upper()),
    (("digest",), SHA[1:]),
    (("attempt",), ATTEMPT.upper()),
    (("created",), "2026-01-02 03:04:05"),
    (("created",), "2026-01-02T03:04:05+00:00"),
    (("writer",), "pyckpt"),
    (("writer", "version"), KeyError),
    (("features", "read"), KeyError),
    (("features", "write"), ["a", "a"]),
    (("sequence",), 0),
    (("sequence",), 2**53),
    (("sequence",), "1"),
    (("parent",), "none"),
    (("metadata",), []),
    (("metadata", "$tag"), 1),
    (("metadata", "nested"), {"$unknown": 1}),
    (("metadata", "nested"), {"$int": "01"}),
    (("metadata", "nested"), {"$int": "1", "more": 1}),
    (("metadata", "nested"), {"$float": "Infinity"}),
    (("metadata", "nested", "list"), [{"$int": 1}]),
    (("items",), []),
    (("items", "checkpoint.json"), {}),
    (("items", ".hidden"), {}),
    (("items", "model", "kind"), KeyError),
    (("items", "model", "raw_size"), -1),
    (("items", "model", "counts", "bytes"), KeyError),
    (("items", "model", "counts", "shards"), 0.5),
    ((*MANIFEST, "size"), KeyError),
    ((*MANIFEST, "sha256"), SHA[1:]),
    ((*MANIFEST, "key"), KeyError),
    ((*MANIFEST, "store_key"), f"step_1/model/manifest-{ATTEMPT}.msgpack.zst"),
    ((*MANIFEST, "key"), f"model/manifest-{ATTEMPT}.msgpack"),
    ((*MANIFEST, "key"), f"../manifest-{ATTEMPT}.msgpack.zst"),
    (("items", "frozen", "manifest", "store_key"), f"model/manifest-{ATTEMPT}.msgpack.zst"),
    (("items", "frozen", "manifest", "store_key"), f"../model/manifest-{ATTEMPT}.msgpack.zst"),
    (("items", "model", "assets", "../x"), {"key": "model/x", "size": 1, "sha256": SHA}),
    (("items", "model", "assets", "a/b/../c"), {"key": "model/x", "size": 1, "sha256": SHA}),
    (("items", "model", "assets", "a\\b"), {"key": "model/x", "size": 1, "sha256": SHA}),
    (("items", "model", "assets", "/".join("abcdefghi")), {"key": "model/x", "size": 1, "sha256": SHA}),
    (("items", "model", "assets", f"{ATTEMPT}.d/x"), {"key": "model/x", "size": 1, "sha256": SHA}),
    (("items", "model", "assets", f"manifest-{ATTEMPT}.msgpack.zst"), {"key": "model/x", "size": 1, "sha256": SHA}),
    (("external",), {}),
    (("external", 0, "digest"), KeyError),
    (("external", 0, "checkpoint"), ".."),
    (("external", 0, "checkpoint"), ".tombstones"),
    (("external", 0, "checkpoint"), "a/b"),
]


@pytest.mark.parametrize(("path", "new"), BROKEN, ids=lambda value: None)
def test_broken_roots_are_refused_by_schema_and_library(checkpoint, written, path, new):
    broken = copy.deepcopy(written)
    change(broken, path, new)
    assert not checkpoint.is_valid(broken)
    with pytest.raises(Exception, match=r"^\[(root|key|version|feature)\."):
        decode_root(with_digest(broken))


def with_digest(value) -> bytes:
    """A root with these members and, where it begins as a root does, the right digest."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    if text.startswith(b'{"scf":1,"digest":"') and len(value.get("digest", "")) == 64:
        try:
            digest = root_digest(text).encode()
        except ValueError:
            return text
        text = text[:19] + digest + text[83:]
    return text


@pytest.fixture(scope="module")
def manifest(spec):
    return validator(spec / "schema" / "manifest.schema.json")


@pytest.fixture
def projected(spec):
    """The projection of the manifest whose raw bytes chapter 7 shows."""
    (raw,) = re.findall(r"```\n((?:[0-9a-f]{20,}\n)+)```", (spec / "07-manifest.md").read_text())
    decoded = decode_manifest(bytes.fromhex(raw), item="model", attempt=ATTEMPT)
    return json.loads(json.dumps(manifest_to_json(decoded)))


def test_projected_manifests_are_accepted(manifest, projected):
    manifest.validate(projected)
    shard = projected["tensors"][0]["shards"][0]
    shard["codec"] = 1
    shard["blocks"][0]["decoded_digest"] = SHA
    place = {name: shard[name] for name in ("object", "entry", "offset", "stored_size", "blocks")}
    projected["unassigned"].append(place)
    projected["codecs"].append([{"id": "zstd", "level": 3}])
    projected["tensors"][1]["shape"] = [{"$int": str(2**60)}]
    manifest.validate(projected)


NODES = {
    "scalars": [None, True, 1, -0.0, math.nan, 2**70, "text", b"\x00\xff", 1 + 2j, ()],
    "times": (datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, tzinfo=timezone.utc)),
    "sets": [frozenset({"a", "b"}), frozenset({1, 2**63}), frozenset()],
    "maps": {"int": {1: "a", "1": "b"}, "tag": {"tensor": 1}, "two": {"tensor": 1, "bytes": 2}, "none": {}},
    "indexed": Indexed("rank", 2, {0: TensorRef(0), 1: [1]}),
    "flattened": Flattened({"q": TensorRef(1)}, {"dtype": DTypeName("BF16"), "bits": 8}),
}


def test_every_node_is_accepted(manifest, projected):
    projected["tree"] = json.loads(json.dumps(node_to_json(NODES)))
    manifest.validate(projected)
    seen = {tag for tag in TAGS if f'"{tag}"' in json.dumps(projected["tree"])}
    assert seen == TAGS


BROKEN_MANIFESTS = [
    *[((name,), KeyError) for name in ("item", "attempt", "dtypes", "codecs", "objects", "tensors", "unassigned", "tree")],
    (("item",), "../model"),
    (("dtypes", 0, "bits"), 0),
    (("codecs",), []),
    (("codecs", 0), [{"id": "zstd"}]),
    (("objects", 0, "key"), "model/x.safetensors"),
    (("objects", 0, "store_key"), f"step_1/model/{ATTEMPT}-00000.safetensors"),
    (("objects", 0, "key"), KeyError),
    (("objects", 0, "data_start"), 4097),
    (("objects", 0, "block"), 5000),
    (("objects", 0, "header_digest"), ""),
    (("tensors", 0, "name"), ""),
    (("tensors", 0, "shape"), [-1]),
    (("tensors", 0, "shape"), [1] * 65),
    (("tensors", 0, "shards", 0, "run"), [0]),
    (("tensors", 0, "shards", 0, "box"), {"offset": [0]}),
    (("tensors", 0, "shards", 0, "blocks", 0, "digest"), "00"),
    (("tensors", 0, "shards", 0, "blocks", 0, "stored_size"), {"$int": "-1"}),
    (("tensors", 0, "shards", 0, "entry"), KeyError),
    (("tree",), []),
    (("tree", "step"), {"tensor": -1}),
    (("tree", "step"), {"bytes": "*"}),
    (("tree", "step"), {"set": [1, "a"]}),
    (("tree", "step"), {"map": [[1.5, 2]]}),
    (("tree", "step"), {"indexed": {"axis": "rank", "size": 1}}),
    (("tree", "step"), {"timestamp": {"seconds": 0, "nanoseconds": 10**9, "offset": None}}),
    (("tree", "step"), {"dtype": "float 32"}),
    (("tree", "step"), {"$float": "1"}),
]


@pytest.mark.parametrize(("path", "new"), BROKEN_MANIFESTS, ids=lambda value: None)
def test_broken_manifests_are_refused(manifest, projected, path, new):
    change(projected, path, new)
    assert not manifest.is_valid(projected)
