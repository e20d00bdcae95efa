"""What is copied beside training is what was there at the call, or the save says which tensors were changed."""

from __future__ import annotations

import copy
import multiprocessing
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks, register_optimizer_step_pre_hook

import pyckpt
from pyckpt.engine.staging_memory import staging_memory
from pyckpt.errors import UsageError
from tests.torch.held_copies import OVERLAP, Network, learn
from tests.torch.test_save_async import frozen, resident, same

ENGINES = {
    "foreach": lambda params: torch.optim.AdamW(params, foreach=True),
    "fused": lambda params: torch.optim.AdamW(params, fused=True),
    "lr is a tensor": lambda params: torch.optim.AdamW(params, lr=torch.tensor(1e-3), foreach=False),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_waits_and_nothing_else_has_to(tmp_path, copies, engine, debug):
    model = Network()
    ema = frozen(model.state_dict())
    optimizer = ENGINES[engine](model.parameters())
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def interfere(*_):
        for param in model.parameters():
            param.data.mul_(1.5)

    # Registered before the save knows of anything, of this optimizer and of all; and one more while it goes on.
    hooks = [optimizer.register_step_pre_hook(interfere), register_optimizer_step_pre_hook(interfere)]
    learn(model)
    optimizer.step()
    want = frozen({"model": model.state_dict(), "ema": ema, "optimizer": optimizer.state_dict()})
    lr = float(optimizer.param_groups[0]["lr"])
    state = {"model": model, "ema": ema, "optimizer": optimizer}
    handle = pyckpt.save_async(
        tmp_path / "1", state, options=pyckpt.SaveOptions(staging="overlap", debug_staging=debug)
    )
    hooks.append(optimizer.register_step_pre_hook(interfere))
    assert not handle.staged.done()
    learn(model)
    copies.soon()
    begin = time.perf_counter()
    optimizer.step()
    waited = time.perf_counter() - begin
    scheduler.step()
    for name, value in model.state_dict().items():
        ema[name].copy_(value)
    for hook in hooks:
        hook.remove()
    report = handle.wait()
    assert waited > 0.05
    assert report.blocked > 0.05
    tables = sum(p.nbytes for p in model.parameters() if p.nbytes >= 4096)
    moments = {"momentum": 1}.get(engine, 2)
    assert report.copied_late == tables * (1 + moments)
    assert report.copied == report.bytes
    fresh = Network()
    other = ENGINES[engine](fresh.parameters())
    pyckpt.load(tmp_path / "1", into={"model": fresh, "optimizer": other})
    assert same(fresh.state_dict(), want["model"])
    assert same(other.state_dict()["state"], want["optimizer"]["state"])
    assert float(other.param_groups[0]["lr"]) == lr
    assert same(pyckpt.load(tmp_path / "1", items=["ema"])["ema"], want["ema"])


def test_a_step_waits_once_the_call_returned_for_every_optimizer_that_has_a_parameter(tmp_path, copies):
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters())
    stranger = torch.optim.LBFGS(model.body.parameters(), max_iter=1)
    outsider = torch.optim.SGD(Network().parameters())
    want = frozen(model.state_dict())
    handle = pyckpt.save_async(tmp_path / "1", {"model": model, "optimizer": optimizer}, options=OVERLAP)
    outsider.step()
    assert not handle.staged.done()

    def loss():
        stranger.zero_grad()
        value = model(torch.randint(0, 100, (16,))).square().sum()
        value.backward()
        return value

    copies.soon()
    stranger.step(loss)
    handle.wait()
    assert same(pyckpt.load(tmp_path / "1")["model"], want)


def in_place(model):
    with torch.no_grad():
        model.body[0].weight.mul_(2)


def past_the_version(model):
    model.body[0].weight.data.mul_(2)


def other_weights(model):
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})


def one_number(model):
    with torch.no_grad():
        model.body[0].weight[20, 7] += 1


def one_number_past_the_version(model):
    model.body[0].weight.data[20, 7] += 1


