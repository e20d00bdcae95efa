from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, LimitExceeded, PyckptError, Unsupported, UnsupportedState, UsageError
from pyckpt.format import root as root_module
from pyckpt.format.root import KINDS, Descriptor, External, ItemEntry, Root, decode_root, encode_root, root_digest
from pyckpt.format.version import SPEC_VERSION

ATTEMPT = "0123456789abcdef"
OTHER = "fedcba9876543210"
SHA = "ab" * 32
PREFIX = b'{"scf":1,"digest":"'


def example(**changes) -> Root:
    items = {
        "policy_model": ItemEntry(
            kind="model",
            manifest=Descriptor(f"policy_model/manifest-{ATTEMPT}.msgpack.zst", None, 1234, SHA),
            raw_size=5678,
            tensors=12,
            shards=24,
            objects=2,
            bytes=1 << 40,
            assets={
                "config.json": Descriptor("policy_model/config.json", None, 0, SHA),
                "tokenizer/vocab ü.txt": Descriptor(f"policy_model/{OTHER}.d/tokenizer/vocab ü.txt", None, 5, SHA),
                "old.txt": Descriptor(None, "step_900/policy_model/old.txt", 5, SHA),
            },
        ),
        "optimizer": ItemEntry("optimizer", Descriptor(None, f"step_900/optim/manifest-{OTHER}.msgpack.zst", 10, SHA), 99, 0, 0, 0, 0),
    }
    root = Root(
        spec=SPEC_VERSION,
        attempt=ATTEMPT,
        created="2025-02-28T23:59:59.123456Z",
        writer_name="pyckpt",
        writer_version="0.1.0",
        features_read=(),
        features_write=(),
        sequence=42,
        parent="cd" * 32,
        metadata={"step": 1000, "loss": 0.25, "seed": 2**80, "worst": math.inf, "$tag": [None, True, "é\n"], "empty": {}},
        items=items,
        external=(External("step_900", "ef" * 32), External("step_950", SHA)),
    )
    return dataclasses.replace(root, **changes)


def with_extras() -> Root:
    base = example()
    entry = base.items["policy_model"]
    descriptor = dataclasses.replace(entry.manifest, extra={"x-d": 2**70})
    entry = dataclasses.replace(entry, manifest=descriptor, extra={"x-i": [1.5]}, counts_extra={"x-c": None}, kind="adapter")
    return dataclasses.replace(
        base,
        items={**base.items, "policy_model": entry},
        external=(dataclasses.replace(base.external[0], extra={"x-e": {"$odd": 1, "$": 2}}), base.external[1]),
        extra={"x-r": {"a": "ü"}},
        writer_extra={"host": "n1"},
        features_extra={"x-f": False},
    )


def members_of(data: bytes) -> dict:
    return json.loads(data)


def seal(members: dict) -> bytes:
    """A root with the right magic and digest around any members."""
    rest = {name: value for name, value in members.items() if name not in {"scf", "digest"}}
    return seal_text(json.dumps(rest)[1:].encode())


def seal_text(rest: bytes) -> bytes:
    data = PREFIX + b"0" * 64 + b'",' + rest
    return PREFIX + hashlib.sha256(data).hexdigest().encode() + data[len(PREFIX) + 64 :]


def refused(data: bytes, code: str, **options) -> PyckptError:
    with pytest.raises(PyckptError) as caught:
        decode_root(data, **options)
    assert caught.value.code == code
    assert len(str(caught.value)) < 60_000
    return caught.value


def changed(*path, value=None, drop=False) -> bytes:
    members = members_of(encode_root(example()))
    node = members
    for component in path[:-1]:
        node = node[component]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return seal(members)


def places(data: bytes, **options) -> list[str]:
    return [finding.key for finding in refused(data, "root.schema", **options).findings]


# --- bytes and identity


@pytest.mark.parametrize("root", [example(), with_extras(), example(items={}, external=(), parent=None, metadata={})], ids=["plain", "extras", "empty"])
def test_a_root_comes_back(root):
    data = encode_root(root)
    decoded = decode_root(data)
    assert dataclasses.replace(decoded, digest="") == root
    assert decoded.digest == root_digest(data) == data[19:83].decode()
    assert encode_root(decoded) == data


