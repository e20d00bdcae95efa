"""What the saves of a manager refer to, once something is known to be damaged."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.background import SaveHandle
from pyckpt.errors import Corrupt
from pyckpt.manager.reference import Reference

NUMPY = pyckpt.LoadOptions(framework="numpy")
WHOLE = pyckpt.SaveOptions(block_bytes=4096)


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def state(step):
    return {"model": {"frozen": np.arange(9000.0), "w": np.full(9000, step, np.float64)}, "extra": {"step": step}}


@pytest.fixture(params=[False, True])
def manage(request, tmp_path):
    def manage(**choices):
        return pyckpt.CheckpointManager(
            tmp_path / "run",
            async_save=request.param,
            options=pyckpt.SaveOptions(reference="newest", block_bytes=4096),
            **choices,
        )

    return manage


def saved(manager, step):
    report = manager.save(step, state(step)).wait()
    manager.wait()
    return report


def damage_frozen(folder):
    """Hits what every later checkpoint refers to, and not what only this one has."""
    (file,) = folder.glob("model/*.safetensors")
    data = bytearray(file.read_bytes())
    at = data.index(np.arange(9000.0)[4000:4100].tobytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_what_was_found_damaged_after_a_save_is_written_anew(manage, tmp_path):
    events = []
    with manage(verify_saved="deep", keep_last_n=2, on_save=events.append) as manager:
        saved(manager, 1)
        assert saved(manager, 2).referenced > 0
        damage_frozen(tmp_path / "run/step-00000001")
        saved(manager, 3)
        assert "damaged" in events[-1].retention.problems[0]
        report = saved(manager, 4)
        assert (report.referenced, report.external) == (0, ())
        assert not events[-1].retention.problems
        assert pyckpt.verify(report.url).ok
        assert saved(manager, 5).external == ("step-00000004",)


def test_what_a_restore_passed_over_is_not_referred_to(manage, tmp_path):
    with manage() as manager:
        for step in (1, 2):
            saved(manager, step)
        pyckpt.save(tmp_path / "run/step-00000003", state(3), options=WHOLE)
        damage_frozen(tmp_path / "run/step-00000003")
    with manage() as manager:
        found = manager.restore(state(0), options=NUMPY)
        assert (found.step, [each.name for each in found.passed]) == (2, ["step-00000003"])
        report = saved(manager, 3 + 1)
        assert report.external == ("step-00000001",)
        assert pyckpt.verify(report.url).ok
        assert pyckpt.verify(saved(manager, 5).url).ok


def test_after_going_back_the_restored_one_is_referred_to(manage):
    with manage() as manager:
        for step in (1, 2, 3):
            saved(manager, step)
        pyckpt.save(f"{manager._store.url}/other", state(9), options=WHOLE)
        manager.restore(state(0), step=2, options=NUMPY)
        # The newest is another one, which has the same bytes and no objects of others.
        assert saved(manager, 4).external == ("step-00000001",)
        pyckpt.save(f"{manager._store.url}/other-2", state(9), options=WHOLE)
        assert saved(manager, 5).external == ("other-2",)


def test_where_nothing_is_sound_everything_is_written(manage, tmp_path, caplog):
    with manage() as manager:
        saved(manager, 1)
        damage_frozen(tmp_path / "run/step-00000001")
        with caplog.at_level(logging.CRITICAL), pytest.raises(Corrupt):
            manager.restore(state(0), options=NUMPY)
        assert saved(manager, 2).external == ()
        assert saved(manager, 3).external == ("step-00000002",)


def test_a_save_that_began_before_is_no_reason_to_trust():
    reference = Reference("newest")
    reference.distrust()
    reference.committed("newest")
    assert reference.current is None
    reference.committed(None)
    assert reference.current == "newest"
    named = Reference("base")
    named.restored("step-1")
    assert named.current == "base"
    named.distrust()
    named.committed(None)
    assert named.current is None


def test_a_save_in_flight_is_as_old_as_its_first_byte(tmp_path, monkeypatch):
    """Collection spares what is younger than the oldest save in flight: also what one wrote before its call returned."""
    handle = SaveHandle("x/step-00000001")

    def slow(url, state, **choices):
        time.sleep(0.3)
        assert manager._saver._under_way.oldest() >= 0.3
        return handle

    monkeypatch.setattr("pyckpt.facade.save_async", slow)
    with pyckpt.CheckpointManager(tmp_path, async_save=True, tolerate_failures=1) as manager:
        manager.save(1, state(1))
        assert manager._saver._under_way.oldest() >= 0.3
        handle.end(None, ValueError("over"))
        manager.wait()
        assert manager._saver._under_way.oldest() is None


def test_grace_of_a_manager_with_references(manage):
    """The only objects of a frozen part outlive the checkpoint that wrote them."""
    with manage(keep_last_n=1, grace=timedelta(0)) as manager:
        for step in range(1, 5):
            saved(manager, step)
        url = f"{manager._store.url}/step-00000001"
        pyckpt.delete(url)
        pyckpt.gc(manager._store.url, grace=0)
        report = saved(manager, 5)
        assert pyckpt.verify(report.url).ok
        assert "step-00000001" not in report.external
