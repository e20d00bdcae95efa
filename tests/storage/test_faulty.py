"""The doubles that fail on demand do so where they are told to."""

from __future__ import annotations

import errno
import os
import signal
import warnings

import pytest

from pyckpt.errors import StoreError
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from pyckpt.testing import StoreSuite
from pyckpt.testing.objects import write_object
from tests.storage.faulty import FaultyStore
from tests.storage.faulty_os import FaultyOs


def script(store):
    write_object(store, "d/object", b"12345678", step=4)
    store.put_new("d/root", b"r")
    store.put("d/note", b"n")
    store.delete("d/note")
    assert store.get("d/root", limit=9) == b"r"


STEPS = ["create_writer", "write", "write", "close", "put_new", "put", "delete"]


class TestTransparent(StoreSuite):
    big = 10_000

    @pytest.fixture
    def store(self, tmp_path):
        return FaultyStore(LocalStore(tmp_path), count_only=True, fail_at=1)


@pytest.fixture
def memory(request):
    store = MemoryStore(f"faulty-{request.node.name}".replace("/", "-"))
    yield store
    store.clear()


def test_counts(memory):
    store = FaultyStore(memory)
    script(store)
    assert [what for what, _ in store.steps] == STEPS
    assert store.count == len(STEPS)


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
@pytest.mark.parametrize("when", ["before", "after"])
def test_raises_at_each_step(memory, number, when):
    store = FaultyStore(memory, fail_at=number, when=when)
    with pytest.raises(StoreError, match=f"{when} change {number}: {STEPS[number - 1]}"):
        script(store)
    done = number if when == "after" else number - 1
    keys = [info.key for info in memory.list("")]
    assert ("d/object" in keys) == (done >= 4)
    assert ("d/root" in keys) == (done >= 5)
    assert ("d/note" in keys) == (done == 6)


def child(act):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(number, 0)[1]


def test_kills(tmp_path):
    status = child(lambda: script(FaultyStore(LocalStore(tmp_path), fail_at=5, action="kill")))
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert [info.key for info in LocalStore(tmp_path).list("")] == ["d/object"]


def test_os_faults_are_gone_afterwards(tmp_path):
    store = LocalStore(tmp_path)
    with FaultyOs(fail_at=1, action="raise", code=errno.EACCES) as faults, pytest.raises(StoreError):
        store.put_new("a/b", b"1")
    assert faults.count >= 1
    count = faults.count
    store.put_new("a/b", b"1")
    assert faults.count == count


def test_os_faults_reach_every_call_of_a_save(tmp_path):
    with FaultyOs() as log:
        script(LocalStore(tmp_path / "counted", "direct"))
    assert {name for name, _ in log.calls} >= {"open", "mkdir", "pwritev", "fsync", "ftruncate", "write", "link", "replace", "unlink"}
    for number in range(1, log.count + 1, 3):
        root = tmp_path / str(number)
        status = child(lambda root=root, number=number: _run(root, number))
        assert os.WIFSIGNALED(status), f"call {number} of {log.count} was not reached"


def _run(root, number):
    with FaultyOs(fail_at=number):
        script(LocalStore(root, "direct"))