def test_the_bytes_are_what_the_format_says():
    data = encode_root(example())
    assert data[:19] == PREFIX
    assert data[83:86] == b'",\n'
    assert data.endswith(b"\n}\n")
    assert data[19:83].decode() == hashlib.sha256(data[:19] + b"0" * 64 + data[83:]).hexdigest()
    members = members_of(data)
    assert list(members) == ["scf", "digest", "spec", "attempt", "created", "writer", "features", "sequence", "parent", "metadata", "items", "external"]
    assert members["metadata"]["seed"] == {"$int": str(2**80)}
    assert b'\n  "step": 1000,\n' in data
    assert "vocab ü.txt".encode() in data


def test_one_root_in_known_bytes():
    root = example(items={}, external=(), parent=None, metadata={"step": 1})
    rest = (
        '\n "spec": "1.0-draft",\n "attempt": "0123456789abcdef",\n "created": "2025-02-28T23:59:59.123456Z",\n "writer": {\n  "name": "pyckpt",\n  "version": "0.1.0"\n },\n'
        ' "features": {\n  "read": [],\n  "write": []\n },\n "sequence": 42,\n "parent": null,\n "metadata": {\n  "step": 1\n },\n "items": {},\n "external": []\n}\n'
    )
    assert encode_root(root) == seal_text(rest.encode())


