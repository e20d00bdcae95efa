"""URLs and paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyckpt.errors import InvalidKey, UsageError
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from pyckpt.storage.url import names_store, open_store, split_url


@pytest.mark.parametrize(
    ("url", "store", "name"),
    [
        ("run/global_step_1000", "run", "global_step_1000"),
        ("/abs/run/x/", "/abs/run", "x"),
        ("/abs/run//x///", "/abs/run", "x"),
        ("x", ".", "x"),
        ("./x", ".", "x"),
        ("../x", "..", "x"),
        ("/x", "/", "x"),
        (Path("a") / "b" / "c", "a/b", "c"),
        ("file:///abs/run/x", "file:///abs/run", "x"),
        ("file:///x", "file:///", "x"),
        ("FILE:///a/x/", "file:///a", "x"),
        ("memory://n/x", "memory://n", "x"),
        ("memory://n/deep/x/", "memory://n/deep", "x"),
        ("s3://bucket/x", "s3://bucket", "x"),
        ("s3://bucket/pre/fix/x", "s3://bucket/pre/fix", "x"),
        ("simplecache::s3://bucket/pre/x", "simplecache::s3://bucket/pre", "x"),
        ("run/..x..", "run", "..x.."),
    ],
)
def test_split(url, store, name):
    assert split_url(url) == (store, name)


@pytest.mark.parametrize("url", ["", "\0", "a\0b/x", b"run/x", 5, "memory://x", "s3://x", "memory:///x", "s3:///x"])
def test_split_refuses(url):
    with pytest.raises((UsageError, TypeError)) as caught:
        split_url(url)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    "url", ["/", ".", "..", "a/..", "a/.", "run/a b", "run/ä", "run/" + "x" * 129, "s3://", "run/x\n", "run/x?versionId=1"]
)
def test_split_refuses_names(url):
    with pytest.raises(InvalidKey):
        split_url(url)


def test_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("run", tmp_path / "run", f"file://{tmp_path}/run", f"file://localhost{tmp_path}/run/", "./run/"):
        store = open_store(url, io="buffered")
        assert isinstance(store, LocalStore)
        assert store.root == str(tmp_path / "run")
    assert open_store((tmp_path / "a b%").as_uri()).root == str(tmp_path / "a b%")
    memory = open_store("memory://open-test/deep/")
    assert isinstance(memory, MemoryStore)
    memory.put("x", b"1")
    assert open_store("memory://open-test").get("deep/x", limit=1) == b"1"
    memory.clear()
    assert isinstance(open_store(f"local://{tmp_path}"), FsspecStore)


def test_url_of_a_store_opens_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("run", f"file://{tmp_path}/run2", "memory://again/x", f"local://{tmp_path}/run3"):
        store = open_store(url)
        store.put("k", b"1")
        os.makedirs(tmp_path / "elsewhere", exist_ok=True)
        with monkeypatch.context() as other:
            other.chdir(tmp_path / "elsewhere")
            assert open_store(store.url).get("k", limit=1) == b"1"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("run", {"key": "k"}),
        ("memory://n", {"key": "k"}),
        ("file://host/run", {}),
        ("file://run", {}),
        ("there-is-no-such-protocol://x/y", {}),
        ("run", {"io": "fast"}),
        ("", {}),
    ],
)
def test_open_refuses(url, options):
    with pytest.raises(UsageError):
        open_store(url, **options)


@pytest.mark.parametrize("url", ["memory://", "memory://a//b", "memory://a/../b"])
def test_open_refuses_names(url):
    with pytest.raises(InvalidKey):
        open_store(url)


@pytest.mark.parametrize("url", ["run/", "s3://bucket/run/", "s3://bucket/run/?region=eu-1", "file:///run/"])
def test_names_a_store(url):
    assert names_store(url)


@pytest.mark.parametrize("url", ["run/step-1", "s3://bucket/run/step-1?endpoint=http://host/", "memory://run/step-1"])
def test_names_a_checkpoint(url):
    assert not names_store(url)
