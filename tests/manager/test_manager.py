"""The manager in one process: saving, resuming, requests from outside, damage, and what it says of them."""

from __future__ import annotations

import logging
import os
import signal
from datetime import timedelta
from pathlib import Path

import msgpack
import numpy as np
import pytest

import pyckpt
from pyckpt.engine.open import open_root
from pyckpt.errors import Corrupt, NotFound, StateMismatch, StoreError, UsageError
from pyckpt.manager import BeforePreemption, Every, KeepNamed, OnFile, OnSignal
from pyckpt.storage.local import LocalStore

NUMPY = pyckpt.LoadOptions(framework="numpy")


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def filled(value):
    return {"model": {"w": np.full(2000, float(value))}, "extra": {"n": value}}


@pytest.fixture
def manage(tmp_path):
    made = []

    def make(**options):
        made.append(pyckpt.CheckpointManager(tmp_path / "run", **options))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


def run(manager, steps, **more):
    return [step for step in steps if manager.step(step, filled(step), **more) is not None]


def names(tmp_path):
    return [Path(url).name for url in pyckpt.list(tmp_path / "run")]


def damage(tmp_path, name, pattern="*.safetensors"):
    path = next((tmp_path / "run" / name).rglob(pattern))
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def test_a_loop_saves_and_resumes(tmp_path, manage):
    manager = manage(save_every_n_steps=10, metadata={"lr": 0.5})
    assert manager.restore(filled(0)).fresh
    assert run(manager, range(1, 26), metrics={"loss": 0.25}) == [10, 20]
    assert names(tmp_path) == ["step-00000020", "step-00000010"]
    manager.close()
    heard = []
    second = manage(save_every_n_steps=10, on_restore=heard.append)
    state = filled(0)
    found = second.restore(state, options=NUMPY)
    assert (found.step, found.fresh) == (20, False)
    assert state["model"]["w"][0] == 20
    assert found.metadata == {"lr": 0.5, "step": 20, "metrics": {"loss": 0.25}} | dict(found.metadata)
    assert heard == [found]
    run(second, [30])
    root = open_root(LocalStore(tmp_path / "run"), "step-00000030").root
    assert root.parent == found.digest


def test_pure_step_policies_send_nothing(manage, monkeypatch):
    from pyckpt.engine.coordinator import Single

    calls = []
    monkeypatch.setattr(Single, "gather", lambda self, what, payload: calls.append(what) or [payload])
    run(manage(save_every_n_steps=10), range(1, 10))
    assert calls == []
    run(manage(save_every=timedelta(hours=1)), range(1, 4))
    assert calls == ["step 1", "step 2", "step 3"]


