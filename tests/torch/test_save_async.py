"""What is saved in the background is what was there at the call, whatever the training does meanwhile."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import pyckpt
from pyckpt.engine.background import flights
from pyckpt.engine.staging_memory import StagingMemory, staging_memory
from pyckpt.errors import AlreadyExists, SaveAborted, UsageError
from pyckpt.facade import address


class HeldStore:
    """A store that lets no data object begin before ``gate`` is set, and then fails each if ``error`` says so."""

    def __init__(self, store, error=None):
        self.inner, self.error = store, error
        self.gate, self.reached = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def create_writer(self, key, size):
        self.reached.set()
        self.thread = threading.get_native_id()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return self.inner.create_writer(key, size)


@pytest.fixture
def held(monkeypatch):
    """``held()`` holds the store of the next save."""
    stores = []
    real = address.open_store

    def hold(error=None):
        def open_held(url, **more):
            monkeypatch.setattr(address, "open_store", real)
            stores.append(HeldStore(real(url, **more), error))
            return stores[-1]

        monkeypatch.setattr(address, "open_store", open_held)
        return lambda: stores[-1]

    yield hold
    for store in stores:
        store.gate.set()
    flights.make_room(1)


def frozen(state):
    """Clones of all tensors of a module's, optimizer's or plain state."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: frozen(value) for key, value in state.items()}
    if isinstance(state, list):
        return [frozen(value) for value in state]
    return state


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 8))


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(16, 64)).square().sum().backward()
    optimizer.step()


ENGINES = {
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "loop": {"foreach": False},
    "capturable lr": {"lr": torch.tensor(1e-3), "foreach": False},
}


@pytest.mark.parametrize("budget", [None, 30_000])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_saved_is_what_was_there_at_the_call(tmp_path, held, engine, budget):
    model = network()
    ema = frozen(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), **ENGINES[engine])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    # Begun before the save knows of the optimizer: whatever hooks do, the copy is made by then.
    optimizer.register_step_pre_hook(lambda *_: [p.data.mul_(1.5) for p in model.parameters()] and None)
    step(model, optimizer)
    progress = {"seen": [1, 2], "array": np.arange(5), "strided": torch.arange(12.0).reshape(3, 4).T}
    metadata = {"losses": [1.0]}
    state = {"model": model, "ema": ema, "optimizer": optimizer, "scheduler": scheduler, "progress": progress}
    want = frozen({"model": model.state_dict(), "ema": ema, "optimizer": optimizer.state_dict()})
    lr = float(optimizer.param_groups[0]["lr"])
    store = held()
    if budget is not None:
        # What does not fit into the budget is written while the call waits, so the store must go on.
        threading.Timer(0.2, lambda: store().gate.set()).start()
    done = []
    options = pyckpt.SaveOptions(
        staging="block", staging_bytes=budget, progress=lambda *counts: done.append(counts)
    )
    handle = pyckpt.save_async(tmp_path / "s" / "1", state, metadata=metadata, options=options)
    assert handle.staged.done()
    assert budget is not None or not handle.done()
    for _ in range(3):
        step(model, optimizer)
        scheduler.step()
        for name, value in model.state_dict().items():
            ema[name].lerp_(value, 0.5) if value.is_floating_point() else ema[name].copy_(value)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers(), progress["strided"]):
            tensor.zero_()
    progress["seen"].append(3)
    progress["array"][:] = 0
    metadata["losses"].append(2.0)
    store().gate.set()
    report = handle.wait()
    if budget is None:
        assert report.copied == report.bytes
        assert not report.warnings
    else:
        assert 0 < report.copied <= budget < report.bytes
        assert "staging_bytes" in report.warnings[0]
    assert done == sorted(done)
    assert done[-1] == handle.progress == (report.written, report.written)
    assert handle.result() is report
    assert report.copied_late == 0
    url = tmp_path / "s" / "1"
    fresh = network()
    other = torch.optim.AdamW(fresh.parameters(), **ENGINES[engine])
    pyckpt.load(url, into={"model": fresh, "optimizer": other})
    assert same(fresh.state_dict(), want["model"])
    assert same(other.state_dict()["state"], want["optimizer"]["state"])
    assert float(other.param_groups[0]["lr"]) == lr
    loaded = pyckpt.load(url, items=["ema", "progress"])
    assert same(loaded["ema"], want["ema"])
    assert loaded["progress"]["seen"] == [1, 2]
    assert loaded["progress"]["array"].tolist() == list(range(5))
    assert torch.equal(loaded["progress"]["strided"], torch.arange(12.0).reshape(3, 4).T)
    assert pyckpt.open(url).metadata["losses"] == [1.0]
    assert pyckpt.verify(url).ok


