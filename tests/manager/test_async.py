"""The manager with saves in the background, in one process: what waits for what, and who hears of it when."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import pyckpt
from pyckpt.errors import StoreError, UsageError
from pyckpt.manager import BeforePreemption, OnFile, retention
from pyckpt.storage.local import LocalStore

NUMPY = pyckpt.LoadOptions(framework="numpy")


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


class Gate:
    """Holds saves back before the first byte of their data, or fails them there."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self.failing = False
        create = LocalStore.create_writer

        def create_writer(store, key, size):
            self.reached.set()
            assert self.open.wait(30)
            if self.failing:
                raise StoreError("store.io", "the store is down", key=key)
            return create(store, key, size)

        monkeypatch.setattr(LocalStore, "create_writer", create_writer)

    def close(self):
        self.reached.clear()
        self.open.clear()


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def filled(value):
    return {"model": {"w": np.full(2000, float(value))}, "extra": {"n": value}}


@pytest.fixture
def manage(tmp_path):
    made = []

    def make(**options):
        made.append(pyckpt.CheckpointManager(tmp_path / "run", **{"async_save": True, "save_every_n_steps": 1, **options}))
        return made[-1]

    yield make
    for manager in made:
        manager.__exit__(ValueError, ValueError(), None)


def names(tmp_path):
    return [Path(url).name for url in pyckpt.list(tmp_path / "run")]


def test_a_step_does_not_wait_for_the_commit_and_the_callback_comes_with_the_next_call(tmp_path, manage, gate, caplog):
    caplog.set_level(logging.INFO, "pyckpt")
    heard = []
    manager = manage(
        save_every_n_steps=2, keep_last_n=1, verify_saved="deep", on_save=lambda event: heard.append((event, threading.get_ident()))
    )
    gate.close()
    state = filled(1)
    handle = manager.step(2, state)
    state["model"]["w"][:] = -1
    assert gate.reached.wait(10)
    assert not handle.done()
    assert manager.step(3, state) is None
    assert (names(tmp_path), heard) == ([], [])
    gate.open.set()
    assert handle.wait(10).url.endswith("step-00000002")
    deadline = time.monotonic() + 10
    while not heard and time.monotonic() < deadline:
        manager.step(3, state)
    (event, thread), = heard
    assert (event.step, event.report, thread) == (2, handle.wait(), threading.get_ident())
    assert event.retention is not None
    assert pyckpt.load(tmp_path / "run" / "step-00000002", options=NUMPY)["model"]["w"][5] == 1
    manager.step(4, filled(4))
    manager.wait()
    assert names(tmp_path) == ["step-00000004"]
    assert heard[1][0].retention.deleted == ("step-00000002",)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("saved step")]
    assert len(lines) == 2


def test_nothing_is_deleted_before_the_newer_one_is_committed_and_verified(tmp_path, manage, gate, monkeypatch):
    manager = manage(keep_last_n=1, verify_saved="deep")
    manager.step(1, filled(1))
    manager.wait()
    verify = retention.verify
    looked, go_on, verified = threading.Event(), threading.Event(), []

    def slow_verify(store, name, **options):
        looked.set()
        verified.append(name)
        assert go_on.wait(10)
        return verify(store, name, **options)

    monkeypatch.setattr(retention, "verify", slow_verify)
    gate.close()
    handle = manager.step(2, filled(2))
    assert gate.reached.wait(10)
    assert names(tmp_path) == ["step-00000001"]
    gate.open.set()
    handle.wait(10)
    assert looked.wait(10)
    begin = time.monotonic()
    for step in (3, 4):
        assert manager.step(step, filled(step)).wait(10), "deletion and verification don't hold up the next save"
    assert time.monotonic() - begin < 5
    assert len(names(tmp_path)) == 4
    go_on.set()
    manager.wait()
    assert names(tmp_path) == ["step-00000004"]
    assert verified == ["step-00000002", "step-00000004"], "what falls behind is not verified one by one"


