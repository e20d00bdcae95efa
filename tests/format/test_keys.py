from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.errors import InvalidKey
from pyckpt.format import keys

ATTEMPT = "0123456789abcdef"
DIGEST = "ab" * 32

attempts = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
item_names = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: name != "checkpoint.json")
checkpoint_names = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True).filter(lambda name: name not in {".", "..", ".tombstones"})


def refused(function, *arguments):
    with pytest.raises(InvalidKey) as caught:
        function(*arguments)
    assert caught.value.code == "key.invalid"
    assert len(str(caught.value)) < 700
    return True


@pytest.mark.parametrize("name", ["a", "global_step_1000", "1.0-x_Y", "...", ".hidden", "a" * 128, "checkpoint.json"])
def test_checkpoint_names(name):
    keys.check_checkpoint_name(name)


BAD_SEGMENTS = ["", ".", "..", "a/b", "a\\b", "a b", "é", "a" * 129, "a\n", "\na", "a\x00", "a:b", "%41", "\ud800", "٣"]


@pytest.mark.parametrize("name", [*BAD_SEGMENTS, ".tombstones"])
def test_bad_checkpoint_names(name):
    assert refused(keys.check_checkpoint_name, name)
    assert refused(keys.tombstone_key, name, DIGEST)
    assert refused(keys.root_key, name)


@pytest.mark.parametrize("name", ["a", "policy_model", "-x", "_", "a.b..c", "a" * 128])
def test_item_names(name):
    keys.check_item_name(name)


@pytest.mark.parametrize("name", [*BAD_SEGMENTS, ".hidden", "checkpoint.json"])
def test_bad_item_names(name):
    assert refused(keys.check_item_name, name)
    assert refused(keys.manifest_key, name, ATTEMPT)
    assert refused(keys.object_key, name, ATTEMPT, 0)
    assert refused(keys.asset_key, name, "x")


@pytest.mark.parametrize("attempt", ["", "0" * 15, "0" * 17, "0" * 15 + "G", "0" * 15 + "A", "0" * 16 + "\n", "٣" * 16])
def test_bad_attempts(attempt):
    assert refused(keys.check_attempt, attempt)
    assert refused(keys.attempt_marker_key, attempt)
    assert refused(keys.manifest_key, "item", attempt)
    assert refused(keys.displaced_asset_key, "item", attempt, "x")


@pytest.mark.parametrize(
    "name",
    ["config.json", "a/b/c/d/e/f/g/h", "tokenizer ü.json", "日本語/x", "é" * 127, "-", "a b", "x@y%", ".gitignore", "...", "manifest-1.msgpack.zst", "x/" + f"manifest-{ATTEMPT}.msgpack.zst"],
)
def test_asset_names(name):
    keys.check_asset_name(name)
    assert keys.parse_asset_key(keys.asset_key("item", name)) == ("item", name)
    assert keys.parse_asset_key(keys.displaced_asset_key("item", ATTEMPT, name)) == ("item", name)
    assert keys.classify_key(keys.asset_key("item", name)) == "asset"
    assert keys.classify_key(keys.displaced_asset_key("item", ATTEMPT, name)) == "asset"


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "a/", "/a", "a//b", ".", "..", "../x", "a/../b", "a/./b", "a/..", "a/b/c/d/e/f/g/h/i", "é" * 128, "a" * 256,
        "/".join(["a" * 200] * 5), "a\\b", "c:x", "a*", "a?", 'a"', "a<", "a>", "a|b", "a\x00", "a\x1fb", "a\x7f", "a\n", "\ud800",
        f"manifest-{ATTEMPT}.msgpack.zst", f"{ATTEMPT}-00000.safetensors", f"{ATTEMPT}-1.safetensors", f"{ATTEMPT}.d/x", f"{ATTEMPT}.d",
        f".tmp-{ATTEMPT}", f"a/.probe-{ATTEMPT}",
    ],
)  # fmt: skip
def test_bad_asset_names(name):
    assert refused(keys.check_asset_name, name)
    assert refused(keys.asset_key, "item", name)


def test_an_asset_is_no_directory_of_another():
    keys.check_asset_names(["a", "a.b", "b/a", "b/c/d", f".tmp-{ATTEMPT}/x", ".tmp-0", f"x.tmp-{ATTEMPT}"])
    keys.check_asset_names([])
    for names in (["a", "a/b"], ["a/b/c", "x", "a"], ["a/b/c", "a/b"], ["x", "../x"]):
        assert refused(keys.check_asset_names, names)


def test_key_examples():
    assert keys.ROOT_NAME == "checkpoint.json"
    assert keys.root_key("step_1") == "step_1/checkpoint.json"
    assert keys.manifest_key("m", ATTEMPT) == f"m/manifest-{ATTEMPT}.msgpack.zst"
    assert keys.object_key("m", ATTEMPT, 7) == f"m/{ATTEMPT}-00007.safetensors"
    assert keys.object_key("m", ATTEMPT, 123456) == f"m/{ATTEMPT}-123456.safetensors"
    assert keys.displaced_asset_key("m", ATTEMPT, "c.json") == f"m/{ATTEMPT}.d/c.json"
    assert keys.tombstone_key("step_1", DIGEST) == ".tombstones/step_1.abababababababab.json"
    assert keys.attempt_marker_key(ATTEMPT) == f".attempt-{ATTEMPT}"


