"""A process may die, or its disk refuse, at any call: what was committed stays whole, what was not leaves no trace."""

from __future__ import annotations

import errno
import shutil
from functools import lru_cache

import pytest

from pyckpt.engine.collect import collect_garbage
from pyckpt.engine.delete import delete
from pyckpt.engine.verify import verify
from pyckpt.errors import NotFound, PyckptError, SaveAborted
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from tests.durability.kill_points import (
    add_foreign,
    check_collected,
    check_listed,
    committed,
    items,
    killed,
    save_one,
)
from tests.durability.two_writers import save_by_threads
from tests.storage.faulty import FaultyStore
from tests.storage.faulty_os import FaultyOs

WHEN = ("before", "after")
MODES = ("buffered", "direct")


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A store with one committed checkpoint and other people's files."""
    root = tmp_path_factory.mktemp("before") / "store"
    add_foreign(root)
    save_one(LocalStore(root), "step_1")
    return root


@pytest.fixture(scope="module")
def garbage(tmp_path_factory, before):
    """The same with a checkpoint that was deleted and an attempt that died."""
    root = tmp_path_factory.mktemp("garbage") / "store"
    shutil.copytree(before, root)
    save_one(LocalStore(root), "step_2", 2)
    delete(LocalStore(root), "step_2")
    faults = FaultyOs(fail_at=20)
    assert killed(lambda: _under(faults, lambda: save_one(LocalStore(root), "step_3", 3)))
    return root


@pytest.fixture
def fresh(tmp_path):
    """Copies of a store, one at a time."""
    place = tmp_path / "store"

    def copy(source):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        return place

    return copy


def _under(faults, act):
    with faults:
        act()


def calls_of(root, act):
    """The counted calls that ``act`` makes on the store in ``root``."""
    faults = FaultyOs()
    _under(faults, lambda: act(root))
    return faults.calls


def go_on(store, root, died="step_2"):
    """A process that starts after the crash saves, and cleans up."""
    names = committed(store)
    name = "step_2" if "step_2" not in names else "step_3"
    save_one(store, name, 5)
    assert committed(store) == names | {name}
    assert verify(store, name, threads=1).ok
    check_collected(store, root, died)


@pytest.mark.parametrize("chunk", range(2))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("when", WHEN)
def test_save_killed_at_every_call(before, fresh, when, mode, chunk):
    def act(root):
        save_one(LocalStore(root, mode), "step_2", 2)

    calls = calls_of(fresh(before), act)
    roots = [number for number, (name, path) in enumerate(calls, 1) if path.endswith("step_2/checkpoint.json")]
    assert [calls[number - 1][0] for number in roots] == ["link"]
    born = roots[0] + (when == "before")
    for number in range(1 + chunk, len(calls) + 1, 2):
        root = fresh(before)
        assert killed(lambda root=root, number=number: _under(FaultyOs(fail_at=number, when=when), lambda: act(root)))
        assert (root / "step_2/checkpoint.json").exists() == (number >= born), calls[number - 1]
        store = LocalStore(root)
        check_listed(store, {"step_1", "step_2"} if number >= born else {"step_1"})
        go_on(store, root)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(("mode", "code"), [("buffered", errno.EIO), ("direct", errno.ENOSPC), ("direct", errno.EIO)])
def test_save_refused_at_every_call(before, fresh, mode, code, when):
    def act(root):
        save_one(LocalStore(root, mode), "step_2", 2)

    calls = calls_of(fresh(before), act)
    quiet = []
    for number in range(1, len(calls) + 1):
        root = fresh(before)
        error = None
        with FaultyOs(fail_at=number, when=when, action="raise", code=code):
            try:
                act(root)
            except PyckptError as raised:
                error = raised
        exists = (root / "step_2/checkpoint.json").exists()
        if error is None:
            quiet.append(calls[number - 1])
            assert exists, calls[number - 1]
        elif exists:
            assert isinstance(error, SaveAborted), (calls[number - 1], error)
        store = LocalStore(root)
        check_listed(store, {"step_1", "step_2"} if exists else {"step_1"})
        go_on(store, root)
    # What may fail without a word: removing what has done its work, room taken in advance for want of space only, and a
    # link that turns out to have been made.
    silent = {"unlink", "rmdir", "fsync"}
    silent |= {"posix_fallocate"} if code == errno.EIO else set()
    silent |= {"link"} if when == "after" else set()
    assert {name for name, _ in quiet} <= silent, quiet
    assert all(name != "fsync" or path.endswith("step_2") for name, path in quiet), quiet