def test_collection_spares_a_save_in_flight_however_short_the_grace(tmp_path, manage, gate, monkeypatch):
    manager = manage(grace=timedelta(0), options=pyckpt.SaveOptions(max_in_flight=2))
    collected = []
    collect = retention.collect_garbage

    def late_collect(store, **options):
        if not collected:
            # Written, and no root reaches it: the save below is before its commit.
            assert written.wait(10)
        collected.append(collect(store, **options))
        gone_on.set()
        return collected[-1]

    written, gone_on = threading.Event(), threading.Event()
    monkeypatch.setattr(retention, "collect_garbage", late_collect)
    manager.step(1, filled(1)).wait(10)
    from pyckpt.engine.commit import Commit

    run = Commit.run

    def late_commit(*args):
        written.set()
        assert gone_on.wait(10)
        return run(*args)

    monkeypatch.setattr(Commit, "run", late_commit)
    manager.step(2, filled(2)).wait(10)
    manager.wait()
    assert collected[0].kept_for_grace
    assert pyckpt.verify(tmp_path / "run" / "step-00000002").ok


def test_saves_are_committed_in_the_order_in_which_they_began(tmp_path, manage, monkeypatch):
    create, first, second = LocalStore.create_writer, threading.Event(), threading.Event()

    def create_writer(store, key, size):
        if key.startswith("step-00000001"):
            assert first.wait(10)
        else:
            second.set()
        return create(store, key, size)

    monkeypatch.setattr(LocalStore, "create_writer", create_writer)
    manager = manage(options=pyckpt.SaveOptions(max_in_flight=2))
    manager.step(1, filled(1))
    later = manager.step(2, filled(2))
    assert second.wait(10)
    time.sleep(0.1)
    assert not later.done()
    first.set()
    manager.wait()
    assert names(tmp_path) == ["step-00000002", "step-00000001"]


def test_an_error_in_the_background_is_raised_by_the_next_call(tmp_path, manage, gate):
    heard = []
    manager = manage(on_save=heard.append)
    gate.failing = True
    handle = manager.step(1, filled(1))
    with pytest.raises(StoreError):
        handle.wait(10)
    with pytest.raises(StoreError, match="the store is down"):
        manager.wait()
    assert "down" in str(heard[0].error)
    gate.failing = False
    assert manager.step(1, filled(1)).wait(10), "the failed one does not count as saved"
    gate.failing = True
    manager.step(2, filled(2))
    with pytest.raises(StoreError):
        manager.close()
    manager.close()
    assert names(tmp_path) == ["step-00000001"]


def test_an_error_is_raised_also_if_the_next_save_went_well_before_anybody_asked(tmp_path, manage, monkeypatch):
    go, create = threading.Event(), LocalStore.create_writer

    def create_writer(store, key, size):
        if key.startswith("step-00000001/"):
            assert go.wait(30)
            raise StoreError("store.io", "the store is down", key=key)
        return create(store, key, size)

    monkeypatch.setattr(LocalStore, "create_writer", create_writer)
    manager = manage(options=pyckpt.SaveOptions(max_in_flight=2))
    handles = [manager.step(step, filled(step)) for step in (1, 2)]
    go.set()
    handles[1].wait(30)
    with pytest.raises(StoreError, match="the store is down"):
        manager.wait()
    manager.close()
    assert names(tmp_path) == ["step-00000002"]


def test_a_process_alone_hears_of_an_error_at_its_next_step(manage, gate):
    manager = manage(save_every_n_steps=10)
    gate.failing = True
    handle = manager.step(10, filled(10))
    with pytest.raises(StoreError):
        handle.wait(10)
    with pytest.raises(StoreError, match="the store is down"):
        for step in range(11, 20):
            manager.step(step, filled(step))
            time.sleep(0.1)
    assert step < 19


