"""Create-if-absent on a file system: each rung of the ladder, errors that lie, and crashes at every call."""

from __future__ import annotations

import errno
import os
import signal
import warnings

import pytest

from pyckpt.errors import StoreError
from pyckpt.storage import local_create
from pyckpt.storage.base import AlreadyThere
from pyckpt.storage.local import LocalStore
from pyckpt.testing import StoreSuite
from tests.storage.faulty_os import FaultyOs

KEY = "ckpt/checkpoint.json"
DATA = bytes(range(256)) * 40


def failing(code):
    def call(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return call


def no_leftovers(root):
    return not [name for _, _, names in os.walk(root) for name in names if name.startswith(".")]


@pytest.fixture
def rung(request, monkeypatch):
    """Forbid the rungs before the one that is named."""
    name = request.param
    if name != "link":
        monkeypatch.setattr(local_create.os, "link", failing(errno.EPERM))
    if name == "claim":
        monkeypatch.setattr(local_create, "rename_noreplace", failing(errno.EINVAL))
    return name


RUNGS = pytest.mark.parametrize("rung", ["link", "rename", "claim"], indirect=True)


@RUNGS
class TestRungs(StoreSuite):
    big = 5000

    @pytest.fixture
    def store(self, tmp_path, rung):
        yield LocalStore(tmp_path / "store")
        assert no_leftovers(tmp_path) or any((tmp_path / "store").glob(".tombstones"))


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_link_refused_goes_on_to_rename(tmp_path, monkeypatch, code):
    renamed = []
    real = local_create.rename_noreplace
    monkeypatch.setattr(local_create.os, "link", failing(code))
    monkeypatch.setattr(local_create, "rename_noreplace", lambda *args: (renamed.append(args), real(*args)))
    LocalStore(tmp_path).put_new(KEY, DATA)
    assert len(renamed) == 1
    with pytest.raises(AlreadyThere):
        LocalStore(tmp_path).put_new(KEY, b"x")
    assert (tmp_path / KEY).read_bytes() == DATA
    assert no_leftovers(tmp_path)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_rename_refused_goes_on_to_claim(tmp_path, monkeypatch, code):
    monkeypatch.setattr(local_create.os, "link", failing(errno.EPERM))
    monkeypatch.setattr(local_create, "rename_noreplace", failing(code))
    LocalStore(tmp_path).put_new(KEY, DATA)
    with pytest.raises(AlreadyThere):
        LocalStore(tmp_path).put_new(KEY, b"x")
    assert (tmp_path / KEY).read_bytes() == DATA
    assert no_leftovers(tmp_path)


def test_claim_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(local_create.os, "link", failing(errno.EPERM))
    monkeypatch.setattr(local_create, "rename_noreplace", failing(errno.ENOSYS))
    store = LocalStore(tmp_path)
    with FaultyOs() as calls:
        store.put_new(KEY, DATA)
    writes = [n for n, (name, _) in enumerate(calls.calls, 1) if name == "write"]
    store.delete(KEY)
    with FaultyOs(fail_at=writes[-1], action="raise", code=errno.ENOSPC, when="after"), pytest.raises(StoreError, match="free space"):
        store.put_new(KEY, DATA)
    assert list(store.list("")) == []
    assert no_leftovers(tmp_path)


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT])
@pytest.mark.parametrize("call", ["link", "rename"])
def test_error_after_success_is_success(tmp_path, monkeypatch, code, call):
    def lying(real):
        def act(*args):
            real(*args)
            raise OSError(code, os.strerror(code))

        return act

    if call == "link":
        monkeypatch.setattr(local_create.os, "link", lying(os.link))
    else:
        monkeypatch.setattr(local_create.os, "link", failing(errno.EPERM))
        monkeypatch.setattr(local_create, "rename_noreplace", lying(local_create.rename_noreplace))
    LocalStore(tmp_path).put_new(KEY, DATA)
    assert (tmp_path / KEY).read_bytes() == DATA
    assert no_leftovers(tmp_path)


def test_error_without_effect_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(local_create.os, "link", failing(errno.EIO))
    with pytest.raises(StoreError, match=r"store\.io.*checkpoint\.json"):
        LocalStore(tmp_path).put_new(KEY, DATA)
    (tmp_path / KEY).write_bytes(b"another's")
    with pytest.raises(AlreadyThere):
        LocalStore(tmp_path).put_new(KEY, DATA)
    # An ambiguous error, and our very bytes under the name on a file system whose inode numbers tell nothing.
    (tmp_path / KEY).write_bytes(DATA)
    LocalStore(tmp_path).put_new(KEY, DATA)
    assert no_leftovers(tmp_path)


def test_order_of_what_makes_it_durable(tmp_path):
    root = tmp_path / "store"
    with FaultyOs() as log:
        LocalStore(root).put_new("a/b/root", DATA)
    names = [(name, path.removeprefix(f"{tmp_path}").lstrip("/")) for name, path in log.calls]
    assert names[:6] == [
        ("mkdir", "store"),
        ("fsync", ""),
        ("mkdir", "store/a"),
        ("fsync", "store"),
        ("mkdir", "store/a/b"),
        ("fsync", "store/a"),
    ]
    assert [name for name, _ in names[6:]] == ["open", "write", "fsync", "link", "unlink", "fsync"]
    assert names[8][1].startswith("store/a/b/.tmp-")
    assert names[9] == ("link", "store/a/b/root")
    assert names[-1] == ("fsync", "store/a/b")


def killed_at(number, when, act):
    """Run act in a child that dies at a call; tells whether it died."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            with FaultyOs(fail_at=number, when=when):
                act()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


@pytest.mark.parametrize("when", ["before", "after"])
@RUNGS
def test_killed_at_every_call(tmp_path, rung, when):
    number = 0
    died = True
    seen = set()
    while died:
        number += 1
        root = tmp_path / str(number)
        store = LocalStore(root)
        died = killed_at(number, when, lambda store=store: store.put_new(KEY, DATA))
        found = [info.key for info in store.list("")]
        assert found in ([], [KEY])
        if found:
            data = store.get(KEY, limit=1 << 20)
            assert data == DATA or (rung == "claim" and data == b""), "a part of an object under its final name"
        seen.add(bool(found))
        # Whoever comes next can work here, and can clean up.
        if not found:
            store.put_new(KEY, DATA)
        store.remove_leftovers(store.now() + 10)
        assert no_leftovers(root)
        assert [info.key for info in store.list("")] == [KEY]
    assert number > 8
    assert seen == {True, False}


def test_killed_put_keeps_the_old_or_has_the_new(tmp_path):
    store = LocalStore(tmp_path / "s")
    number, died = 0, True
    while died:
        number += 1
        store.put("k", b"old")
        died = killed_at(number, "before", lambda: store.put("k", DATA))
        assert store.get("k", limit=1 << 20) in (b"old", DATA)
    assert store.get("k", limit=1 << 20) == DATA