@given(item_names, attempts, st.integers(0, 2**63 - 1))
def test_object_and_manifest_keys_come_back(item, attempt, number):
    key = keys.object_key(item, attempt, number)
    assert keys.parse_object_key(key) == (item, attempt, number)
    assert keys.classify_key(key) == "object"
    assert refused(keys.parse_manifest_key, key)
    assert refused(keys.parse_asset_key, key)
    key = keys.manifest_key(item, attempt)
    assert keys.parse_manifest_key(key) == (item, attempt)
    assert keys.classify_key(key) == "manifest"
    assert refused(keys.parse_object_key, key)
    assert refused(keys.parse_asset_key, key)
    keys.check_key(keys.join("step", key))
    assert keys.split_store_key(keys.join("step", key)) == ("step", key)


@given(checkpoint_names, attempts)
def test_tombstone_keys_come_back(checkpoint, start):
    key = keys.tombstone_key(checkpoint, start + "0" * 48)
    assert keys.parse_tombstone_key(key) == (checkpoint, start)
    keys.check_key(key)
    assert refused(keys.split_store_key, key)


@pytest.mark.parametrize(
    "key",
    [
        f"m/{ATTEMPT}-0000.safetensors", f"m/{ATTEMPT}-000000.safetensors", f"m/{ATTEMPT}-012345.safetensors", f"m/{ATTEMPT}--1234.safetensors",
        f"m/{ATTEMPT}-9999999999999999999.safetensors", f"m/{ATTEMPT}-00000.safetensors\n", f"/m/{ATTEMPT}-00000.safetensors",
        f"m//{ATTEMPT}-00000.safetensors", f"../{ATTEMPT}-00000.safetensors", f"{ATTEMPT}-00000.safetensors", f"a/m/{ATTEMPT}-00000.safetensors", "",
    ],
)  # fmt: skip
def test_bad_object_keys(key):
    assert refused(keys.parse_object_key, key)
    assert keys.classify_key(key) != "object"


@pytest.mark.parametrize("number", [-1, 2**63])
def test_bad_object_numbers(number):
    assert refused(keys.object_key, "m", ATTEMPT, number)


@pytest.mark.parametrize("digest", ["", "AB" * 32, "ab" * 31, "ab" * 33])
def test_bad_tombstone_digests(digest):
    assert refused(keys.tombstone_key, "step", digest)


@pytest.mark.parametrize("key", [".tombstones/x.json", "x.0123456789abcdef.json", ".tombstones/.0123456789abcdef.json", ".tombstones/a/b.0123456789abcdef.json", ".tombstones/...0123456789abcdef.json"])
def test_bad_tombstones(key):
    assert refused(keys.parse_tombstone_key, key)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("checkpoint.json", "root"), (f".attempt-{ATTEMPT}", "marker"), (".attempt-xyz", "foreign"), ("notes.txt", "foreign"), ("", "foreign"),
        ("m/config.json", "asset"), ("m/a/b.txt", "asset"), (".hidden/x", "foreign"), ("m/../x", "foreign"), ("m/", "foreign"), ("checkpoint.json/x", "foreign"),
        (f"m/{ATTEMPT}.d", "foreign"), (f"m/{ATTEMPT}.d/{ATTEMPT}.d/x", "foreign"), (f"m/{ATTEMPT}-1.safetensors", "foreign"), ("m/a:b", "foreign"),
    ],
)  # fmt: skip
def test_classification(key, kind):
    assert keys.classify_key(key) == kind


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a/../b", "a/./b", "..", "a\\b", "a\x00b", "/".join("a" * 12), "a/" + "b" * 256, "\ud800", "a//b"])
def test_bad_store_keys(key):
    assert refused(keys.check_key, key)
    assert refused(keys.split_store_key, key)


def test_longest_keys_are_store_keys():
    name = "/".join(["é" * 62] * 7 + ["é" * 12 + "x"])
    assert len(name.encode()) == 900
    keys.check_key(keys.join("c" * 128, keys.displaced_asset_key("i" * 128, ATTEMPT, name)))


@given(st.text(max_size=40))
def test_any_text_is_classified_or_refused_by_our_error_alone(text):
    kind = keys.classify_key(text)
    try:
        keys.check_key(text)
    except InvalidKey:
        assert kind == "foreign"
    for parse in (keys.parse_asset_key, keys.parse_manifest_key, keys.parse_object_key, keys.parse_tombstone_key, keys.split_store_key):
        try:
            parse(text)
        except InvalidKey as error:
            assert error.code == "key.invalid"