@pytest.mark.parametrize(
    ("change", "debug"),
    [
        (in_place, False),
        (past_the_version, False),
        (other_weights, False),
        (one_number, False),
        (one_number_past_the_version, True),
    ],
)
def test_a_change_by_hand_fails_the_save_and_is_named(tmp_path, copies, change, debug):
    model = Network()
    options = pyckpt.SaveOptions(staging="overlap", debug_staging=debug)
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    handle = pyckpt.save_async(tmp_path / "1", state, options=options)
    change(model)
    copies.go.set()
    with pytest.raises(UsageError, match="model/body.0.weight") as error:
        handle.wait()
    assert "handle.staged" in error.value.hint
    assert handle.staged.exception() is not None
    assert pyckpt.list(tmp_path) == []
    model.zero_grad()
    state["optimizer"].step()  # nobody is in its way


def test_other_memory_for_a_parameter_changes_nothing(tmp_path, copies):
    model = Network()
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    want = frozen(model.state_dict())
    handle = pyckpt.save_async(tmp_path / "1", state, options=OVERLAP)
    for param in model.parameters():
        param.data = torch.full_like(param, 7.0)
    state["optimizer"].step()
    copies.go.set()
    handle.wait()
    assert same(pyckpt.load(tmp_path / "1")["model"], want)


def keep_weights(model):
    pass


def give_weights_other_memory(model):
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    nn.utils.vector_to_parameters(flat, model.parameters())


@pytest.mark.parametrize(
    ("model_too", "meanwhile"), [(False, keep_weights), (True, give_weights_other_memory)], ids=["alone", "moved"]
)
def test_a_step_waits_for_a_copy_of_the_optimizer_whatever_became_of_the_weights(
    tmp_path, copies, model_too, meanwhile
):
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters())
    learn(model)
    optimizer.step()
    want = frozen(optimizer.state_dict())
    state = {"optimizer": pyckpt.with_model(optimizer, model), **({"model": model} if model_too else {})}
    handle = pyckpt.save_async(tmp_path / "1", state, options=OVERLAP)
    assert not handle.staged.done()
    meanwhile(model)
    learn(model)
    copies.soon()
    optimizer.step()
    handle.wait()
    saved = pyckpt.load(tmp_path / "1", items=["optimizer"])["optimizer"]["state"]
    names = [name for name, _ in model.named_parameters()]
    assert same([saved[name]["exp_avg"] for name in names], [want["state"][at]["exp_avg"] for at in range(len(names))])


def test_a_conversion_that_swaps_parameters_changes_nothing(tmp_path, copies, request):
    # As torch does by itself with DTensors.
    request.addfinalizer(lambda: torch.__future__.set_swap_module_params_on_conversion(False))
    torch.__future__.set_swap_module_params_on_conversion(True)
    model = nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 64)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    want = frozen(model.state_dict())
    handle = pyckpt.save_async(tmp_path / "1", {"model": model, "optimizer": optimizer}, options=OVERLAP)
    assert not handle.staged.done()
    model.to(torch.bfloat16)
    copies.go.set()
    handle.wait()
    assert same(pyckpt.load(tmp_path / "1", items=["model"])["model"], want)


def test_a_load_into_what_is_being_copied_waits(tmp_path, copies):
    model = Network()
    pyckpt.save(tmp_path / "1", {"model": model})
    with torch.no_grad():
        model.body[0].weight.mul_(3)
    want = frozen(model.state_dict())
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    handle = pyckpt.save_async(tmp_path / "2", state, options=OVERLAP)
    copies.soon()
    pyckpt.load(tmp_path / "1", into={"model": model})
    handle.wait()
    assert same(pyckpt.load(tmp_path / "2")["model"], want)
    assert not same(model.state_dict(), want)


def test_an_exchange_into_what_is_being_copied_waits(tmp_path, copies):
    model, other = Network(), Network()
    with torch.no_grad():
        other.body[0].weight.mul_(3)
    want = frozen(model.state_dict())
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    handle = pyckpt.save_async(tmp_path / "1", state, options=OVERLAP)
    copies.soon()
    pyckpt.reshard(other, model)
    assert same(model.state_dict(), other.state_dict())
    handle.wait()
    assert same(pyckpt.load(tmp_path / "1")["model"], want)


