"""The operation restore: state of PyTorch filled by ``pyckpt.load``, every kind of target."""

from __future__ import annotations

import random

import numpy as np
import pyckpt
import torch
from nodes import bits, component, from_component, to_message
from pyckpt.engine.coordinator import Single
from pyckpt.engine.load import load
from pyckpt.errors import NotFound, PyckptError
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.tree import Indexed
from pyckpt.torch.bind import BindOptions, ObjectBinder
from pyckpt.torch.dtypes import TYPES
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.per_rank import per_rank
from reading import _store
from stores import open_store
from writing import Unsupported


def restore(request, stage):
    """Fills what ``target`` describes."""
    kind = request["target"]["kind"]
    stage.phase = "load"
    return {"model": _model, "optimizer": _optimizer, "value": _value, "rng": _rng}[kind](request, request["target"])


class _One:
    """The one process of a load that has a place among others."""

    def __init__(self, request) -> None:
        self.rank, self.size = request.get("index") or 0, request.get("size") or 1


def _fill(request, target):
    place = _One(request)
    options = BindOptions(per_rank=request.get("rule") or "error", rank=place.rank, world_size=place.size)
    names = ParamNames.of({request["item"]: target})
    binder = ObjectBinder(target, names, options)
    loaded = load(
        open_store(request["store"]), request["checkpoint"], lambda: {request["item"]: binder}, binder,
        items=None, options=pyckpt.LoadOptions(), coordinator=Single(),
    )  # fmt: skip
    return loaded.values[request["item"]]


def _model(request, target):
    tensors = []
    state = {}
    for each in target["tensors"]:
        path = tuple(map(from_component, each["path"]))
        if each["dtype"] not in TYPES:
            raise Unsupported(f"dtype:{each['dtype']}")
        size = byte_count(dtype_of(each["dtype"]), int(np.prod(each["shape"], dtype=np.int64)))
        raw = torch.full((size,), 0xA5, dtype=torch.uint8)
        tensor = raw.view(TYPES[each["dtype"]]).reshape(each["shape"])
        tensors.append((path, raw))
        inner = state
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = tensor

    def contents():
        found = []
        for number, (path, raw) in enumerate(tensors):
            _store(target["out"], str(number), raw.numpy().tobytes())
            found.append({"path": list(map(component, path)), "file": str(number)})
        return found

    try:
        _fill(request, state)
    except PyckptError as error:
        error.more = {"tensors": contents()}
        raise
    return {"tensors": contents()}


def _optimizer(request, target):
    module = torch.nn.Module()
    groups = []
    for each in target["groups"]:
        params = []
        for name in each["params"]:
            params.append(torch.nn.Parameter(torch.zeros(2)))
            module.register_parameter(name, params[-1])
        groups.append({"params": params, "name": each["id"]})
    optimizer = torch.optim.AdamW(groups, lr=0.125, foreach=False)
    names = dict(module.named_parameters())
    for name in target["stateful"]:
        names[name].grad = torch.ones(2)
    optimizer.step()
    _fill(request, pyckpt.with_model(optimizer, module))
    held = {id(param): name for name, param in names.items()}
    stateful = sorted(held[id(param)] for param, values in optimizer.state.items() if values)
    return {
        "stateful": stateful,
        "groups": [
            {
                "params": [held[id(param)] for param in group["params"]],
                "options": {
                    key: to_message(value)
                    for key, value in group.items()
                    if key not in ("params", "name") and not isinstance(value, torch.Tensor)
                },
            }
            for group in optimizer.param_groups
        ],
    }


def _value(request, target):
    path = tuple(map(from_component, target["path"]))
    opened = pyckpt.open(_url(request))
    node = opened._opened.item(request["item"]).tree
    for part in path:
        if not hasattr(node, "__getitem__") or (isinstance(node, dict) and part not in node):
            raise NotFound("tensor.missing", "nothing at this path", key=str(target["path"]))
        node = node[part]
    place = _One(request)
    wanted = per_rank(None, node.axis, place.rank, place.size) if isinstance(node, Indexed) else None
    state = wanted
    for part in reversed(path):
        state = {part: state}
    options = pyckpt.LoadOptions(strict=False, on_resize=request.get("rule") or "error")
    filled = pyckpt.load(_url(request), into={request["item"]: state}, options=options)[request["item"]]
    for part in path:
        filled = filled[part]
    return {"value": to_message(filled)}


def _url(request):
    return f"{request['store']['path']}/{request['checkpoint']}"


def _rng(request, target):
    del target
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = {}
    originals = random.seed, np.random.seed, torch.manual_seed

    def note(name, original):
        def seed(value):
            seeds[name] = str(value)
            return original(value)

        return seed

    random.seed, np.random.seed, torch.manual_seed = (
        note(name, original) for name, original in zip(("python", "numpy", "torch"), originals, strict=True)
    )
    try:
        _fill(request, pyckpt.RNG(index=request.get("index") or 0, size=request.get("size") or 1))
    except PyckptError:
        _unchanged(before)
        raise
    finally:
        random.seed, np.random.seed, torch.manual_seed = originals
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
    return {"seeds": seeds}


def _unchanged(before):
    same = random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[2])
    same = same and np.array_equal(np.random.get_state()[1], before[1][1])
    if not same:
        raise RuntimeError("a refused restore has changed a generator")


__all__ = ["bits", "restore"]
