"""Asynchronous saves: what ten of them add to a training loop, and where: in the call, in the next step, beside it."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

import pyckpt
from benchmarks.timing import PeakSampler, resident, wipe
from pyckpt.engine.staging_memory import staging_memory

__all__ = ["Loops", "background"]

SAVES = 10
INTERVAL_SECONDS = 3.0
"""Of training between two saves, about."""


class Trainer:
    """A model of 168 million weights, 160 tensors, and fused AdamW: 2.0 GB with both moments."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(1024, 1024, bias=False) for _ in range(160)]
        self.model = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        self._batch = torch.randn(16, 1024)
        self.nbytes = 3 * sum(param.nbytes for param in self.model.parameters())

    def step(self) -> float:
        """One step; its seconds."""
        begin = time.perf_counter()
        self.optimizer.zero_grad()
        self.model(self._batch).square().mean().backward()
        self.optimizer.step()
        return time.perf_counter() - begin


@dataclass
class Begun:
    """A save that goes on."""

    done: Callable[[], bool]
    wait: Callable[[], Any]
    in_step: Callable[[Any], float] = lambda _: 0.0
    """From what ``wait`` gave: seconds that a step waited for it."""


@dataclass
class _Arm:
    loop: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)
    in_step: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    """Waiting for the save after the last step of an interval, as the next save would."""
    beside: list[float] = field(default_factory=list)
    """Steps that had a save beside them to their end, without what they waited for it."""
    peak: int = 0


class Loops:
    """Seconds of an arm's intervals, added up to its loop."""

    def __init__(self, title: str, reference: str) -> None:
        self.title = title
        self.arms: dict[str, _Arm] = {}
        self._reference = reference

    def table(self, size: int) -> str:
        """One line for each arm."""
        first, *_ = self.arms.values()
        plain = statistics.median(first.beside)
        reference = self.arms[self._reference]
        theirs = sum(reference.loop) - sum(first.loop), sum(reference.call) + sum(reference.in_step)
        names = ("loop", "added", "ratio", "in calls", "in steps", "ratio", "at end", "slower", "peak MB")
        lines = [f"{self.title}, {size / 1e9:.2f} GB each; seconds of the whole loop"]
        lines.append(f"{'arm':<24}" + "".join(f"{name:>10}" for name in names))
        for name, arm in self.arms.items():
            added, blocked = sum(arm.loop) - sum(first.loop), sum(arm.call) + sum(arm.in_step)
            slower = statistics.median(arm.beside) / plain if arm.beside else float("nan")
            figures = [sum(arm.loop), added, added / theirs[0], sum(arm.call), sum(arm.in_step), blocked / theirs[1]]
            figures += [sum(arm.end), slower]
            lines.append(f"{name:<24}" + "".join(f"{each:>10.2f}" for each in figures) + f"{arm.peak / 1e6:>10.0f}")
        lines.append(f"ratios: of what is added, and of what was blocked in calls and steps, to {self._reference}")
        lines.append("at end: until a save ended that was still going on when the next one was due")
        lines.append("slower: median of the steps beside a save, over that of the first arm")
        lines.append("peak: above what was there before the first save of that kind")
        return "\n".join(lines)

    def record(self, size: int) -> dict[str, object]:
        """The same for machines."""
        return {"title": self.title, "bytes": size, "arms": {name: vars(arm) for name, arm in self.arms.items()}}


def background(directory: str, repetitions: int) -> list[tuple[Loops, int]]:
    """Every arm trains and saves for an interval, in turn, ten times: those are the repetitions."""
    del repetitions
    trainer = Trainer()
    stager = DefaultStager(StagingOptions(False, False, False, False))
    number = 0

    def place(name: str) -> str:
        nonlocal number
        number += 1
        return f"{directory}/{name}/{number}"

    def by_dcp(reused: bool) -> Begun:
        state = {"model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict()}
        stagers: dict[str, Any] = {"async_stager": stager} if reused else {}
        writer = FileSystemWriter(place("dcp"))
        future: Future[Any] = dcp.async_save(state, storage_writer=writer, no_dist=True, **stagers)  # type: ignore[assignment]
        return Begun(future.done, future.result)

    def by_pyckpt(**more: Any) -> Begun:
        state = {"model": trainer.model, "optimizer": trainer.optimizer}
        handle = pyckpt.save_async(place("run"), state, options=pyckpt.SaveOptions(**more))
        return Begun(handle.done, handle.wait, lambda report: report.blocked - handle.blocked)

    ways: dict[str, Callable[[], Begun] | None] = {
        "without saves": None,
        "DCP async_save": lambda: by_dcp(False),
        "DCP, its stager reused": lambda: by_dcp(True),
        "pyckpt, block": lambda: by_pyckpt(staging="block"),
        "pyckpt, overlap": lambda: by_pyckpt(staging="overlap"),
    }
    loops = Loops(f"a training loop with {SAVES} saves", "DCP async_save")
    loops.arms = {name: _Arm() for name in ways}
    trainer.step()
    steps = max(2, round(INTERVAL_SECONDS / min(trainer.step() for _ in range(3))))
    for name, save in ways.items():
        staging_memory.forget()
        _settle(directory)
        loops.arms[name].peak = _interval(trainer, save, 2, _Arm())
    order = [*ways.items()]
    for turn in range(SAVES):
        # Each arm follows each other arm equally often, or nearly.
        for name, save in order[turn % len(ways) :] + order[: turn % len(ways)]:
            _settle(directory)
            _interval(trainer, save, steps, loops.arms[name])
    _settle(directory)
    stager.close()
    return [(loops, trainer.nbytes)]


def _settle(directory: str) -> None:
    wipe(directory)
    os.makedirs(directory)
    gc.collect()


def _interval(trainer: Trainer, save: Callable[[], Begun] | None, steps: int, arm: _Arm) -> int:
    """A save, some steps, the end of the save; gives the bytes by which memory grew."""
    before = resident()
    with PeakSampler() as peak:
        start = time.perf_counter()
        begun = save() if save is not None else None
        called = time.perf_counter()
        beside = []
        for _ in range(steps):
            seconds = trainer.step()
            if begun is None or not begun.done():
                beside.append(seconds)
        trained = time.perf_counter()
        outcome = begun.wait() if begun is not None else None
        ended = time.perf_counter()
    arm.loop.append(ended - start)
    if begun is not None:
        in_step = begun.in_step(outcome)
        arm.call.append(called - start)
        arm.end.append(ended - trained)
        arm.in_step.append(in_step)
        if beside:
            beside[0] -= in_step
    arm.beside += beside
    return max(0, peak.bytes - before)
