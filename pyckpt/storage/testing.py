"""Tests that every store has to pass; run them on your own by subclassing.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            return MyStore(...)          # empty, and different for each test

Everything here also works without pytest: call the methods with a store.
"""

# ruff: noqa: D102  the name of a test says what it checks
from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from pyckpt.errors import InvalidKey, LimitExceeded
from pyckpt.storage.base import AlreadyThere, ObjectMissing, ObjectShort, ObjectWriter, Store

__all__ = ["StoreContract", "write_object"]

_LIMIT = 1 << 30


def _pattern(size: int) -> bytes:
    """Give bytes in which no range looks like another, the same at every call."""
    return random.Random(size).randbytes(size)  # noqa: S311  a pattern, not a secret


def _refuses(error: type[BaseException], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}, but the call succeeded")


def _outcome(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001  a thread's error is told by the test
        return error
    return None


def write_object(store: Store, key: str, data: bytes, *, step: int = 1 << 16) -> None:
    """Write an object in steps of so many bytes, through aligned memory and padded where the writer asks for it."""
    _write_whole(store.create_writer(key, len(data)), data, step)


def _write_whole(writer: ObjectWriter, data: bytes, step: int) -> None:
    try:
        _write_steps(writer, data, step)
        writer.close(len(data))
    except BaseException:
        writer.abort()
        raise


def _write_steps(writer: ObjectWriter, data: bytes, step: int) -> None:
    unit = writer.alignment
    step = -(-step // unit) * unit
    for offset in range(0, len(data), step):
        piece = data[offset : offset + step]
        size = -(-len(piece) // unit) * unit
        view = _aligned(size, unit)
        view[: len(piece)] = piece
        half = size // 2 // unit * unit
        writer.write(offset, [view[:half], view[half:]])


def _aligned(size: int, unit: int) -> memoryview:
    if unit == 1:
        return memoryview(bytearray(size))
    import mmap

    return memoryview(mmap.mmap(-1, max(size, unit)))[:size]


class StoreContract:
    """What pyckpt relies on. A subclass gives the fixture ``store``: an empty store, new for each test."""

    big: ClassVar[int] = (5 << 20) + 12_345
    """Size of the large object of the tests."""
    racers: ClassVar[int] = 8
    """Threads that race for one key."""

    def test_put_new_creates_once(self, store: Store) -> None:
        store.put_new("ckpt/checkpoint.json", b"first")
        _refuses(AlreadyThere, lambda: store.put_new("ckpt/checkpoint.json", b"second"))
        _refuses(AlreadyThere, lambda: store.put_new("ckpt/checkpoint.json", b"first"))
        assert store.get("ckpt/checkpoint.json", limit=_LIMIT) == b"first"
        assert [info.key for info in store.list("")] == ["ckpt/checkpoint.json"]

    def test_put_new_is_free_again_after_delete(self, store: Store) -> None:
        store.put_new("a/b", b"1")
        store.delete("a/b")
        store.put_new("a/b", b"2")
        assert store.get("a/b", limit=_LIMIT) == b"2"

    def test_one_racer_wins(self, store: Store) -> None:
        for round_number in range(3):
            key = f"race/{round_number}"
            bodies = [f"racer {n} ".encode() * 1000 for n in range(self.racers)]
            start = threading.Barrier(self.racers)

            def race(body: bytes, key: str = key, start: threading.Barrier = start) -> BaseException | None:
                start.wait()
                return _outcome(lambda: store.put_new(key, body))

            with ThreadPoolExecutor(self.racers) as pool:
                outcomes = dict(zip(bodies, pool.map(race, bodies), strict=True))
            won = [body for body, error in outcomes.items() if error is None]
            assert all(error is None or isinstance(error, AlreadyThere) for error in outcomes.values()), outcomes
            assert len(won) == 1, f"{len(won)} of {self.racers} believe that they created {key}"
            assert store.get(key, limit=_LIMIT) == won[0]

    def test_replace_writer_takes_a_key_that_is_free_or_not(self, store: Store) -> None:
        for size in (self.big, 3, 0):
            data = _pattern(size)
            _write_whole(store.replace_writer("a/object", size), data, 1 << 20)
            assert store.get("a/object", limit=_LIMIT) == data
            assert [info.key for info in store.list("")] == ["a/object"]

    def test_put_replaces(self, store: Store) -> None:
        store.put("a/note", b"longer than the second")
        store.put("a/note", b"short")
        assert store.get("a/note", limit=_LIMIT) == b"short"

    def test_empty_objects(self, store: Store) -> None:
        store.put_new("e/new", b"")
        store.put("e/put", b"")
        write_object(store, "e/written", b"")
        for key in ("e/new", "e/put", "e/written"):
            assert store.get(key, limit=0) == b""
            info = store.info(key)
            assert info is not None
            assert info.size == 0

    def test_missing(self, store: Store) -> None:
        store.put("there/x", b"1")
        for key in ("absent", "there/absent", "absent/x", "there", "there/x/y"):
            assert store.info(key) is None, key
            _refuses(ObjectMissing, lambda key=key: store.get(key, limit=_LIMIT))  # type: ignore[misc]
            _refuses(ObjectMissing, lambda key=key: store.open_reader(key))  # type: ignore[misc]
            _refuses(ObjectMissing, lambda key=key: store.read_into(key, 0, [memoryview(bytearray(1))]))  # type: ignore[misc]

    def test_delete(self, store: Store) -> None:
        store.put("d/x", b"1")
        store.put("d/y", b"2")
        store.delete("d/x")
        store.delete("d/x")
        store.delete("never/was")
        assert store.info("d/x") is None
        assert [info.key for info in store.list("")] == ["d/y"]

    def test_limit(self, store: Store) -> None:
        store.put("l", b"12345")
        assert store.get("l", limit=5) == b"12345"
        _refuses(LimitExceeded, lambda: store.get("l", limit=4))

    def test_ranges(self, store: Store) -> None:
        data = _pattern(100_003)
        write_object(store, "r/object", data, step=30_000)
        with store.open_reader("r/object") as reader:
            assert reader.size == len(data)
            for offset, sizes in (
                (0, [len(data)]),
                (1, [7, 0, 4096, 1]),
                (99_999, [4]),
                (50_000, [1] * 3000),
                (len(data), [0]),
                (0, []),
            ):
                buffers = [bytearray(size) for size in sizes]
                reader.read_into(offset, [memoryview(buffer) for buffer in buffers])
                assert b"".join(buffers) == data[offset : offset + sum(sizes)]
        whole = bytearray(len(data))
        store.read_into("r/object", 0, [memoryview(whole)])
        assert whole == data

    def test_short(self, store: Store) -> None:
        store.put("s", b"12345")
        for offset, size in ((0, 6), (5, 1), (4, 2), (1 << 40, 1)):
            view = memoryview(bytearray(size))
            _refuses(ObjectShort, lambda o=offset, v=view: store.read_into("s", o, [v]))  # type: ignore[misc]

    def test_parallel_reads(self, store: Store) -> None:
        data = _pattern(1 << 18)
        write_object(store, "p", data)
        size = len(data) // 8
        parts = [bytearray(size) for _ in range(8)]
        with store.open_reader("p") as reader:
            threads = [
                threading.Thread(target=reader.read_into, args=(n * size, [memoryview(part)]))
                for n, part in enumerate(parts)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert b"".join(parts) == data

    def test_big_object(self, store: Store) -> None:
        data = _pattern(self.big)
        write_object(store, "big/object.safetensors", data, step=1 << 20)
        info = store.info("big/object.safetensors")
        assert info is not None
        assert info.size == len(data)
        assert store.get("big/object.safetensors", limit=_LIMIT) == data

    def test_writes_in_any_order(self, store: Store) -> None:
        if not store.parallel_writes:
            return
        data = _pattern(1 << 18)
        writer = store.create_writer("order", len(data))
        step = 1 << 14
        threads = []
        for offset in reversed(range(0, len(data), step)):
            view = _aligned(step, writer.alignment)
            view[:] = data[offset : offset + step]
            threads.append(threading.Thread(target=writer.write, args=(offset, [view])))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close(len(data))
        assert store.get("order", limit=_LIMIT) == data

    def test_padding_is_cut_off(self, store: Store) -> None:
        writer = store.create_writer("cut", None)
        unit = writer.alignment
        view = _aligned(-(-10 // unit) * unit, unit)
        view[:10] = b"0123456789"
        writer.write(0, [view])
        writer.close(10)
        assert store.get("cut", limit=_LIMIT) == b"0123456789"

    def test_abort_leaves_nothing(self, store: Store) -> None:
        writer = store.create_writer("gone/object", 1 << 16)
        view = _aligned(1 << 16, writer.alignment)
        writer.write(0, [view])
        writer.abort()
        writer.abort()
        assert store.info("gone/object") is None
        assert list(store.list("")) == []

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
        keys = [
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
        ]
        for key in keys:
            store.put_new(key, key.encode())
        for key in keys:
            assert store.get(key, limit=_LIMIT) == key.encode()
        assert [info.key for info in store.list("")] == sorted(keys)
        for key in keys:
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
                lambda k: store.get(k, limit=_LIMIT),
                store.open_reader,
                lambda k: store.create_writer(k, None),
                lambda k: store.put_new(k, b""),
                lambda k: store.put(k, b""),
                store.info,
                store.delete,
            ):
                _refuses(InvalidKey, lambda call=call, key=key: call(key))  # type: ignore[misc]
        for prefix in ("/", "a", "../", "a//", "a/../"):
            _refuses(InvalidKey, lambda p=prefix: list(store.list(p)))  # type: ignore[misc]
            _refuses(InvalidKey, lambda p=prefix: store.list_names(p))  # type: ignore[misc]
