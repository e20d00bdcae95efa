"""What the fsspec store makes of filesystems that keep less than they promise."""

from __future__ import annotations

import datetime as dt
import errno
import time

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.base import AlreadyThere, ObjectMissing
from pyckpt.storage.fsspec_files import object_info
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.testing import StoreSuite


class Memory(MemoryFileSystem):
    """A space of its own for each test."""

    cachable = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.store = {}
        self.pseudo_dirs = [""]


class Overwrites(Memory):
    """Answers 200 to a conditional write, and overwrites."""

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        super().pipe_file(path, value, mode="overwrite")


class Ignorant(Memory):
    """Of an interface older than conditional writes."""

    def pipe_file(self, path, value):
        super().pipe_file(path, value)


class Liar(Memory):
    """Refuses the second write, but has overwritten by then."""

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        there = path in self.store
        super().pipe_file(path, value, mode="overwrite")
        if mode == "create" and there:
            raise FileExistsError(path)


class Broken(Memory):
    """Every exception under the sun."""

    error: BaseException | None = None
    after = False

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if self.error is not None and not self.after:
            raise self.error
        super().pipe_file(path, value, mode=mode)
        if self.error is not None:
            raise self.error

    def cat_file(self, path, start=None, end=None, **kwargs):
        if self.error is not None and not self.after:
            raise self.error
        return super().cat_file(path, start=start, end=end, **kwargs)


def make(kind):
    return FsspecStore((kind(), "/bucket/run"))


class TestEmulated(StoreSuite):
    big = 10_000

    @pytest.fixture(params=[Overwrites, Ignorant, Liar])
    def store(self, request):
        store = make(request.param)
        yield store
        assert not [path for path in store._fs.store if ".probe-" in path]


@pytest.mark.parametrize(("kind", "expected"), [(Memory, "native"), (Overwrites, "emulated"), (Ignorant, "emulated"), (Liar, "emulated")])
def test_condition_is_probed_once(kind, expected):
    store = make(kind)
    calls = []
    real = store._honours_condition
    store._honours_condition = lambda path, size: (calls.append(path), real(path, size))[1]
    assert store.conditional_put == expected
    store.put_new("a", b"1")
    with pytest.raises(AlreadyThere):
        store.put_new("a", b"2")
    assert store.get("a", limit=1) == b"1"
    assert len(calls) == 1
    assert list(store._fs.store) == ["/bucket/run/a"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), RuntimeError("backend"), ValueError("?"), TimeoutError()])
def test_lost_answer_of_a_conditional_write(error):
    store = make(Broken)
    assert store.conditional_put == "native"
    store._fs.error, store._fs.after = error, True
    store.put_new("a/b", b"mine")
    assert store.get("a/b", limit=9) == b"mine"


def test_failed_conditional_write():
    store = make(Broken)
    assert store.conditional_put == "native"
    store._fs.error = RuntimeError("backend")
    with pytest.raises(StoreError, match=r"store\.io.*a/b.*backend") as caught:
        store.put_new("a/b", b"mine")
    assert caught.value.key == "a/b"
    assert store.info("a/b") is None


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), RuntimeError("backend"), KeyError("x"), PermissionError()])
def test_errors_name_the_key(error):
    store = make(Broken)
    store.put("a/b", b"12345")
    store._fs.error = error
    for call in (lambda: store.get("a/b", limit=9), lambda: store.put("a/b", b""), lambda: store.read_into("a/b", 0, [memoryview(bytearray(2))])):
        with pytest.raises(StoreError, match="a/b") as caught:
            call()
        assert caught.value.__cause__ is error


def test_object_that_vanishes_between_open_and_read():
    store = make(Memory)
    store.put("a", b"12345")
    with store.open_reader("a") as reader:
        store.delete("a")
        with pytest.raises(ObjectMissing):
            reader.read_into(0, [memoryview(bytearray(5))])


def test_writes_come_in_order():
    store = make(Memory)
    assert not store.parallel_writes
    writer = store.create_writer("a", 10)
    writer.write(0, [memoryview(b"01234")])
    with pytest.raises(UsageError, match="expected offset 5, found 6"):
        writer.write(6, [memoryview(b"6")])
    with pytest.raises(StoreError, match="expected 10 bytes"):
        writer.close(10)
    with pytest.raises(UsageError):
        writer.write(5, [memoryview(b"5")])
    assert store.info("a") is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"LastModified": dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)}, 1704164645.0),
        ({"mtime": 12.5}, 12.5),
        ({"updated": "2024-01-02T03:04:05.250Z"}, 1704164645.25),
        ({"created": 7}, 7.0),
    ],
)
def test_times_of_backends(found, expected):
    assert object_info("k", {"size": 3, **found}).modified == expected


def test_unknown_time_is_young():
    assert abs(object_info("k", {"size": None}).modified - time.time()) < 5
    assert abs(object_info("k", {"size": 1, "updated": "yesterday"}).modified - time.time()) < 5


def test_options_go_with_urls():
    with pytest.raises(UsageError, match="key"):
        FsspecStore((Memory(), "x"), key="k")
    with pytest.raises(UsageError, match="no-such"):
        FsspecStore("no-such://x")
