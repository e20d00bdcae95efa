"""Four ranks with FSDP2 step through the manager: one is asked to leave, all save alike, two go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.errors import Corrupt, RankError, StoreError
from pyckpt.manager import BeforePreemption, Every, EveryNSteps
from pyckpt.manager.stored import parse_metrics

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


def training():
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(16, 37), torch.nn.ReLU(), torch.nn.Linear(37, 3))
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.01)}


def train(state, step):
    torch.manual_seed(step)
    state["optimizer"].zero_grad()
    state["model"](torch.randn(4, 16)).square().mean().backward()
    state["optimizer"].step()


def weights(state):
    return {name: value.full_tensor().tolist() for name, value in state["model"].state_dict().items()}


def until_asked(rank, store, asked):
    """Steps until a signal; only the rank ``asked`` gets it, while it computes."""
    state = training()
    manager = pyckpt.CheckpointManager(
        store, save_every_n_steps=4, keep_last_n=2, verify_saved="deep", preemption=BeforePreemption(exit_code=85)
    )
    found = manager.restore(state)
    begun = weights(state)
    try:
        for step in range(found.step + 1, 100):
            train(state, step)
            if rank == asked and step == found.step + 6:
                os.kill(os.getpid(), signal.SIGTERM)
            manager.step(step, state, {"loss": float(rank)})
    except pyckpt.Preempted as left:
        return left.code, left.step, found.step, weights(state), begun
    raise AssertionError("nobody was asked")


def straight(rank, last):
    state = training()
    for step in range(1, last + 1):
        train(state, step)
    return weights(state)


def test_one_rank_is_asked_and_all_leave_at_the_same_step(ranks, tmp_path):
    store = str(tmp_path / "run")
    outcomes = ranks(4).run(until_asked, store, 2)
    code, step, begun, trained, _ = outcomes[0]
    assert (code, begun) == (85, 0)
    assert step in (6, 7)
    assert all(one == outcomes[0] for one in outcomes)
    assert [Path(url).name for url in pyckpt.list(store)] == [f"step-{step:08d}", "step-00000004"]
    assert pyckpt.open(pyckpt.latest(store)).metadata["metrics"] == {"loss": 0.0}
    # Two ranks go on where four stopped, and lose rank 1 the same way.
    outcomes = ranks(2).run(until_asked, store, 1)
    assert [one[2] for one in outcomes] == [step, step]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][4] == trained
    last = outcomes[0][1]
    # The gradients of four and of two ranks are summed in another order.
    expected = ranks(2).run(straight, last)[0]
    for name, value in outcomes[0][3].items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(expected[name]), rtol=1e-3, atol=1e-4)
    assert trained != outcomes[0][3]


def clocks(rank, store, period):
    """Ranks whose clocks differ and that are not equally fast."""
    real = time.monotonic
    state = training()
    manager = pyckpt.CheckpointManager(store, policies=[Every(timedelta(seconds=period))])
    from pyckpt.manager import decide

    class Skewed:
        monotonic = staticmethod(lambda: real() * (1 + rank))

    decide.time = Skewed
    try:
        manager._decider.rest()
        saved = []
        for step in range(1, 13):
            time.sleep(0.01 * rank)
            if manager.step(step, state):
                saved.append(step)
    finally:
        decide.time = time
        manager.close()
    return saved


def test_time_is_that_of_rank_0(ranks, tmp_path):
    saved = ranks(4).run(clocks, str(tmp_path / "run"), 0.15)
    assert saved[0]
    assert all(one == saved[0] for one in saved)


def damaged(rank, store, on_damage):
    state = training()
    with pyckpt.CheckpointManager(store) as manager:
        try:
            found = manager.restore(state, on_damage=on_damage)
        except Corrupt as error:
            return error.code
        return found.step, [each.name for each in found.passed], weights(state)


def two_saves(rank, store):
    state = training()
    with pyckpt.CheckpointManager(store, save_every_n_steps=1) as manager:
        manager.step(1, state)
        first = weights(state)
        train(state, 2)
        manager.step(2, state)
    return first


def test_ranks_agree_on_damage_that_one_of_them_meets(ranks, tmp_path):
    store = tmp_path / "run"
    first = ranks(4).run(two_saves, str(store))[0]
    # The data of rank 3 alone: the other ranks read nothing of it.
    path = next((store / "step-00000002" / "model").glob("*-00003.safetensors"))
    data = bytearray(path.read_bytes())
    data[4096] ^= 1
    path.write_bytes(data)
    assert ranks(4).run(damaged, str(store), "previous") == [(1, ["step-00000002"], first)] * 4
    assert ranks(4).run(damaged, str(store), "raise") == ["block.digest"] * 4


def replicated(value):
    return {"model": {"w": torch.full((1 << 20,), float(value))}}


def damaged_exchange(rank, store, damage):
    with pyckpt.CheckpointManager(store, save_every_n_steps=1) as manager:
        for step in (1, 2) if not damage else ():
            manager.step(step, replicated(step))
        state = replicated(0)
        found = manager.restore(state, options=pyckpt.LoadOptions(replicas="exchange"))
        return found.step, float(state["model"]["w"].sum())


def test_ranks_that_wait_for_what_another_reads_agree_too(ranks, tmp_path):
    store = tmp_path / "run"
    assert ranks(4).run(damaged_exchange, str(store), False) == [(2, float(2 << 20))] * 4
    path = next((store / "step-00000002" / "model").glob("*-00002.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert ranks(4).run(damaged_exchange, str(store), True) == [(1, float(1 << 20))] * 4


def astray(rank, store):
    state = training()
    with pyckpt.CheckpointManager(store, save_every=timedelta(hours=1)) as manager:
        manager.step(1, state)
        manager.step(3 if rank == 2 else 2, state)


def test_ranks_at_different_steps_are_told(ranks, tmp_path):
    outcomes = ranks(4).outcomes(astray, str(tmp_path / "run"))
    assert all("rank 2: 3" in str(one.error) for one in outcomes)
    assert not any(isinstance(one.error, RankError) for one in outcomes)


def slow_data(seconds):
    """Makes every data object take so long to begin; gives what undoes it."""
    from pyckpt.storage.local import LocalStore

    create = LocalStore.create_writer

    def late(store, key, size):
        time.sleep(seconds)
        return create(store, key, size)

    LocalStore.create_writer = late
    return lambda: setattr(LocalStore, "create_writer", create)


def in_the_background(rank, store, asked):
    """Steps until a signal to the rank ``asked``, which comes while a save is in flight."""
    state = training()
    undo, heard = slow_data(0.3), []
    manager = pyckpt.CheckpointManager(
        store,
        save_every_n_steps=4,
        keep_last_n=2,
        verify_saved="deep",
        preemption=BeforePreemption(exit_code=85),
        async_save=True,
        on_save=lambda event: heard.append((event.step, event.retention is not None)),
    )
    found, during = manager.restore(state), 0
    try:
        for step in range(found.step + 1, 100):
            train(state, step)
            if rank == asked and step == 10:
                os.kill(os.getpid(), signal.SIGTERM)
            handle = manager.step(step, state)
            during += handle is not None and not handle.done()
    except pyckpt.Preempted as left:
        return left.step, during, heard, weights(state)
    finally:
        undo()


def test_ranks_save_in_the_background_and_leave_together(ranks, tmp_path):
    store = str(tmp_path / "run")
    outcomes = ranks(4).run(in_the_background, store, 3)
    step, during, heard, trained = outcomes[0]
    assert step in (10, 11)
    assert during == 2
    assert [each[0] for each in heard] == [4, 8, step]
    assert all((one[0], one[3], [each[0] for each in one[2]]) == (step, trained, [4, 8, step]) for one in outcomes)
    assert not any(retained for one in outcomes[1:] for _, retained in one[2])
    assert [Path(url).name for url in pyckpt.list(store)][:2] == [f"step-{step:08d}", "step-00000008"]
    assert trained == ranks(4).run(restored, store)[0]


def restored(rank, store):
    state = training()
    with pyckpt.CheckpointManager(store) as manager:
        manager.restore(state, verify="deep")
    return weights(state)


def disk_full_on_one(rank, store, policy, tolerated):
    """Rank 2 can't write step 2; the others hear of it at different moments."""
    from pyckpt.storage.local import LocalStore

    create = LocalStore.create_writer

    def create_writer(target, key, size):
        if rank == 2 and key.startswith("step-00000002"):
            raise StoreError("store.io", "no space left", key=key)
        return create(target, key, size)

    LocalStore.create_writer = create_writer
    try:
        state = {"x": {f"{number}": torch.ones(100) for number in range(8)}}
        manager = pyckpt.CheckpointManager(store, policies=policy, async_save=True, tolerate_failures=tolerated)
        try:
            for step in range(1, 9):
                time.sleep(0.02 * rank)
                manager.step(step, state)
        except StoreError:
            return step, "own"
        except RankError as error:
            return step, str(error)
        finally:
            # What all ranks were told is told to none of them again.
            manager.close()
        return step, ""
    finally:
        LocalStore.create_writer = create