def test_every_changed_byte_is_found():
    data = encode_root(example())
    for position in range(len(data)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises(PyckptError) as caught:
                decode_root(bytes(damaged))
            assert caught.value.code in ({"root.syntax", "root.digest", "version.unsupported"} if position < 85 else {"root.digest"})


def test_every_truncation_is_found():
    data = encode_root(example())
    for length in range(len(data)):
        with pytest.raises(Corrupt) as caught:
            decode_root(data[:length])
        assert caught.value.code == ("root.syntax" if length < 85 else "root.digest")


@pytest.mark.parametrize("end", [b" ", b"\n", b"\x00", b"{}"])
def test_appended_bytes_are_found(end):
    refused(encode_root(example()) + end, "root.digest")


# --- order of the checks


@pytest.mark.parametrize(
    ("beginning", "code"),
    [
        (b"", "root.syntax"),
        (b"{}", "root.syntax"),
        (b'{ "scf":1,"digest":"' + b"0" * 64 + b'",', "root.syntax"),
        (b'\xef\xbb\xbf{"scf":1,"digest":"' + b"0" * 64 + b'",', "root.syntax"),
        (b'{"scf":1,"digest":"' + b"0" * 63 + b'A",', "root.syntax"),
        (b'{"scf":1,"digest":"' + b"0" * 64 + b'" ,', "root.syntax"),
        (b'{"scf":1,"digest":"' + b"0" * 64 + b'"}', "root.syntax"),
        (b'{"scf":-1,', "root.syntax"),
        (b'{"scf":1.0,', "root.syntax"),
        (b'{"scf":"1",', "root.syntax"),
        (b'{"scf":2', "root.syntax"),
        (b'{"scf":2,', "version.unsupported"),
        (b'{"scf":0,"x', "version.unsupported"),
        (b'{"scf":11,"digest":"', "version.unsupported"),
        (b'{"scf":' + b"9" * 10_000 + b",", "version.unsupported"),
        (b'{"scf":1,"digest":"' + b"0" * 64 + b'",', "root.digest"),
    ],
)
def test_beginnings(beginning, code):
    assert len(str(refused(beginning, code))) < 500


def test_size_comes_first(monkeypatch):
    data = encode_root(example())
    monkeypatch.setattr(root_module, "MAX_ROOT_BYTES", len(data))
    decode_root(data)
    monkeypatch.setattr(root_module, "MAX_ROOT_BYTES", len(data) - 1)
    refused(data, "limit.exceeded")
    refused(b"x" * len(data), "limit.exceeded")
    with pytest.raises(LimitExceeded):
        encode_root(example())


@pytest.mark.parametrize("rest", [b'"spec":1,"spec":1}', b'"scf":1}', b'"x":NaN}', b'"x":"\\ud800"}', b"}", b'"x":1}{}', b'"x":' + b"[" * 64 + b"]" * 64 + b"}", b'"x":"\xff"}', b'"x":1e999}'])
def test_syntax_comes_before_schema(rest):
    refused(seal_text(rest), "root.syntax")


def test_nesting_at_the_limit():
    members = members_of(encode_root(example()))
    deep = 1
    for _ in range(63):
        deep = [deep]
    assert decode_root(seal({**members, "extra": deep})).extra == {"extra": deep}
    refused(seal({**members, "extra": [deep]}), "root.syntax")


def test_features():
    both = changed("features", value={"read": ["tensor-lists"], "write": ["tensor-lists"]})
    error = refused(both, "feature.unsupported")
    assert isinstance(error, Unsupported)
    assert "tensor-lists" in str(error)
    for_writers = changed("features", value={"read": [], "write": ["a", "b"]})
    assert decode_root(for_writers).features_write == ("a", "b")
    refused(for_writers, "feature.unsupported", for_writing=True)
    assert decode_root(encode_root(example()), for_writing=True)
    # a feature may change what the schema says: it is named before the schema is looked at
    members = members_of(both)
    del members["items"]
    refused(seal(members), "feature.unsupported")


def test_the_error_names_the_checkpoint():
    assert refused(b"", "root.syntax", checkpoint="step_1").key == "step_1/checkpoint.json"
    assert refused(changed("spec", drop=True), "root.schema", checkpoint="step_1").key == "step_1/checkpoint.json"


# --- schema


@pytest.mark.parametrize("name", ["spec", "attempt", "created", "writer", "features", "sequence", "parent", "metadata", "items", "external"])
def test_members_are_required(name):
    assert f"/{name}" in places(changed(name, drop=True))


ITEM = ("items", "policy_model")


@pytest.mark.parametrize(
    "path",
    [
        (*ITEM, "kind"), (*ITEM, "manifest"), (*ITEM, "raw_size"), (*ITEM, "counts"), (*ITEM, "assets"), (*ITEM, "manifest", "size"), (*ITEM, "manifest", "sha256"),
        (*ITEM, "counts", "tensors"), (*ITEM, "counts", "shards"), (*ITEM, "counts", "objects"), (*ITEM, "counts", "bytes"), ("writer", "name"), ("writer", "version"),
        ("features", "read"), ("features", "write"), ("external", 0, "checkpoint"), ("external", 0, "digest"), (*ITEM, "assets", "config.json", "size"),
    ],
)  # fmt: skip
def test_inner_members_are_required(path):
    pointer = "/" + "/".join(map(str, path))
    assert pointer in places(changed(*path, drop=True))
    for wrong in (None, 1.5, True, [1], {"a": 1}, "", -1, 2**53):
        if (wrong == "" and path[-1] in {"kind", "name", "version"}) or (wrong == {"a": 1} and path[-1] == "assets"):
            continue
        assert any(place.startswith(pointer) for place in places(changed(*path, value=wrong))), wrong


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec",), 1),
        (("attempt",), "0123456789ABCDEF"),
        (("attempt",), ""),
        (("sequence",), 0),
        (("sequence",), True),
        (("sequence",), 1.0),
        (("sequence",), "1"),
        (("sequence",), 2**53),
        (("parent",), "ab"),
        (("parent",), False),
        (("parent",), "AB" * 32),
        (("metadata",), []),
        (("metadata", "step"), 2**53),
        (("metadata", "step"), {"$int": "5"}),
        (("metadata", "step"), {"$float": "nan", "x": 1}),
        (("items",), []),
        (("items", ""), {}),
        (("items", "checkpoint.json"), {}),
        (("items", ".."), {}),
        (("items", "policy_model"), 3),
        (("external",), {}),
        (("external", 0), 3),
        (("external", 0, "checkpoint"), ".."),
        (("external", 1, "checkpoint"), "aaa"),
        (("external", 1, "checkpoint"), "step_900"),
        ((*ITEM, "raw_size"), False),
        ((*ITEM, "counts", "bytes"), -1),
        ((*ITEM, "manifest", "key"), None),
        ((*ITEM, "manifest", "key"), ""),
        ((*ITEM, "manifest", "key"), f"optimizer/manifest-{ATTEMPT}.msgpack.zst"),
        ((*ITEM, "manifest", "key"), f"policy_model/{ATTEMPT}-00000.safetensors"),
        ((*ITEM, "manifest", "key"), f"../policy_model/manifest-{ATTEMPT}.msgpack.zst"),
        ((*ITEM, "manifest", "key"), "/etc/passwd"),
        (("items", "optimizer", "manifest", "store_key"), f"step_901/optim/manifest-{OTHER}.msgpack.zst"),
        (("items", "optimizer", "manifest", "store_key"), f"optim/manifest-{OTHER}.msgpack.zst"),
        (("items", "optimizer", "manifest", "store_key"), f"step_900/../optim/manifest-{OTHER}.msgpack.zst"),
        (("items", "optimizer", "manifest", "store_key"), "step_900/checkpoint.json"),
        (("items", "optimizer", "manifest", "store_key"), 3),
        ((*ITEM, "assets", "config.json", "key"), "policy_model/other.json"),
        ((*ITEM, "assets", "config.json", "key"), "optimizer/config.json"),
        ((*ITEM, "assets", "config.json", "key"), f"policy_model/manifest-{ATTEMPT}.msgpack.zst"),
        ((*ITEM, "assets", "config.json", "key"), "policy_model/../config.json"),
        ((*ITEM, "assets", "old.txt", "store_key"), "step_900/policy_model/new.txt"),
        ((*ITEM, "assets", "old.txt", "store_key"), "step_901/policy_model/old.txt"),
    ],
)
def test_wrong_values_are_named(path, value):
    pointer = "/" + "/".join(map(str, path))
    assert any(place.startswith(pointer) for place in places(changed(*path, value=value)))