def test_time_counts_from_the_last_save(manage, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pyckpt.manager.decide.time.monotonic", lambda: now[0])
    manager = manage(policies=[Every(timedelta(seconds=10))])
    saved = []
    for step in range(1, 31):
        now[0] += 3
        if manager.step(step, filled(step)):
            saved.append(step)
    assert saved == [4, 8, 12, 16, 20, 24, 28]


def test_a_signal_and_a_file_ask_for_one_save_each(tmp_path, manage):
    wish = tmp_path / "SAVE"
    before = signal.getsignal(signal.SIGUSR1)
    manager = manage(policies=[OnSignal(signal.SIGUSR1), OnFile(str(wish))])
    assert run(manager, [1, 2]) == []
    os.kill(os.getpid(), signal.SIGUSR1)
    assert run(manager, [3, 4]) == [3]
    wish.touch()
    assert run(manager, [5, 6]) == [5]
    assert not wish.exists()
    manager.close()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_request_that_cannot_be_removed_is_answered_once(tmp_path, manage, caplog):
    wish = tmp_path / "SAVE"
    wish.mkdir()
    manager = manage(policies=[OnFile(str(wish))])
    assert run(manager, [1, 2, 3]) == [1]
    assert "can't be removed" in caplog.text
    wish.rmdir()
    assert run(manager, [4]) == []
    wish.touch()
    assert run(manager, [5]) == [5]


def test_preemption_saves_and_leaves(tmp_path, manage):
    before = signal.getsignal(signal.SIGTERM)
    manager = manage(preemption=BeforePreemption(exit_code=99))
    run(manager, [1])
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(pyckpt.Preempted) as left:
        run(manager, [2])
    assert (left.value.code, left.value.step) == (99, 2)
    assert names(tmp_path) == ["step-00000002"]
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(UsageError):
        run(manager, [3])


def test_preemption_right_after_a_save_does_not_save_again(tmp_path, manage):
    manager = manage(save_every_n_steps=1, preemption=BeforePreemption())
    run(manager, [1])
    digest = pyckpt.open(tmp_path / "run" / "step-00000001").digest
    manager.save(1, filled(1))
    assert pyckpt.open(tmp_path / "run" / "step-00000001").digest == digest


def test_damaged_newest(tmp_path, manage, caplog):
    run(manage(save_every_n_steps=1), [1, 2, 3])
    damage(tmp_path, "step-00000003")
    state = filled(0)
    with pytest.raises(Corrupt):
        manage().restore(state, on_damage="raise", options=NUMPY)
    for verify in ("load", "deep"):
        manager = manage()
        found = manager.restore(state, verify=verify, options=NUMPY)
        assert found.step == 2
        assert state["model"]["w"][5] == 2
        assert [(each.name, each.code) for each in found.passed] == [("step-00000003", "block.digest")]
        assert "step-00000003 is not restored" in caplog.text
    assert manage().restore(state, verify="none", options=NUMPY).step == 3
    damage(tmp_path, "step-00000002", "manifest-*")
    damage(tmp_path, "step-00000001", "checkpoint.json")
    with pytest.raises(Corrupt) as refused:
        manage().restore(state, options=NUMPY)
    assert [each.key for each in refused.value.findings] == ["step-00000001", "step-00000003", "step-00000002"]


def test_a_state_that_does_not_fit_is_no_damage(manage):
    run(manage(save_every_n_steps=1), [1, 2])
    with pytest.raises(StateMismatch):
        manage().restore({"model": {"w": np.zeros(3)}, "extra": {"n": 0}}, options=NUMPY)


def test_roll_back_makes_a_newer_branch(tmp_path, manage):
    run(manage(save_every_n_steps=10), range(1, 41))
    manager = manage(save_every_n_steps=10)
    state = filled(0)
    assert manager.restore(state, step=20, options=NUMPY).step == 20
    with pytest.raises(NotFound):
        manage().restore(state, step=21)
    manager.step(30, filled(300))
    assert names(tmp_path)[0] == "step-00000030"
    assert manage().restore(state, options=NUMPY).step == 30
    assert state["extra"]["n"] == 300


def test_a_name_that_exists_is_skipped_or_kept(tmp_path, manage, caplog):
    run(manage(), [])
    manage().save(5, filled(5), pin=True)
    manage().save(6, filled(6))
    heard = []
    assert manage(on_save=heard.append).save(5, filled(50)) is None
    assert "pinned" in heard[0].skipped
    assert manage(on_exists="skip").save(6, filled(60)) is None
    assert manage(keep=[KeepNamed("step-00000006")]).save(6, filled(60)) is None
    assert "is not saved as step-00000006" in caplog.text
    assert manage().save(6, filled(60)) is not None
    assert pyckpt.load(tmp_path / "run" / "step-00000006", options=NUMPY)["extra"]["n"] == 60
    pyckpt.delete(tmp_path / "run" / "step-00000005")
    assert manage().save(6, filled(61)) is None, "the only one"


def test_a_name_is_not_freed_while_all_others_are_damaged(tmp_path, manage):
    run(manage(save_every_n_steps=1), [5, 6])
    damage(tmp_path, "step-00000005")
    heard = []
    assert manage(verify_saved="deep", on_save=heard.append).save(6, filled(60)) is None
    assert "no other one that is sound" in heard[0].skipped
    assert manage().save(6, filled(60)) is not None


def test_nothing_is_deleted_for_a_save_that_does_not_verify(tmp_path, manage, monkeypatch, caplog):
    heard = []
    manager = manage(save_every_n_steps=1, keep_last_n=1, verify_saved="deep", on_save=heard.append)
    run(manager, [1])
    save = pyckpt.facade.save

    def save_and_damage(*args, **options):
        report = save(*args, **options)
        damage(tmp_path, "step-00000002")
        return report

    monkeypatch.setattr("pyckpt.facade.save", save_and_damage)
    run(manager, [2])
    assert names(tmp_path) == ["step-00000002", "step-00000001"]
    assert "block.digest" in heard[-1].retention.problems[0]
    monkeypatch.setattr("pyckpt.facade.save", save)
    run(manager, [3])
    assert names(tmp_path) == ["step-00000003"]


def test_a_deletion_that_fails_is_told_and_tried_again(tmp_path, manage, monkeypatch, caplog):
    from pyckpt.manager import retention

    heard = []
    manager = manage(save_every_n_steps=1, keep_last_n=1, on_save=heard.append)
    delete = retention.delete

    def refuse(store, name):
        raise StoreError("store.io", "the disk is busy", key=name)

    monkeypatch.setattr(retention, "delete", refuse)
    assert run(manager, [1, 2]) == [1, 2]
    assert heard[-1].retention.deleted == ()
    assert "step-00000001 could not be deleted" in heard[-1].retention.problems[0]
    assert "the disk is busy" in caplog.text
    monkeypatch.setattr(retention, "delete", delete)
    run(manager, [3])
    assert heard[-1].retention.deleted == ("step-00000001", "step-00000002")
    assert heard[-1].retention.problems == ()
    assert names(tmp_path) == ["step-00000003"]


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ([[], []], "ok"),
        ([[], [["block.digest", "b"]]], "damaged"),
        ([[["rank.failed", "gone"]], [["block.digest", "b"]]], "damaged"),
        ([[["rank.failed", "gone"]], []], "failed"),
        ([[["state.mismatch", "m"]], [["block.digest", "b"]]], "failed"),
        ([[["store.io", "s"]]], "failed"),
        ([[["", "MemoryError"]]], "failed"),
    ],
)
def test_what_is_damage_and_what_is_not(told, verdict):
    from pyckpt.manager.restore import _verdict

    assert msgpack.unpackb(_verdict([msgpack.packb(each) for each in told]))[0] == verdict


