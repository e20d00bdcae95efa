"""Four ranks train on while their states are saved; errors of one are known to all."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.engine.background import flights
from pyckpt.errors import RankError, SaveAborted, StateDiverged
from tests.ranks.pool import Ranks

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 4


class SlowStore:
    """A store whose data objects and markers take a while to begin."""

    def __init__(self, store, seconds):
        self.inner, self.seconds = store, seconds

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def create_writer(self, key, size):
        time.sleep(self.seconds)
        return self.inner.create_writer(key, size)

    def put_new(self, key, data):
        time.sleep(self.seconds)
        return self.inner.put_new(key, data)


def slow_down(seconds):
    from pyckpt import facade
    from pyckpt.engine import writer

    opened, proved = facade.open_store, writer.fingerprints

    def late_prints(*args, **more):
        time.sleep(seconds / 2)
        return proved(*args, **more)

    facade.open_store = lambda url, **more: SlowStore(opened(url, **more), seconds)
    writer.fingerprints = late_prints

    def undo():
        facade.open_store, writer.fingerprints = opened, proved

    return undo


def trained(rank):
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(33, 64), torch.nn.LayerNorm(64), torch.nn.Linear(64, 5))
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(number):
        optimizer.zero_grad()
        torch.manual_seed(100 * number + rank)
        model(torch.randn(8, 33)).square().mean().backward()
        optimizer.step()

    return model, optimizer, step


def local(model, optimizer):
    parts = [p.to_local().clone() for p in model.parameters()]
    for p in model.parameters():
        values = optimizer.state[p]
        parts += [values["step"].clone(), values["exp_avg"].to_local().clone(), values["exp_avg_sq"].to_local().clone()]
    return parts


def train_and_save(rank, store, budget, staging):
    """Saves at steps 1 and 2 while stepping on; gives the seconds in the calls, and whether loads give it all back."""
    from pyckpt.torch import late_state

    smallest, late_state.LATE_BYTES = late_state.LATE_BYTES, 1
    model, optimizer, step = trained(rank)
    options = pyckpt.SaveOptions(staging=staging, staging_bytes=budget, silence=20.0)
    kept, handles, blocked, during = [], [], [], 0
    everywhere = torch.arange(5000, dtype=torch.float32)  # a replica, dealt among the ranks
    undo = slow_down(0.6)
    try:
        for number in (1, 2):
            step(number)
            everywhere += 1
            kept.append((local(model, optimizer), everywhere.clone()))
            begin = time.perf_counter()
            state = {"model": model, "optimizer": optimizer, "extra": {"everywhere": everywhere}}
            handles.append(pyckpt.save_async(f"{store}/{number}", state, options=options))
            blocked.append(time.perf_counter() - begin)
            for more in range(3):
                step(10 * number + more)
                everywhere.fill_(rank)
                during += not handles[-1].done()
            if rank == 1:
                time.sleep(0.2)  # a straggler
            handles[-1].wait(60)
            everywhere.copy_(kept[-1][1])
    finally:
        undo()
        late_state.LATE_BYTES = smallest
    equal = []
    for number, (tensors, shared) in enumerate(kept, 1):
        fresh, other, _ = trained(rank)
        extra = {"everywhere": torch.zeros(5000)}
        pyckpt.load(f"{store}/{number}", into={"model": fresh, "optimizer": other, "extra": extra})
        back = local(fresh, other)
        equal.append(all(map(torch.equal, back, tensors)) and torch.equal(extra["everywhere"], shared))
    report = handles[-1].wait()
    return blocked, during, equal, report.copied, report.copied_late


@pytest.mark.parametrize(("budget", "staging"), [(None, "block"), (None, "overlap"), (8192, "overlap")])
def test_ranks_train_on_while_they_save(ranks, tmp_path, budget, staging):
    for blocked, during, equal, copied, late in ranks(SIZE).run(train_and_save, str(tmp_path), budget, staging):
        assert equal == [True, True]
        assert (late > 0) == (budget is None and staging == "overlap")
        if budget is None:
            # The marker alone takes 0.6 s: no call waits for storage, nor for the ranks that wait for it.
            # The first call of a process has things to import.
            assert blocked[1] < 0.55
            assert during == 6
        else:
            assert copied <= budget
    assert pyckpt.verify(tmp_path / "2").ok


def diverge(rank, store):
    handle = pyckpt.save_async(f"{store}/1", {"x": {"a": torch.full((100,), float(rank == 2))}})
    try:
        handle.wait(60)
    except StateDiverged as error:
        return str(error)


def test_replicas_that_differ_are_found_in_the_copies(ranks, tmp_path):
    assert all("x/a" in text for text in ranks(SIZE).run(diverge, str(tmp_path)))
    assert pyckpt.list(tmp_path) == []


class Refused:
    """No state that could be saved."""


def one_cannot(rank, store):
    state = {"x": {"a": torch.ones(10), "b": Refused() if rank == 3 else 1}}
    try:
        handle = pyckpt.save_async(f"{store}/1", state)
    except TypeError as error:
        first = "call", str(error)
    else:
        try:
            handle.wait(60)
            first = "none", ""
        except RankError as error:
            first = "wait", str(error)
    # All are in step again.
    pyckpt.save_async(f"{store}/1", {"x": {"a": torch.ones(10)}}).wait(60)
    return first


def test_a_rank_that_fails_in_the_call_is_named_on_the_others(ranks, tmp_path):
    *others, last = ranks(SIZE).run(one_cannot, str(tmp_path))
    assert last[0] == "call"
    assert all(where == "wait" and "rank 3" in text for where, text in others)
    assert len(pyckpt.list(tmp_path)) == 1


def untold(rank, store):
    """The error of a save that only rank 0 was told of, and everything after it."""
    pyckpt.save_async(f"{store}/1", {"x": {"a": 1}}).wait(60)
    again = pyckpt.save_async(f"{store}/1", {"x": {"a": 1}})
    seen = []
    if rank == 0:
        try:
            again.wait(60)
        except FileExistsError:
            seen.append("wait")
    try:
        handle = pyckpt.save_async(f"{store}/2", {"x": {"a": 1}})
        handle.wait(60)
    except FileExistsError:
        seen.append("next call")
    except RankError:
        seen.append("told by others")
    pyckpt.save_async(f"{store}/3", {"x": {"a": 1}}).wait(60)
    return seen


def test_an_error_of_before_ends_the_next_save_on_all_ranks(ranks, tmp_path):
    first, *others = ranks(SIZE).run(untold, str(tmp_path))
    assert first == ["wait", "told by others"]
    assert others == [["next call"]] * (SIZE - 1)


def load_meanwhile(rank, store):
    """A load in which one rank is late, while another one is late for a save in the background."""
    from pyckpt.torch import group

    patience, group.ASTRAY_SECONDS = group.ASTRAY_SECONDS, 0.4
    try:
        if rank == 3:
            time.sleep(1.8)
        handle = pyckpt.save_async(f"{store}/2", {"x": {"a": 2}}, options=pyckpt.SaveOptions(silence=3.0))
        if rank == 2:
            time.sleep(1.5)
        loaded = pyckpt.load(f"{store}/1", options=pyckpt.LoadOptions(silence=3.0))
        handle.wait(60)
        return loaded["x"]["a"]
    finally:
        group.ASTRAY_SECONDS = patience


def test_a_load_while_a_save_waits_for_a_straggler(ranks, tmp_path):
    pyckpt.save(tmp_path / "1", {"x": {"a": 1}})
    assert ranks(SIZE).run(load_meanwhile, str(tmp_path)) == [1] * SIZE
    assert len(pyckpt.list(tmp_path)) == 2


def skip_when_one_is_full(rank, store):
    """Rank 2's first save is still going on when the second one is asked for; that of the others has ended."""
    options = pyckpt.SaveOptions(when_full="skip")
    first = pyckpt.save_async(f"{store}/1", {"x": {"a": 1}}, options=options)
    first.wait(60)
    if rank == 2:
        flights._handles.append(pyckpt.SaveHandle("busy"))
    begin = time.perf_counter()
    second = pyckpt.save_async(f"{store}/2", {"x": {"a": torch.ones(10)}}, options=options)
    seconds = time.perf_counter() - begin
    if rank == 2:
        flights._handles.popleft().end(None, None)
    told = []
    try:
        second.wait(60)
    except SaveAborted as error:
        told.append(str(error))
    pyckpt.save_async(f"{store}/3", {"x": {"a": torch.ones(10)}}, options=options).wait(60)
    return second.skipped, told, seconds


def test_nobody_saves_when_one_rank_has_enough(ranks, tmp_path):
    for skipped, told, seconds in ranks(SIZE).run(skip_when_one_is_full, str(tmp_path)):
        assert skipped
        assert "skipped" in told[0]
        assert seconds < 0.5
    assert [url[-1] for url in pyckpt.list(tmp_path)] == ["3", "1"]


def die_in_the_background(rank, store):
    options = pyckpt.SaveOptions(silence=2.0, timeout=20.0)
    slow_down(0.6)
    handle = pyckpt.save_async(f"{store}/1", {"x": {"a": torch.ones(1 << 20)}}, options=options)
    if rank == 1:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
        time.sleep(60)
    try:
        handle.wait(60)
    except RankError as error:
        return error.key


def test_a_rank_that_dies_in_the_background_is_named_by_wait(tmp_path):
    pool = Ranks(3)
    try:
        outcomes = pool.outcomes(die_in_the_background, str(tmp_path), lost=[1])
    finally:
        pool.close()
    assert [one.value for one in outcomes] == ["rank 1", None, "rank 1"]
    assert pyckpt.list(tmp_path) == []
