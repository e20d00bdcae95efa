"""What only a store on a file system has to get right: modes, links, odd files, leftovers, full disks."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time

import pytest

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage import local_paths, local_write
from pyckpt.storage.base import AlreadyThere, ObjectMissing, ObjectShort
from pyckpt.storage.local import LocalStore
from pyckpt.testing.objects import write_object
from tests.storage.faulty_os import FaultyOs

DATA = os.urandom(3 * 4096 + 17)


def aligned(data):
    view = memoryview(mmap.mmap(-1, -(-len(data) // 4096) * 4096))
    view[: len(data)] = data
    return view


@pytest.mark.parametrize("io", ["buffered", "writeback", "direct", "auto"])
class TestWriter:
    def test_name_is_taken(self, tmp_path, io):
        store = LocalStore(tmp_path, io)
        write_object(store, "a", DATA)
        with pytest.raises(AlreadyThere):
            store.create_writer("a", 1)
        assert store.get("a", limit=1 << 20) == DATA

    def test_short_writes_and_many_views(self, tmp_path, io, monkeypatch):
        """The kernel may take any part of what it is given, and never more than 1024 views."""
        sizes = []

        def short(descriptor, views, offset):
            sizes.append(len(views))
            first = bytes(views[0])[: max(1, len(views[0]) // 2)] if len(views) % 3 else b"".join(views[:7])
            return os.pwrite(descriptor, first, offset)

        monkeypatch.setattr(local_write.os, "pwritev", short)
        store = LocalStore(tmp_path, io)
        monkeypatch.setattr(local_write.LocalWriter, "_begin_direct", lambda *_: None)
        writer = store.create_writer("a", None)
        writer.mode = "buffered"
        body = os.urandom(6000)
        writer.write(0, [memoryview(body)[n : n + 2] for n in range(0, 6000, 2)])
        writer.close(6000)
        assert max(sizes) <= 1024
        assert store.get("a", limit=6000) == body

    def test_closing_beyond_what_was_written(self, tmp_path, io):
        store = LocalStore(tmp_path, io)
        writer = store.create_writer("d/a", 8192)
        writer.write(0, [aligned(b"x")])
        with pytest.raises(StoreError, match="4097"):
            writer.close(4097)
        assert store.info("d/a") is None

    def test_a_closed_writer_stays_closed(self, tmp_path, io):
        store = LocalStore(tmp_path, io)
        writer = store.create_writer("a", 0)
        writer.close(0)
        writer.abort()
        assert store.get("a", limit=0) == b""
        with pytest.raises(UsageError):
            writer.write(0, [memoryview(b"x")])
        with pytest.raises(UsageError):
            writer.close(0)

    def test_durable_when_closed(self, tmp_path, io):
        with FaultyOs() as log:
            write_object(LocalStore(tmp_path / "s", io), "d/a", DATA)
        calls = [(name, os.path.relpath(path, tmp_path)) for name, path in log.calls]
        created = calls.index(("open", "s/d/a"))
        written = max(n for n, call in enumerate(calls) if call == ("pwritev", "s/d/a"))
        synced = calls.index(("fsync", "s/d/a"))
        assert created < written < synced < calls.index(("fsync", "s/d"), synced)
        assert ("fsync", "s") in calls
        assert ("fsync", ".") in calls

    @pytest.mark.parametrize("call", ["pwritev", "fsync"])
    def test_full_disk(self, tmp_path, io, call):
        store = LocalStore(tmp_path, io)
        write_object(store, "first", b"")
        with FaultyOs() as log:
            write_object(store, "second", DATA)
        number = 1 + [name for name, _ in log.calls].index(call)
        faults = FaultyOs(fail_at=number, action="raise", code=errno.ENOSPC)
        with faults, pytest.raises(StoreError, match="free space"):
            write_object(store, "third", DATA)
        assert [info.key for info in store.list("")] == ["first", "second"]


def test_direct_is_direct(tmp_path):
    writer = LocalStore(tmp_path, "direct").create_writer("a", len(DATA))
    if writer.mode != "direct":
        pytest.skip("this file system has no direct IO")
    assert writer.alignment == 4096
    assert (tmp_path / "a").stat().st_blocks * 512 >= len(DATA)  # preallocated
    writer.write(0, [aligned(DATA)])
    assert writer.mode == "direct"
    writer.close(len(DATA))
    assert (tmp_path / "a").read_bytes() == DATA


def test_direct_refused_at_open(tmp_path, monkeypatch):
    def refuse(self, *, on):
        raise OSError(errno.EINVAL, "no direct IO")

    monkeypatch.setattr(local_write.LocalWriter, "_set_direct", refuse)
    store = LocalStore(tmp_path, "direct")
    writer = store.create_writer("a", 10)
    assert writer.mode == "writeback"
    assert writer.alignment == 1
    writer.write(0, [memoryview(b"0123456789")])
    writer.close(10)
    assert store.get("a", limit=10) == b"0123456789"


def test_direct_refused_at_first_write(tmp_path, monkeypatch):
    real = os.pwritev
    refused = []

    def refuse(descriptor, views, offset):
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(offset)
            raise OSError(errno.EINVAL, "not after all")
        return real(descriptor, views, offset)

    store = LocalStore(tmp_path, "direct")
    writer = store.create_writer("a", len(DATA))
    if writer.mode != "direct":
        pytest.skip("this file system has no direct IO")
    monkeypatch.setattr(local_write.os, "pwritev", refuse)
    body = os.urandom(16 * 4096)
    threads = [threading.Thread(target=writer.write, args=(n * 4096, [aligned(body[n * 4096 :][:4096])])) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close(len(body))
    assert refused
    assert writer.mode == "writeback"
    assert store.get("a", limit=1 << 20) == body


def test_invalid_argument_that_is_not_about_direct_io_is_told(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(local_write.os, "pwritev", refuse)
    with pytest.raises(StoreError):
        write_object(LocalStore(tmp_path, "direct"), "a", DATA)


def test_writeback_covers_whole_pages_only(tmp_path, monkeypatch):
    ranges = []
    monkeypatch.setattr(local_write, "start_writeback", lambda _, offset, size: ranges.append((offset, size)))
    writer = LocalStore(tmp_path, "writeback").create_writer("a", None)
    writer.write(0, [memoryview(bytes(10))])
    writer.write(10, [memoryview(bytes(10_000))])
    writer.write(10_010, [memoryview(bytes(8192))])
    writer.abort()
    assert ranges == [(4096, 4096), (12288, 4096)]


def test_writeback_refused_goes_on_buffered(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(local_write, "start_writeback", refuse)
    store = LocalStore(tmp_path, "writeback")
    writer = store.create_writer("a", None)
    writer.write(0, [memoryview(DATA)])
    assert writer.mode == "buffered"
    writer.close(len(DATA))
    assert store.get("a", limit=1 << 20) == DATA


def test_io_mode_is_checked(tmp_path):
    with pytest.raises(UsageError, match="io must be one of auto, buffered"):
        LocalStore(tmp_path, "fast")


def test_short_reads_go_on(tmp_path, monkeypatch):
    store = LocalStore(tmp_path)
    store.put("a", DATA)
    real = os.preadv
    monkeypatch.setattr(local_write.os, "preadv", lambda fd, views, offset: real(fd, [views[0][:5]], offset))
    first, second = bytearray(7), bytearray(100)
    store.read_into("a", 1, [memoryview(first), memoryview(second)])
    assert first + second == DATA[1:108]
    with pytest.raises(ObjectShort) as caught:
        store.read_into("a", len(DATA) - 8, [memoryview(bytearray(9))])
    assert (caught.value.wanted, caught.value.found) == (9, 8)


def test_reads_into_other_memory_than_bytes(tmp_path):
    import numpy as np

    store = LocalStore(tmp_path)
    wanted = np.arange(12, dtype="<f4").reshape(3, 4)
    store.put("a", wanted.tobytes())
    found = np.zeros((3, 4), "<f4")
    store.read_into("a", 0, [memoryview(found)])
    assert (found == wanted).all()


class TestLinks:
    def test_directory_link_out_of_the_store(self, tmp_path):
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "secret").write_bytes(b"s")
        root = tmp_path / "store"
        root.mkdir()
        (root / "evil").symlink_to("../outside")
        (root / "abs").symlink_to(tmp_path / "outside")
        (root / "evil2").symlink_to("..")
        store = LocalStore(root)
        for key in ("evil/secret", "abs/secret", "evil2/outside/secret", "evil/sub/x"):
            for call in (
                lambda k: store.get(k, limit=9),
                store.info,
                store.delete,
                lambda k: store.put(k, b"x"),
                lambda k: store.put_new(k, b"x"),
                lambda k: store.create_writer(k, 1),
            ):
                with pytest.raises(StoreError, match="out of the store"):
                    call(key)
        with pytest.raises(StoreError, match="out of the store"):
            store.list_names("evil/")
        with pytest.raises(StoreError, match="out of the store"):
            list(store.list("evil/"))
        assert list(store.list("")) == []
        assert store.list_names("") == []
        assert os.listdir(tmp_path / "outside") == ["secret"]

    def test_sibling_whose_name_begins_alike_is_outside(self, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store2").mkdir()
        (tmp_path / "store2" / "x").write_bytes(b"s")
        (tmp_path / "store" / "d").symlink_to("../store2")
        with pytest.raises(StoreError, match="out of the store"):
            LocalStore(tmp_path / "store").get("d/x", limit=9)

    def test_link_to_an_object_is_not_followed(self, tmp_path):
        (tmp_path / "real").write_bytes(b"s")
        (tmp_path / "link").symlink_to("real")
        store = LocalStore(tmp_path)
        assert store.info("link") is None
        assert [info.key for info in store.list("")] == ["real"]
        with pytest.raises(StoreError, match="symbolic"):
            store.get("link", limit=9)
        with pytest.raises(AlreadyThere):
            store.put_new("link", b"x")
        with pytest.raises(AlreadyThere):
            store.create_writer("link", 1)
        store.put("link", b"new")  # replaces the link, not what it leads to
        assert (tmp_path / "real").read_bytes() == b"s"

    def test_directory_link_within_the_store_works(self, tmp_path):
        store = LocalStore(tmp_path)
        store.put("real/x", b"1")
        (tmp_path / "alias").symlink_to("real")
        assert store.get("alias/x", limit=9) == b"1"
        assert store.list_names("") == ["real"]

    def test_loop(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        store = LocalStore(tmp_path)
        assert list(store.list("")) == []
        with pytest.raises(StoreError):
            store.get("loop/x", limit=9)


def test_pipes_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    store = LocalStore(tmp_path)
    with pytest.raises(StoreError, match="regular file"):
        store.get("pipe", limit=9)
    assert store.info("pipe") is None
    assert list(store.list("")) == []


def test_too_long_a_name(tmp_path):
    store = LocalStore(tmp_path)
    with pytest.raises(ObjectMissing):
        store.get("x" * 300, limit=9)
    with pytest.raises(StoreError):
        store.put_new("x" * 300, b"")


def test_file_where_a_directory_should_be(tmp_path):
    store = LocalStore(tmp_path)
    store.put("a", b"1")
    for call in (lambda: store.put_new("a/b", b""), lambda: store.put("a/b", b""), lambda: store.create_writer("a/b", 0)):
        with pytest.raises(StoreError):
            call()
    with pytest.raises(StoreError):
        store.put_new("a/b/c", b"1")


def test_delete_removes_empty_directories_up_to_the_root(tmp_path):
    root = tmp_path / "outer" / "store"
    store = LocalStore(root)
    store.put("a/b/c", b"1")
    store.put("a/d", b"1")
    store.delete("a/b/c")
    assert os.listdir(root) == ["a"]
    assert os.listdir(root / "a") == ["d"]
    store.delete("a/d")
    assert os.listdir(root) == []
    store.put("a/b/c", b"2")  # what was remembered of the directories is forgotten
    assert store.get("a/b/c", limit=1) == b"2"


def test_creating_while_another_process_deletes(tmp_path):
    """A directory may vanish between its creation and its first file."""
    one, two = LocalStore(tmp_path), LocalStore(tmp_path)
    stop = threading.Event()

    def delete():
        while not stop.is_set():
            two.put("d/e/other", b"")
            two.delete("d/e/other")

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for number in range(60):
            key = f"d/e/{number}"
            write_object(one, key, b"1")
            one.delete(key)
            one.put_new(key, b"2")
            one.delete(key)
    finally:
        stop.set()
        thread.join()
    assert list(one.list("")) == []


def test_directory_that_another_process_removed(tmp_path):
    one, two = LocalStore(tmp_path), LocalStore(tmp_path)
    for number, create in enumerate((one.put, one.put_new, lambda key, data: write_object(one, key, data))):
        one.put("d/e/first", b"1")
        two.delete("d/e/first")
        assert os.listdir(tmp_path) == []
        create(f"d/e/{number}", b"2")
        assert two.get(f"d/e/{number}", limit=1) == b"2"
        two.delete(f"d/e/{number}")


def test_directory_that_was_replaced_by_a_link_after_removal(tmp_path):
    (tmp_path / "outside").mkdir()
    store = LocalStore(tmp_path / "store")
    store.put("d/x", b"1")
    store.delete("d/x")
    (tmp_path / "store" / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="out of the store"):
        store.put("d/x", b"1")


def test_leftovers(tmp_path):
    store = LocalStore(tmp_path)
    store.put("a/b/x", b"1")
    old = [tmp_path / "a" / ".tmp-0123456789abcdef", tmp_path / "c"]
    old[0].write_bytes(b"half")
    old[1].mkdir()
    (old[1] / ".tmp-00000000000000ff").write_bytes(b"")
    (tmp_path / "a" / ".tmp-notours").write_bytes(b"kept")
    assert [info.key for info in store.list("")] == ["a/.tmp-notours", "a/b/x"]
    assert store.remove_leftovers(time.time() - 3600) == 0
    (tmp_path / "empty" / "too").mkdir(parents=True)
    assert store.remove_leftovers(store.now() + 5) == 2
    assert sorted(os.listdir(tmp_path)) == ["a"]
    assert [info.key for info in store.list("")] == ["a/.tmp-notours", "a/b/x"]


def test_deletion_is_durable(tmp_path):
    store = LocalStore(tmp_path / "s")
    store.put("d/x", b"1")
    store.put("d/y", b"1")
    with FaultyOs() as log:
        store.delete("d/x")
    assert [name for name, _ in log.calls][:2] == ["unlink", "fsync"]


def test_directory_that_cannot_be_synced(tmp_path, monkeypatch):
    real = os.fsync

    def refuse(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "not on this file system")
        real(descriptor)

    monkeypatch.setattr(local_paths.os, "fsync", refuse)
    store = LocalStore(tmp_path / "s")
    store.put_new("a/b", b"1")
    write_object(store, "a/c", b"2")
    assert [info.size for info in store.list("a/")] == [1, 1]


def test_modes_of_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        store = LocalStore(tmp_path / "s")
        store.put_new("d/new", b"")
        write_object(store, "d/written", b"")
    finally:
        os.umask(old)
    for name in ("new", "written"):
        assert (tmp_path / "s" / "d" / name).stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "s" / "d").stat().st_mode & 0o777 == 0o750


def test_clock_of_an_absent_store(tmp_path):
    store = LocalStore(tmp_path / "absent")
    assert abs(store.now() - time.time()) < 5
    assert not (tmp_path / "absent").exists()


def test_errors_travel_between_processes():
    import pickle

    for error in (ObjectMissing("k"), AlreadyThere("k"), ObjectShort("k", 1, 2, 0)):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize("mode", ["buffered", "direct"])
def test_a_replacement_is_seen_when_it_is_complete(tmp_path, mode):
    store = LocalStore(tmp_path, mode)
    store.put("d/a", b"old")
    for end in ("abort", "close"):
        writer = store.replace_writer("d/a", 8192)
        writer.write(0, [aligned(bytes(8192))])
        assert store.get("d/a", limit=9) == b"old"
        assert [info.key for info in store.list("")] == ["d/a"]
        writer.abort() if end == "abort" else writer.close(5000)
        assert len(store.get("d/a", limit=1 << 20)) == (3 if end == "abort" else 5000)
        assert os.listdir(tmp_path / "d") == ["a"]