def test_a_full_disk_is_told_by_wait_and_leaves_nothing(tmp_path, held):
    store = held(OSError(errno.ENOSPC, "No space left on device"))
    handle = pyckpt.save_async(tmp_path / "s" / "1", {"x": torch.ones(1000)})
    with pytest.raises(TimeoutError):
        handle.wait(0.05)
    store().gate.set()
    with pytest.raises(OSError, match="No space left"):
        handle.wait()
    assert pyckpt.list(tmp_path / "s") == []
    # Whoever was told is not told again.
    pyckpt.save_async(tmp_path / "s" / "1", {"x": torch.ones(1000)}).wait()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
def test_what_runs_in_the_background_lets_training_go_first(tmp_path, held):
    store = held()
    handle = pyckpt.save_async(tmp_path / "s" / "1", {"x": torch.ones(1000)})
    assert store().reached.wait(10)
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert os.getpriority(os.PRIO_PROCESS, store().thread) == min(19, mine + 10)
    store().gate.set()
    handle.wait()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


@pytest.mark.parametrize("call", [pyckpt.save, pyckpt.save_async])
def test_an_error_nobody_was_told_is_raised_by_the_next_call(tmp_path, call):
    url = tmp_path / "s" / "1"
    pyckpt.save(url, {"x": torch.ones(3)})
    pyckpt.save_async(url, {"x": torch.ones(3)})
    with pytest.raises(AlreadyExists):
        call(tmp_path / "s" / "2", {"x": torch.ones(3)})
    assert pyckpt.save_async(tmp_path / "s" / "2", {"x": torch.ones(3)}).wait().sequence == 2