@pytest.mark.parametrize("background", [True, False])
def test_failures_are_tolerated_until_there_are_too_many_in_a_row(tmp_path, manage, gate, caplog, background):
    heard = []
    manager = manage(async_save=background, tolerate_failures=2, on_save=heard.append)
    for step, down in enumerate([True, True, False, True, True], 1):
        gate.failing = down
        assert manager.step(step, filled(step)) is not None
        manager.wait()
    assert [event.error is not None for event in heard] == [True, True, False, True, True]
    assert caplog.text.count("could not be saved as") == 4
    with pytest.raises(StoreError):
        manager.step(6, filled(6))
        manager.step(7, filled(7))
        manager.wait()
    assert names(tmp_path) == ["step-00000003"]


def test_a_store_that_does_not_even_say_what_it_has_is_a_failure_like_others(tmp_path, manage, monkeypatch):
    manager = manage(tolerate_failures=1)
    info = LocalStore.info

    def down(store, key):
        raise StoreError("store.io", "no answer", key=key)

    monkeypatch.setattr(LocalStore, "info", down)
    with pytest.raises(StoreError, match="no answer"):
        manager.step(1, filled(1)).wait()
    with pytest.raises(StoreError, match="no answer"):
        manager.step(2, filled(2))
    monkeypatch.setattr(LocalStore, "info", info)
    manager.step(3, filled(3)).wait(10)


def test_preemption_finishes_what_is_in_flight_and_saves_once_more(tmp_path, manage, gate, monkeypatch):
    verified = []
    monkeypatch.setattr(retention, "verify", lambda *_, **__: verified.append(1))
    heard = []
    manager = manage(preemption=BeforePreemption(exit_code=99), keep_last_n=1, verify_saved="deep", on_save=heard.append)
    gate.close()
    manager.step(1, filled(1))
    assert gate.reached.wait(10)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Timer(0.2, gate.open.set).start()
    with pytest.raises(pyckpt.Preempted) as left:
        manager.step(2, filled(2))
    assert left.value.code == 99
    assert names(tmp_path) == ["step-00000002", "step-00000001"]
    assert [event.step for event in heard] == [1, 2]
    assert heard[1].retention is None, "no time for it"


def test_preemption_at_a_step_that_is_in_flight_makes_no_second_one(tmp_path, manage, gate):
    manager = manage(preemption=BeforePreemption(), save_every_n_steps=None)
    gate.close()
    manager.save(1, filled(1))
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Timer(0.2, gate.open.set).start()
    with pytest.raises(pyckpt.Preempted):
        manager.step(1, filled(1))
    assert names(tmp_path) == ["step-00000001"]


def test_preemption_after_a_failure_saves_and_leaves(tmp_path, manage, gate):
    manager = manage(preemption=BeforePreemption())
    gate.failing = True
    with pytest.raises(StoreError):
        manager.step(1, filled(1)).wait(10)
    gate.failing = False
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(pyckpt.Preempted):
        manager.step(2, filled(2))
    assert names(tmp_path) == ["step-00000002"]


def test_restore_waits_for_what_is_in_flight(tmp_path, manage, gate):
    manager = manage()
    manager.step(1, filled(1)).wait(10)
    gate.close()
    manager.step(2, filled(2))
    threading.Timer(0.2, gate.open.set).start()
    state = filled(0)
    assert manager.restore(state, options=NUMPY).step == 2
    assert state["extra"]["n"] == 2


def test_assets_go_with_each_save(tmp_path, manage):
    (tmp_path / "words.txt").write_bytes(b"one two")
    manager = manage(assets={"model": {"words.txt": tmp_path / "words.txt"}})
    manager.step(1, filled(1)).wait(10)
    assert pyckpt.open(tmp_path / "run" / "step-00000001").asset("model", "words.txt") == b"one two"
    other = manage(assets=lambda step: {"model": {"step.txt": f"{step}".encode()}}, async_save=False)
    other.step(2, filled(2))
    assert pyckpt.open(tmp_path / "run" / "step-00000002").asset("model", "step.txt") == b"2"


