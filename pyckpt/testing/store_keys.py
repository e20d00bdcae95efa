"""What every store has to do with its keys: list them, tell their times, delete them, refuse what is none."""

# ruff: noqa: D102  the name of a test says what it checks
from __future__ import annotations

from typing import ClassVar

from pyckpt.errors import InvalidKey
from pyckpt.storage.base import ObjectMissing, Store
from pyckpt.testing.objects import LIMIT, refuses, write_object

__all__ = ["KeyTests"]


class KeyTests:
    """Of keys and listings; the fixture ``store`` is an empty store, new for each test."""

    odd_keys: ClassVar[tuple[str, ...]] = (
        "-",
        "...",
        "..x/y..",
        "A" * 128 + "/" + "b" * 128,
        "a b/c d",
        "asset/Ünïcode-名前.txt",
        "asset/percent%20and+plus",
        "asset/[brackets]{braces}",
        "asset/#hash & ampersand='quoted'",
        "~/home",
    )
    """Names that users may give to assets."""

    def test_missing(self, store: Store) -> None:
        store.put("there/x", b"1")
        for key in ("absent", "there/absent", "absent/x", "there", "there/x/y"):
            assert store.info(key) is None, key
            refuses(ObjectMissing, lambda key=key: store.get(key, limit=LIMIT))  # type: ignore[misc]
            refuses(ObjectMissing, lambda key=key: store.open_reader(key))  # type: ignore[misc]
            refuses(ObjectMissing, lambda key=key: store.read_into(key, 0, [memoryview(bytearray(1))]))  # type: ignore[misc]

    def test_delete(self, store: Store) -> None:
        store.put("d/x", b"1")
        store.put("d/y", b"2")
        store.delete("d/x")
        store.delete("d/x")
        store.delete("never/was")
        assert store.info("d/x") is None
        assert [info.key for info in store.list("")] == ["d/y"]

    def test_listing(self, store: Store) -> None:
        keys = [
            ".tombstones/a.0123456789abcdef.json",
            "a-b/x",
            "a.b/x",
            "a/b/c",
            "a/b/d/e",
            "a/z",
            "ab/c",
            "top",
        ]
        for key in reversed(keys):
            store.put(key, key.encode())
        assert [info.key for info in store.list("")] == sorted(keys)
        assert [info.key for info in store.list("a/")] == ["a/b/c", "a/b/d/e", "a/z"]
        assert [info.key for info in store.list("a/b/")] == ["a/b/c", "a/b/d/e"]
        assert list(store.list("absent/")) == []
        assert list(store.list("to/")) == []
        assert store.list_names("") == [".tombstones", "a", "a-b", "a.b", "ab", "top"]
        assert store.list_names("a/") == ["b", "z"]
        assert store.list_names("absent/") == []
        assert all(info.size == len(info.key) for info in store.list(""))

    def test_listing_an_empty_store(self, store: Store) -> None:
        assert list(store.list("")) == []
        assert store.list_names("") == []

    def test_listing_sees_what_was_just_done(self, store: Store) -> None:
        store.put("v/a", b"1")
        assert store.list_names("v/") == ["a"]
        write_object(store, "v/b", b"2")
        store.put_new("v/c", b"3")
        assert store.list_names("v/") == ["a", "b", "c"]
        store.delete("v/a")
        assert [info.key for info in store.list("v/")] == ["v/b", "v/c"]

    def test_clock(self, store: Store) -> None:
        before = store.now()
        store.put("t", b"1")
        info = store.info("t")
        assert info is not None
        # Object stores tell the time in whole seconds.
        assert before - 2 <= info.modified <= store.now() + 2
        assert [entry.key for entry in store.list("")] == ["t"]

    def test_odd_keys(self, store: Store) -> None:
        for key in self.odd_keys:
            store.put_new(key, key.encode())
        for key in self.odd_keys:
            assert store.get(key, limit=LIMIT) == key.encode()
        assert [info.key for info in store.list("")] == sorted(self.odd_keys)
        for key in self.odd_keys:
            store.delete(key)
        assert list(store.list("")) == []

    def test_refused_keys(self, store: Store) -> None:
        store.put("a/x", b"1")
        for key in (
            "",
            "/",
            "/a",
            "a/",
            "a//x",
            ".",
            "..",
            "../a/x",
            "a/../a/x",
            "a/./x",
            "a\\x",
            "a\0x",
            "\ud800",
            "a/.tmp-0123456789abcdef",
            ".probe-0123456789abcdef",
        ):
            for call in (
                lambda k: store.get(k, limit=LIMIT),
                store.open_reader,
                lambda k: store.create_writer(k, None),
                lambda k: store.put_new(k, b""),
                lambda k: store.put(k, b""),
                store.info,
                store.delete,
            ):
                refuses(InvalidKey, lambda call=call, key=key: call(key))  # type: ignore[misc]
        for prefix in ("/", "a", "../", "a//", "a/../"):
            refuses(InvalidKey, lambda p=prefix: list(store.list(p)))  # type: ignore[misc]
            refuses(InvalidKey, lambda p=prefix: store.list_names(p))  # type: ignore[misc]
