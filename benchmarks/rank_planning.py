"""What an exchange costs before and beside its copies: 300 small tensors on real ranks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

import pyckpt
import pyckpt.torch.reshard
from benchmarks import rank_model as model
from benchmarks.rank_model import Layout
from benchmarks.ranks import RankArms
from benchmarks.state import llama_shapes

__all__ = ["planning"]

SHAPES = llama_shapes(hidden=64, inner=176, layers=33, vocab=512)
PHASES = ("agree_on_source", "agree_on_targets", "plan_exchange", "schedule_of", "Exchange")


def planning(device: torch.device, directory: str) -> Iterable[RankArms]:
    """A plan (agreement, plan, views, buffers) and its execution, for two pairs of layouts; compare no ratios here."""
    del directory
    mesh = DeviceMesh(device.type, list(range(dist.get_world_size())))
    source = Layout(mesh, model.rows, SHAPES)
    state = model.model_in(source, device)
    arms = RankArms(f"{len(SHAPES)} tensors of 3.6 MB in all: what it costs beside the copies")
    for what, rule in (("rows to columns", model.columns), ("rows to tensor parallel", model.tensor_parallel)):
        target = Layout(mesh, rule, SHAPES)
        wanted = {name: (mesh, target.of(name)) for name in SHAPES}
        resharder = pyckpt.Resharder(state, wanted)
        arms.add(f"Resharder(...), {what}", _plan(state, wanted))
        arms.add(f"Resharder.run, {what}", _run(resharder))
        with _phases() as seconds:
            dist.barrier()
            pyckpt.Resharder(state, wanted)
        arms.remarks.append(f"{what}, one plan: " + ", ".join(f"{name} {took:.3f} s" for name, took in seconds.items()))
    yield arms


def _plan(state: Any, wanted: Any) -> Callable[[], Sequence[torch.Tensor]]:
    def body() -> Sequence[torch.Tensor]:
        pyckpt.Resharder(state, wanted)
        return ()

    return body


def _run(resharder: pyckpt.Resharder) -> Callable[[], Sequence[torch.Tensor]]:
    def body() -> Sequence[torch.Tensor]:
        resharder.run()
        return ()

    return body


@contextmanager
def _phases() -> Iterator[Counter[str]]:
    """Seconds of this rank within the functions that a plan is made of."""
    module = pyckpt.torch.reshard
    seconds: Counter[str] = Counter()
    real = {name: getattr(module, name) for name in PHASES}

    def timed(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return real[name](*args, **kwargs)
            finally:
                seconds[name] += time.perf_counter() - begin

        return call

    for name in PHASES:
        setattr(module, name, timed(name))
    try:
        yield seconds
    finally:
        for name, function in real.items():
            setattr(module, name, function)