def test_a_disk_that_is_nearly_full_is_said_before_the_save(manage, monkeypatch, caplog):
    manager = manage()
    manager.step(1, filled(1))
    manager.wait()
    free = [10**12]
    monkeypatch.setattr("pyckpt.manager.room.shutil.disk_usage", lambda path: type("Usage", (), {"free": free[0]}))
    manager.step(2, filled(2))
    manager.wait()
    assert "may not fit" not in caplog.text
    free[0] = 15_000
    manager.step(3, filled(3))
    assert f"step 3 may not fit: only 15000 bytes are free in {manager._store.root}, and the last save took" in caplog.text


def test_a_slow_disk_is_noticed_in_the_background(manage, monkeypatch):
    heard = []
    create = LocalStore.create_writer

    def create_writer(store, key, size):
        time.sleep(1.5 if key.startswith("step-00000004") else 0)
        return create(store, key, size)

    monkeypatch.setattr(LocalStore, "create_writer", create_writer)
    monkeypatch.setattr("pyckpt.manager.pace.NOISE_SECONDS", 0.2)
    # Threads that let everybody else go first are slow for reasons of their own.
    monkeypatch.setattr("pyckpt.engine.background.step_back", lambda: None)
    manager = manage(on_save=heard.append, slow_factor=2.0)
    for step in range(1, 5):
        manager.step(step, filled(step)).wait(10)
    manager.wait()
    assert "the phase 'write' took" in heard[3].slow


def test_a_save_that_finds_no_room_is_skipped_unless_it_was_asked_for(tmp_path, manage, gate, caplog):
    heard = []
    wish = tmp_path / "SAVE"
    manager = manage(
        policies=[OnFile(str(wish))], on_save=heard.append, options=pyckpt.SaveOptions(when_full="skip", silence=5.0)
    )
    gate.close()
    manager.step(1, filled(1))
    assert gate.reached.wait(10)
    assert manager.step(2, filled(2)).skipped
    threading.Timer(0.2, gate.open.set).start()
    wish.touch()
    assert manager.step(3, filled(3)).wait(10)
    manager.wait()
    assert names(tmp_path) == ["step-00000003", "step-00000001"]
    assert "step 2 is not saved as step-00000002: there were enough saves in flight" in caplog.text
    # The skipped one is over first.
    assert sorted((event.step, bool(event.skipped), event.error) for event in heard) == [
        (1, False, None),
        (2, True, None),
        (3, False, None),
    ]


def test_what_the_newest_refers_to_stays_for_the_next_to_refer_to(tmp_path, manage):
    heard = []
    manager = manage(keep_last_n=1, on_save=heard.append, options=pyckpt.SaveOptions(reference="newest"))
    base = np.arange(100_000, dtype=np.float32)
    for step in (1, 2, 3):
        state = {"base": {"w": base}, "adapter": {"w": np.full(100, float(step))}}
        manager.step(step, state).wait(10)
        manager.wait()
    assert names(tmp_path) == ["step-00000003", "step-00000001"]
    assert heard[2].retention.deleted == ("step-00000002",)
    assert [event.report.written < 20_000 for event in heard] == [False, True, True]
    assert pyckpt.load(tmp_path / "run" / "step-00000003", options=NUMPY)["base"]["w"].tobytes() == base.tobytes()


def test_refused(manage):
    with pytest.raises(UsageError):
        manage(tolerate_failures=-1)


PROGRAM = """
import sys
import numpy as np
import pyckpt
import pyckpt.frameworks

pyckpt.frameworks._torch_wanted = lambda: False
manager = pyckpt.CheckpointManager(sys.argv[1], save_every_n_steps=1, keep_last_n=1, async_save=True, verify_saved="deep",
    on_save=lambda event: print("told of", event.step, event.retention))
manager.step(1, {"model": {"w": np.ones(1 << 20)}})
manager.step(2, {"model": {"w": np.zeros(1 << 20)}})
"""


def test_the_end_of_the_interpreter_waits_for_what_nobody_waited_for(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "told of 2 RetentionReport(deleted=('step-00000001',)" in done.stdout
    assert names(tmp_path) == ["step-00000002"]