def test_grace_and_collection(tmp_path, manage):
    def objects():
        return {path.parts[-3] for path in (tmp_path / "run").rglob("*.safetensors")}

    pyckpt.save(tmp_path / "run" / "mine", filled(1))
    pyckpt.delete(tmp_path / "run" / "mine")
    run(manage(save_every_n_steps=1, keep_last_n=1), [1, 2])
    assert objects() == {"mine", "step-00000001", "step-00000002"}
    run(manage(save_every_n_steps=1, keep_last_n=1, grace=timedelta(0)), [3])
    assert objects() == {"mine", "step-00000003"}


def test_items(tmp_path, manage):
    manage(items=["model"]).save(1, filled(1))
    assert list(pyckpt.open(tmp_path / "run" / "step-00000001").items_by_kind) == ["model"]
    state = filled(9)
    manage(items=["model"]).restore(state, options=NUMPY)
    assert (state["model"]["w"][0], state["extra"]["n"]) == (1, 9)
    with pytest.raises(UsageError):
        manage(items=["other"]).save(2, filled(2))


def test_one_line_per_save_and_callbacks_that_fail(manage, caplog):
    caplog.set_level(logging.INFO, "pyckpt")

    def fail(event):
        raise ValueError("no dashboard")

    manager = manage(save_every_n_steps=1, keep_last_n=1, on_save=fail)
    assert run(manager, [1, 2]) == [1, 2]
    lines = [record.getMessage() for record in caplog.records if "saved step" in record.getMessage()]
    assert len(lines) == 2
    assert "after step 2: deleted step-00000001" in caplog.text
    assert caplog.text.count("on_save failed") == 2


@pytest.mark.parametrize("options", [{"verify_saved": "yes"}, {"on_exists": "x"}, {"save_every_n_steps": 0}, {"pattern": "x"}])
def test_refused_arguments(manage, options):
    with pytest.raises(UsageError):
        manage(**options)