def test_refused_at_the_call(tmp_path):
    with pytest.raises(UsageError, match="bring tensors together"):
        pyckpt.save_async(tmp_path / "1", {"x": torch.ones(3)}, options=pyckpt.SaveOptions(layout="whole"))
    with pytest.raises(UsageError, match="asset"):
        pyckpt.save_async(tmp_path / "1", {"x": torch.ones(3)}, assets={"x": {"a": tmp_path / "absent"}})
    for wrong in ({"max_in_flight": 0}, {"staging": "late"}, {"when_full": "cry"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            pyckpt.SaveOptions(**wrong)
    pyckpt.save_async(tmp_path / "1", {"x": torch.ones(3)}).wait()


@pytest.mark.parametrize("limit", [1, 2])
def test_a_call_waits_for_the_oldest_when_the_limit_is_reached(tmp_path, held, limit):
    store = held()
    handles = [pyckpt.save_async(tmp_path / "s" / "0", {"x": torch.zeros(3)})]
    options = pyckpt.SaveOptions(max_in_flight=limit)
    if limit == 2:
        handles.append(pyckpt.save_async(tmp_path / "s" / "1", {"x": torch.ones(3)}, options=options))
        assert not handles[0].done()
    begin = time.monotonic()
    threading.Timer(0.3, lambda: store().gate.set()).start()
    handles.append(pyckpt.save_async(tmp_path / "s" / "2", {"x": torch.full((3,), 2.0)}, options=options))
    assert time.monotonic() - begin > 0.25
    assert handles[0].done()
    for handle in handles:
        handle.wait()
    assert pyckpt.load(tmp_path / "s" / "2")["x"]["value"].tolist() == [2.0] * 3


def test_a_call_saves_nothing_when_there_are_enough(tmp_path, held):
    store = held()
    options = pyckpt.SaveOptions(when_full="skip", max_in_flight=1)
    first = pyckpt.save_async(tmp_path / "s" / "0", {"x": torch.zeros(3)}, options=options)
    assert store().reached.wait(10)
    others = [pyckpt.save_async(tmp_path / "s" / str(n), {"x": torch.ones(3)}, options=options) for n in (1, 2)]
    assert [each.skipped for each in (first, *others)] == [False, True, True]
    assert all(each.staged.done() for each in others)
    with pytest.raises(SaveAborted, match="skipped"):
        others[0].wait()
    store().gate.set()
    first.wait()
    # Nobody failed, so nothing is raised here.
    last = pyckpt.save_async(tmp_path / "s" / "3", {"x": torch.ones(3)}, options=options)
    assert not last.skipped
    last.wait()
    assert len(pyckpt.list(tmp_path / "s")) == 2


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_saves_take_the_same_memory(tmp_path):
    # Where there is no disk to wait for, if the system has such a place.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place) as directory:
        save_many(directory)


def save_many(directory):
    state = {"x": torch.ones(1 << 18), "many": [torch.ones(10) for _ in range(50)]}
    for number in range(30):
        pyckpt.save_async(f"{directory}/s/{number}", state)
    kept, before = staging_memory.idle_bytes, resident()
    for number in range(200):
        handle = pyckpt.save_async(f"{directory}/t{number}/1", state)
    handle.wait()
    assert staging_memory.idle_bytes > 1 << 20  # it was given back
    assert staging_memory.idle_bytes <= 2 * (1 << 20) + (1 << 16)
    assert abs(staging_memory.idle_bytes - kept) <= 2 << 20
    assert resident() - before < 8 << 20
    assert threading.active_count() < 20


def test_memory_is_kept_within_the_budget_and_found_again():
    memory = StagingMemory()
    first = memory.lend([100, 5000, 10], budget=8192)
    assert [place and len(place) for place in first.places] == [100, 5000, 10]
    second = memory.lend([1], budget=8192)
    assert second.places == [None]
    second.close()
    first.places[0][:] = b"x" * 100
    first.close()
    assert memory.idle_bytes == 8192
    again = memory.lend([100, 5000, 10], budget=8192)
    assert bytes(again.places[0]) == b"x" * 100
    again.close()
    # Another amount: the old memory goes rather than stay beside the new one.
    other = memory.lend([4096], budget=8192)
    other.close()
    assert memory.idle_bytes == 4096


def run(code, store, **more):
    code = textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", code, str(store)], stderr=subprocess.PIPE, text=True, **more)


SLOW = """
    import sys, time, threading, numpy as np, pyckpt
    from pyckpt.storage.local import LocalStore
    create = LocalStore.create_writer
    def slow(self, key, size):
        print("writing", flush=True)
        time.sleep(SECONDS)
        return create(self, key, size)
    LocalStore.create_writer = slow
    store = sys.argv[1]
"""


def test_the_interpreter_ends_after_the_save(tmp_path):
    process = run(SLOW.replace("SECONDS", "0.7") + """
    pyckpt.save_async(store + "/1", {"x": np.arange(10)})
    sys.exit(3)
    """, tmp_path, stdout=subprocess.DEVNULL)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 3
    assert pyckpt.load(tmp_path / "1")["x"]["value"].tolist() == list(range(10))


def test_the_end_of_the_interpreter_says_what_failed(tmp_path):
    pyckpt.save(tmp_path / "1", {"x": 1})
    process = run("""
    import sys, numpy as np, pyckpt
    pyckpt.save_async(sys.argv[1] + "/1", {"x": np.arange(10)})
    """, tmp_path)
    assert "checkpoint.exists" in process.communicate(timeout=60)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("place", ["", "pyckpt.save_async(store + '/2', {'x': 1})"], ids=["end", "next call"])
def test_an_interrupt_ends_the_wait(tmp_path, place):
    process = run(SLOW.replace("SECONDS", "30") + """
    pyckpt.save_async(store + "/1", {"x": np.arange(10)})
    """ + place, tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    if place:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)  # the second wait, at the end
    process.communicate(timeout=20)
    assert pyckpt.list(tmp_path) == []


def child(url, queue):
    # Its end must not wait for the parent's save, and its own staging memory is not the parent's.
    idle = staging_memory.idle_bytes
    # torch's own threads do not survive a fork: it would wait for them to fill so large a tensor.
    values = torch.from_numpy(np.full(1 << 18, 7.0, np.float32))
    pyckpt.save_async(url, {"x": values}).wait()
    queue.put(idle)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_waits_for_the_save_nor_touches_its_memory(tmp_path, held):
    pyckpt.save_async(tmp_path / "s" / "0", {"x": torch.full((1 << 18,), 1.0)}).wait()
    store = held()
    handle = pyckpt.save_async(tmp_path / "s" / "1", {"x": torch.full((1 << 18,), 2.0)})
    assert store().reached.wait(10)
    staging_memory.lend([4096]).close()
    assert staging_memory.idle_bytes
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(tmp_path / "t" / "1", queue))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert queue.get() == 0
    store().gate.set()
    handle.wait()
    assert pyckpt.load(tmp_path / "s" / "1")["x"]["value"].unique().tolist() == [2.0]
    assert pyckpt.load(tmp_path / "t" / "1")["x"]["value"].unique().tolist() == [7.0]


def test_without_a_thread_the_call_saves_by_itself(tmp_path, monkeypatch):
    start = threading.Thread.start

    def full(thread):
        if thread.name == "pyckpt-save":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        handle = pyckpt.save_async(tmp_path / "1", {"model": network()})
    assert handle.done()
    handle.wait()
    assert pyckpt.save_async(tmp_path / "2", {"model": network()}).wait(30)