def test_two_saves_of_one_state(tmp_path, copies):
    model = Network()
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    want = frozen(model.state_dict())
    options = pyckpt.SaveOptions(staging="overlap", max_in_flight=2)
    handles = [pyckpt.save_async(tmp_path / str(number), state, options=options) for number in range(2)]
    learn(model)
    copies.soon()
    state["optimizer"].step()
    for number, handle in enumerate(handles):
        handle.wait()
        assert same(pyckpt.load(tmp_path / str(number))["model"], want)


def test_a_copy_that_fails_lets_the_step_go(tmp_path, copies):
    model = Network()
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    copies.fault = OSError("the device is lost")
    handle = pyckpt.save_async(tmp_path / "1", state, options=OVERLAP)
    copies.soon()
    state["optimizer"].step()
    with pytest.raises(OSError, match="lost"):
        pyckpt.save(tmp_path / "2", state)
    assert handle.done()
    copies.fault = None
    pyckpt.save(tmp_path / "2", state)


def test_too_little_memory_for_all_is_filled_in_the_call(tmp_path, copies):
    model = Network()
    state = {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}
    options = pyckpt.SaveOptions(staging="overlap", staging_bytes=20_000)
    handle = pyckpt.save_async(tmp_path / "1", state, options=options)
    assert handle.staged.done()
    assert handle.wait().copied_late == 0


def test_a_hook_that_came_later_and_pushed_in_front(tmp_path, copies):
    """The next save is in front again, and there is one hook in all."""
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters())
    state = {"model": model, "optimizer": optimizer}
    copies.go.set()
    pyckpt.save_async(tmp_path / "1", state, options=OVERLAP).wait()
    copies.go.clear()
    hook = register_optimizer_step_pre_hook(lambda *_: [p.data.zero_() for p in model.parameters()] and None)
    _global_optimizer_pre_hooks.move_to_end(hook.id, last=False)
    want = frozen(model.state_dict())
    handle = pyckpt.save_async(tmp_path / "2", state, options=OVERLAP)
    copies.soon()
    optimizer.step()
    hook.remove()
    handle.wait()
    assert same(pyckpt.load(tmp_path / "2")["model"], want)
    assert len(_global_optimizer_pre_hooks) == 1
    assert not optimizer._optimizer_step_pre_hooks
    copy.deepcopy(optimizer)


def child(optimizer, queue):
    optimizer.step()
    queue.put(True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_steps_at_once(tmp_path, copies):
    model = Network()
    optimizer = torch.optim.SGD(model.parameters())
    handle = pyckpt.save_async(tmp_path / "1", {"model": model, "optimizer": optimizer}, options=OVERLAP)
    assert copies.begun.wait(10)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(optimizer, queue))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    copies.go.set()
    handle.wait()


def test_the_end_of_the_program_waits_for_the_copy(tmp_path):
    code = """
    import sys, torch, pyckpt
    model = torch.nn.Linear(2000, 2000)
    torch.nn.init.ones_(model.weight)
    state = {"model": model, "optimizer": torch.optim.SGD(model.parameters())}
    pyckpt.save_async(sys.argv[1] + "/1", state, options=pyckpt.SaveOptions(staging="overlap"))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True, timeout=60)
    assert pyckpt.load(tmp_path / "1")["model"]["weight"].unique().tolist() == [1.0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_late_copies_take_the_same_memory(tmp_path):
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=place) as directory:
        model = nn.Linear(256, 256)
        optimizer = torch.optim.AdamW(model.parameters())
        state = {"model": model, "optimizer": optimizer}
        model(torch.randn(4, 256)).sum().backward()

        def save(number):
            optimizer.step()
            return pyckpt.save_async(f"{directory}/{number}/1", state, options=OVERLAP)

        for number in range(30):
            handle = save(number)
        before = resident()
        for number in range(30, 200):
            handle = save(number)
        assert handle.wait().copied_late > 0
        assert staging_memory.idle_bytes < 4 << 20
        assert resident() - before < 8 << 20
        assert threading.active_count() < 20
