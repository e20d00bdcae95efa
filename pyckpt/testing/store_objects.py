"""What every store has to do with one object: create it once, write it in parts, read ranges of it."""

# ruff: noqa: D102  the name of a test says what it checks
from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from pyckpt.errors import LimitExceeded
from pyckpt.storage.base import AlreadyThere, ObjectShort, Store
from pyckpt.testing.objects import LIMIT, aligned, outcome, pattern, refuses, write_object, write_whole

__all__ = ["ObjectTests"]


class ObjectTests:
    """Of single objects; the fixture ``store`` is an empty store, new for each test."""

    big: ClassVar[int] = (5 << 20) + 12_345
    """Size of the large object of the tests."""
    racers: ClassVar[int] = 8
    """Threads that race for one key."""

    def test_put_new_creates_once(self, store: Store) -> None:
        store.put_new("ckpt/checkpoint.json", b"first")
        refuses(AlreadyThere, lambda: store.put_new("ckpt/checkpoint.json", b"second"))
        refuses(AlreadyThere, lambda: store.put_new("ckpt/checkpoint.json", b"first"))
        assert store.get("ckpt/checkpoint.json", limit=LIMIT) == b"first"
        assert [info.key for info in store.list("")] == ["ckpt/checkpoint.json"]

    def test_put_new_is_free_again_after_delete(self, store: Store) -> None:
        store.put_new("a/b", b"1")
        store.delete("a/b")
        store.put_new("a/b", b"2")
        assert store.get("a/b", limit=LIMIT) == b"2"

    def test_one_racer_wins(self, store: Store) -> None:
        for round_number in range(3):
            key = f"race/{round_number}"
            bodies = [f"racer {n} ".encode() * 1000 for n in range(self.racers)]
            start = threading.Barrier(self.racers)

            def race(body: bytes, key: str = key, start: threading.Barrier = start) -> BaseException | None:
                start.wait()
                return outcome(lambda: store.put_new(key, body))

            with ThreadPoolExecutor(self.racers) as pool:
                outcomes = dict(zip(bodies, pool.map(race, bodies), strict=True))
            won = [body for body, error in outcomes.items() if error is None]
            assert all(error is None or isinstance(error, AlreadyThere) for error in outcomes.values()), outcomes
            assert len(won) == 1, f"{len(won)} of {self.racers} believe that they created {key}"
            assert store.get(key, limit=LIMIT) == won[0]

    def test_replace_writer_takes_a_key_that_is_free_or_not(self, store: Store) -> None:
        for size in (self.big, 3, 0):
            data = pattern(size)
            write_whole(store.replace_writer("a/object", size), data, step=1 << 20)
            assert store.get("a/object", limit=LIMIT) == data
            assert [info.key for info in store.list("")] == ["a/object"]

    def test_put_replaces(self, store: Store) -> None:
        store.put("a/note", b"longer than the second")
        store.put("a/note", b"short")
        assert store.get("a/note", limit=LIMIT) == b"short"

    def test_empty_objects(self, store: Store) -> None:
        store.put_new("e/new", b"")
        store.put("e/put", b"")
        write_object(store, "e/written", b"")
        for key in ("e/new", "e/put", "e/written"):
            assert store.get(key, limit=0) == b""
            info = store.info(key)
            assert info is not None
            assert info.size == 0

    def test_limit(self, store: Store) -> None:
        store.put("l", b"12345")
        assert store.get("l", limit=5) == b"12345"
        refuses(LimitExceeded, lambda: store.get("l", limit=4))

    def test_ranges(self, store: Store) -> None:
        data = pattern(100_003)
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
            refuses(ObjectShort, lambda o=offset, v=view: store.read_into("s", o, [v]))  # type: ignore[misc]

    def test_parallel_reads(self, store: Store) -> None:
        data = pattern(1 << 18)
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
        data = pattern(self.big)
        write_object(store, "big/object.safetensors", data, step=1 << 20)
        info = store.info("big/object.safetensors")
        assert info is not None
        assert info.size == len(data)
        assert store.get("big/object.safetensors", limit=LIMIT) == data

    def test_writes_in_any_order(self, store: Store) -> None:
        if not store.parallel_writes:
            return
        data = pattern(1 << 18)
        writer = store.create_writer("order", len(data))
        step = 1 << 14
        threads = []
        for offset in reversed(range(0, len(data), step)):
            view = aligned(step, writer.alignment)
            view[:] = data[offset : offset + step]
            threads.append(threading.Thread(target=writer.write, args=(offset, [view])))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close(len(data))
        assert store.get("order", limit=LIMIT) == data

    def test_padding_is_cut_off(self, store: Store) -> None:
        writer = store.create_writer("cut", None)
        unit = writer.alignment
        view = aligned(-(-10 // unit) * unit, unit)
        view[:10] = b"0123456789"
        writer.write(0, [view])
        writer.close(10)
        assert store.get("cut", limit=LIMIT) == b"0123456789"

    def test_abort_leaves_nothing(self, store: Store) -> None:
        writer = store.create_writer("gone/object", 1 << 16)
        view = aligned(1 << 16, writer.alignment)
        writer.write(0, [view])
        writer.abort()
        writer.abort()
        assert store.info("gone/object") is None
        assert list(store.list("")) == []