@pytest.mark.parametrize("when", WHEN)
def test_delete_killed_at_every_call(before, fresh, when):
    def act(root):
        delete(LocalStore(root), "step_1")

    for number in range(1, len(calls_of(fresh(before), act)) + 1):
        root = fresh(before)
        assert killed(lambda root=root, number=number: _under(FaultyOs(fail_at=number, when=when), lambda: act(root)))
        store = LocalStore(root)
        left = committed(store)
        check_listed(store, left)
        if left:
            delete(store, "step_1")
        check_listed(store, set())
        check_collected(store, root)


@pytest.mark.parametrize("when", WHEN)
def test_collection_killed_at_every_call(garbage, fresh, when):
    def act(root):
        collect_garbage(LocalStore(root), grace=0)

    calls = calls_of(fresh(garbage), act)
    assert sum(name == "unlink" for name, _ in calls) > 5
    for number in range(1, len(calls) + 1):
        root = fresh(garbage)
        assert killed(lambda root=root, number=number: _under(FaultyOs(fail_at=number, when=when), lambda: act(root)))
        store = LocalStore(root)
        check_listed(store, {"step_1"})
        go_on(store, root)


@pytest.mark.parametrize("act", [lambda store: delete(store, "step_1"), lambda store: collect_garbage(store, grace=0)])
@pytest.mark.parametrize("when", WHEN)
def test_delete_and_collection_refused_at_every_call(garbage, fresh, act, when):
    calls = calls_of(fresh(garbage), lambda root: act(LocalStore(root)))
    for number in range(1, len(calls) + 1):
        root = fresh(garbage)
        with FaultyOs(fail_at=number, when=when, action="raise"):
            try:
                act(LocalStore(root))
            except PyckptError:
                pass
        store = LocalStore(root)
        check_listed(store, committed(store))
        go_on(store, root)


@lru_cache
def prepared():
    """Objects of a memory store with one committed checkpoint."""
    store = MemoryStore("kill-prepared")
    save_one(store, "step_1")
    return {info.key: store.get(info.key, limit=1 << 20) for info in store.list("")}


@pytest.fixture
def memory(request):
    store = MemoryStore(f"kill-{abs(hash(request.node.name))}")

    def reset():
        store.clear()
        for key, data in prepared().items():
            store.put(key, data)
        return store

    yield reset
    store.clear()


@pytest.mark.parametrize("when", WHEN)
def test_save_on_a_store_that_fails_at_every_change(memory, when):
    counted = FaultyStore(memory(), count_only=True)
    save_one(counted, "step_2", 2)
    for number in range(1, counted.count + 1):
        inner = memory()
        store = FaultyStore(inner, fail_at=number, when=when)
        step = counted.steps[number - 1]
        error = None
        try:
            save_one(store, "step_2", 2)
        except PyckptError as raised:
            error = raised
        exists = "step_2" in committed(inner)
        assert error is not None or step[0] == "delete", step
        assert not exists or error is None or isinstance(error, SaveAborted), (step, error)
        check_listed(inner, {"step_1", "step_2"} if exists else {"step_1"})
        go_on(inner, None)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("when", WHEN)
def test_one_of_two_writers_fails_at_every_change(memory, rank, when):
    def run(stores):
        return save_by_threads(stores, "step_2", [items(2), items(2)], metadata={"seed": 2})

    counted = FaultyStore(memory(), count_only=True)
    stores = [counted.inner, counted.inner]
    stores[rank] = counted
    assert not [each for each in run(stores) if isinstance(each, BaseException)]
    for number in range(1, counted.count + 1):
        inner = memory()
        stores = [inner, inner]
        stores[rank] = FaultyStore(inner, fail_at=number, when=when)
        outcomes = run(stores)
        step = counted.steps[number - 1]
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        assert all(isinstance(each, PyckptError) for each in failed), (step, failed)
        assert len(failed) in (0, 2), (step, outcomes)
        assert failed or step[0] == "delete", step
        exists = "step_2" in committed(inner)
        assert not exists or all(isinstance(each, SaveAborted) for each in failed), (step, failed)
        check_listed(inner, {"step_1", "step_2"} if exists else {"step_1"})
        go_on(inner, None)


@pytest.mark.parametrize("when", WHEN)
def test_delete_and_collection_on_a_store_that_fails_at_every_change(memory, when):
    def act(store):
        delete(store, "step_1")
        collect_garbage(store, grace=0)

    counted = FaultyStore(memory(), count_only=True)
    act(counted)
    assert not list(counted.inner.list(""))
    for number in range(1, counted.count + 1):
        inner = memory()
        with pytest.raises(PyckptError):
            act(FaultyStore(inner, fail_at=number, when=when))
        left = committed(inner)
        check_listed(inner, left)
        try:
            delete(inner, "step_1")
            assert left
        except NotFound:
            assert not left
        check_collected(inner)
        assert not list(inner.list(""))