def test_a_descriptor_has_exactly_one_key():
    members = members_of(encode_root(example()))
    manifest = members["items"]["policy_model"]["manifest"]
    both = copy.deepcopy(members)
    both["items"]["policy_model"]["manifest"]["store_key"] = "step_900/" + manifest["key"]
    assert places(seal(both)) == ["/items/policy_model/manifest"]
    del manifest["key"]
    assert places(seal(members)) == ["/items/policy_model/manifest"]


def test_assets_cannot_leave_their_item():
    for name in ("../x", "/etc/passwd", "a/../../x", "", f"manifest-{ATTEMPT}.msgpack.zst", f"{ATTEMPT}-00000.safetensors"):
        descriptor = {"key": f"policy_model/{name}", "size": 1, "sha256": SHA}
        assert places(changed(*ITEM, "assets", value={name: descriptor}))


def test_assets_are_files_beside_each_other():
    def assets(*names):
        entries = {name: {"key": f"policy_model/{name}", "size": 1, "sha256": SHA} for name in names}
        return changed(*ITEM, "assets", value=entries)

    decode_root(assets("a", "b/a", "b/c", "a.d"))
    assert places(assets("a", "x/y", "a/b")) == ["/items/policy_model/assets/a~1b"]
    assert places(assets("a/b", "a/b/c/d")) == ["/items/policy_model/assets/a~1b~1c~1d"]
    assert places(assets("x" + "/" * 10**6, "x"))
    for name in (f".tmp-{ATTEMPT}", f"a/.probe-{ATTEMPT}"):
        assert places(assets(name)) == [f"/items/policy_model/assets/{name.replace('/', '~1')}/key"]


@pytest.mark.parametrize("features", [{"read": ["b", "a"], "write": ["a", "b"]}, {"read": [], "write": ["a", "a"]}, {"read": [1], "write": []}, {"read": "ab", "write": []}, {"read": {}, "write": []}])
def test_feature_lists_are_sorted_and_distinct(features, monkeypatch):
    monkeypatch.setattr(root_module, "IMPLEMENTED_FEATURES_READ", frozenset("ab"))
    assert any(place.startswith("/features") for place in places(changed("features", value=features)))


def test_read_features_are_write_features(monkeypatch):
    monkeypatch.setattr(root_module, "IMPLEMENTED_FEATURES_READ", frozenset("ab"))
    assert places(changed("features", value={"read": ["a", "b"], "write": ["a"]})) == ["/features/write"]


@pytest.mark.parametrize("created", ["2024-02-29T00:00:00Z", "2025-01-01T00:00:00.1Z", "0001-01-01T23:59:59.123456789Z"])
def test_times(created):
    assert decode_root(changed("created", value=created)).created == created


@pytest.mark.parametrize("created", ["", "2025-02-29T00:00:00Z", "2025-01-01T24:00:00Z", "2025-01-01T00:60:00Z", "2025-01-01 00:00:00Z", "2025-01-01T00:00:00", "2025-01-01T00:00:00+00:00", "2025-01-01T00:00:00.Z", "2025-01-01T00:00:00.1234567890Z", "2025-1-1T00:00:00Z", "0000-01-01T00:00:00Z", "2025-01-01T00:00:00Z\n", "２025-01-01T00:00:00Z"])
def test_bad_times(created):
    assert places(changed("created", value=created)) == ["/created"]