@pytest.mark.parametrize("tolerated", [0, 5])
def test_a_failure_in_the_background_of_one_is_raised_by_all_at_one_step(ranks, tmp_path, tolerated):
    outcomes = ranks(4).run(disk_full_on_one, str(tmp_path / "run"), [EveryNSteps(2)], tolerated)
    if tolerated:
        assert outcomes == [(8, "")] * 4
        assert [Path(url).name for url in pyckpt.list(tmp_path / "run")][-1] == "step-00000004"
    else:
        assert len({step for step, _ in outcomes}) == 1
        assert outcomes[0][0] in (4, 6)
        assert all("rank 2" in text for _, text in outcomes)


def test_a_loss_that_hangs_on_to_its_graph_is_a_number(recwarn):
    assert parse_metrics({"loss": torch.ones(1, requires_grad=True).sum() * 3}) == {"loss": 3.0}
    assert not recwarn.list


PROGRAM = """
import os, sys, time
import numpy as np
import pyckpt
from pyckpt.manager import BeforePreemption

state = {"model": {"w": np.zeros(100)}}
manager = pyckpt.CheckpointManager(sys.argv[1], preemption=BeforePreemption())
first = manager.restore(state).step + 1
for step in range(first, 10**6):
    state["model"]["w"] += 1
    manager.step(step, state)
    if step == first:
        print("ready", flush=True)
    time.sleep(0.01)
"""


def test_exit_code_of_a_process(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    before = 0
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 75
        step = pyckpt.open(pyckpt.latest(tmp_path / "run")).metadata["step"]
        assert step > before
        assert pyckpt.load(pyckpt.latest(tmp_path / "run"))["model"]["w"].tolist() == [step] * 100
        before = step
