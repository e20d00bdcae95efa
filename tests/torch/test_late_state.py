"""What may be copied late, and what is not known well enough and is copied in the call."""

from __future__ import annotations

import functools
import types

import pytest
import torch

import pyckpt
from tests.torch.held_copies import OVERLAP, Network, learn
from tests.torch.test_save_async import frozen, same


def no_state(model):
    return {"model": model}


def with_lbfgs(model):
    return {"model": model, "optimizer": torch.optim.LBFGS(model.parameters())}


def shared_with_lbfgs(model):
    return {"model": model, "a": torch.optim.SGD(model.parameters()), "b": torch.optim.LBFGS(model.parameters())}


class OwnAdam(torch.optim.Adam):
    """It might do anything."""


def own_class(model):
    return {"model": model, "optimizer": OwnAdam(model.parameters())}


def capturable(model):
    return {"model": model, "optimizer": torch.optim.Adam(model.parameters(), capturable=True)}


def differentiable(model):
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), differentiable=True)}


def patched(model):
    optimizer = torch.optim.SGD(model.parameters())
    optimizer.step = lambda: None
    return {"model": model, "optimizer": optimizer}


def patched_below_a_scheduler(model):
    optimizer = torch.optim.SGD(model.parameters())
    optimizer.step = types.MethodType(lambda self: None, optimizer)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    return {"model": model, "optimizer": optimizer}


def patched_above_a_scheduler(model):
    optimizer = torch.optim.SGD(model.parameters())
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step = functools.wraps(optimizer.step)(lambda: None)
    return {"model": model, "optimizer": optimizer}


def frozen_weights(model):
    optimizer = torch.optim.SGD(model.parameters())
    model.requires_grad_(False)
    return {"model": model, "optimizer": optimizer}


def without_versions(model):
    """State of an optimizer that was made where nothing counts changes, and weights without it."""
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    model.requires_grad_(False)
    with torch.inference_mode():
        for param in model.parameters():
            optimizer.state[param]["momentum_buffer"] = torch.ones_like(param)
    return {"model": model, "optimizer": optimizer}


def one_memory(model):
    """Makes the parameters parts of one memory; gives the rest of it."""
    flat = torch.zeros(sum(p.numel() for p in model.parameters()) + 10)
    at = 0
    for param in model.parameters():
        flat[at : at + param.numel()] = param.detach().view(-1)
        param.data = flat[at : at + param.numel()].view(param.shape)
        at += param.numel()
    return flat[at:]


def buffer_beside(model):
    model.register_buffer("rest", one_memory(model), persistent=False)
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters())}


def tensor_beside(model):
    rest = one_memory(model)
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters()), "rest": rest}


@pytest.mark.parametrize(
    "state",
    [
        no_state,
        with_lbfgs,
        shared_with_lbfgs,
        own_class,
        capturable,
        differentiable,
        patched,
        patched_below_a_scheduler,
        patched_above_a_scheduler,
        frozen_weights,
        without_versions,
        buffer_beside,
        tensor_beside,
    ],
)
def test_what_is_not_known_is_copied_in_the_call(tmp_path, copies, state):
    model = Network()
    handle = pyckpt.save_async(tmp_path / "1", state(model), options=OVERLAP)
    assert handle.staged.done()
    want = frozen(model.state_dict())
    for param in model.parameters():
        param.data.zero_()
    assert handle.wait().copied_late == 0
    assert same(pyckpt.load(tmp_path / "1", items=["model"])["model"], want)


def test_a_table_that_the_forward_pass_normalises_is_copied_in_the_call(tmp_path, copies):
    model = Network(max_norm=0.5)
    optimizer = torch.optim.SGD(model.parameters())
    want = frozen(model.state_dict())
    handle = pyckpt.save_async(tmp_path / "1", {"model": model, "optimizer": optimizer}, options=OVERLAP)
    learn(model)
    assert not torch.equal(model.table.weight, want["table.weight"])
    copies.soon()
    optimizer.step()
    assert handle.wait().copied_late > 0
    assert same(pyckpt.load(tmp_path / "1", items=["model"])["model"], want)