def test_all_problems_are_listed_at_once():
    members = members_of(encode_root(example()))
    members["sequence"] = 0
    members["items"]["policy_model"]["raw_size"] = "big"
    members["items"]["a/b~c"] = members["items"].pop("optimizer")
    del members["writer"]["name"]
    assert sorted(places(seal(members))) == ["/items/a~1b~0c", "/items/policy_model/raw_size", "/sequence", "/writer/name"]


def test_the_list_of_problems_is_bounded():
    error = refused(changed("external", value=[0] * 5000), "root.schema")
    assert len(error.findings) == 100
    assert "5000" not in error.findings[0].message
    assert int(error.message.split()[0]) >= 5000


def test_number_of_items():
    entry = members_of(encode_root(example(external=example().external)))["items"]["optimizer"]
    many = {f"i{number}": entry for number in range(4096)}
    assert len(decode_root(changed("items", value=many)).items) == 4096
    assert places(changed("items", value={**many, "one": entry})) == ["/items"]


def test_a_checkpoint_is_not_its_own_external():
    data = encode_root(example())
    assert decode_root(data, checkpoint="step_1000")
    assert places(data, checkpoint="step_900") == ["/external/0/checkpoint"]


def test_unknown_kinds_are_treated_as_other():
    assert decode_root(encode_root(with_extras())).items["policy_model"].known_kind == "other"
    assert decode_root(encode_root(example())).items["optimizer"].known_kind == "optimizer"
    assert "other" in KINDS


# --- encoding


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": "x"}, {"sequence": 0}, {"sequence": True}, {"created": "now"}, {"parent": "x"}, {"external": ()}, {"features_read": ("a",)},
        {"features_write": ("b", "a")}, {"spec": None}, {"extra": {"spec": 1}}, {"extra": {"scf": 2}}, {"extra": {"x": math.nan}},
        {"extra": {"x": {1}}}, {"extra": {"x": "\ud800"}}, {"writer_name": "\ud800"}, {"writer_extra": {"name": 1}}, {"external": example().external[::-1]},
    ],
)  # fmt: skip
def test_what_no_reader_would_accept_is_not_written(changes):
    with pytest.raises(UsageError) as caught:
        encode_root(example(**changes))
    assert caught.value.code == "usage.invalid"


def test_metadata_that_cannot_be_said():
    with pytest.raises(UnsupportedState, match=r"metadata\['x'\]"):
        encode_root(example(metadata={"x": object()}))


def test_deepest_metadata_can_be_read():
    deep = []
    for _ in range(61):
        deep = [deep]
    assert decode_root(encode_root(example(metadata={"x": deep}))).metadata == {"x": deep}


# --- any content behind a right digest


ODD = st.sampled_from([None, True, 0, -1, 1.5, 2**53, 2**64, "", "..", "\x00", "a/b", [], {}, [[]], {"$": 1}, {"$int": "x"}, {"key": "x"}, ["a", "a"]])


def paths_of(node, path=()):
    yield path
    if isinstance(node, dict | list):
        for name, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths_of(inner, (*path, name))


MEMBERS = {name: value for name, value in members_of(encode_root(example())).items() if name not in {"scf", "digest"}}
PATHS = [path for path in paths_of(MEMBERS) if path]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PATHS), ODD, st.booleans()), min_size=1, max_size=3))
def test_odd_content_gives_a_root_or_our_error(edits):
    members = copy.deepcopy(MEMBERS)
    for path, drawn, rename in edits:
        value = copy.deepcopy(drawn)  # a later edit may change what an earlier one has put in
        node = members
        try:
            for component in path[:-1]:
                node = node[component]
            if rename and isinstance(node, dict) and isinstance(value, str):
                node[value] = node.pop(path[-1])
            else:
                node[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    try:
        root = decode_root(seal(members))
    except PyckptError as error:
        assert error.code in {"root.schema", "feature.unsupported"}
    else:
        assert dataclasses.replace(decode_root(encode_root(root)), digest="") == dataclasses.replace(root, digest="")


@settings(max_examples=200)
@given(st.binary(max_size=40) | st.text(st.sampled_from('{}[]":,1e.x'), max_size=40).map(str.encode))
def test_any_text_gives_our_error(rest):
    with pytest.raises(PyckptError):
        decode_root(seal_text(rest))
