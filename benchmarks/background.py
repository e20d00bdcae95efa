"""Asynchronous saves: how long the call blocks, and what a save in the background does to training beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

import pyckpt
from benchmarks.state import llama_state, nbytes
from benchmarks.timing import Arms, wipe

__all__ = ["background"]

Ended = Callable[[], object]
"""Waits until a save has ended."""
LOOP_SAVES = 3


class Trainer:
    """Steps of a fixed amount of work on tensors of its own."""

    def __init__(self) -> None:
        self._weights = torch.randn(512, 512)
        self._batch = torch.randn(512, 512)

    def train(self, steps: int) -> None:
        """Runs so many steps, about 5 ms each."""
        for _ in range(steps):
            for _ in range(8):
                (self._batch @ self._weights).sum()


def background(directory: str, repetitions: int) -> list[tuple[Arms, int]]:
    """2 GB in 228 tensors: the call alone, with memory that earlier saves have touched; and a loop with three saves."""
    state = llama_state()
    stager = DefaultStager(StagingOptions(False, False, False, False))
    number = 0

    def place(name: str) -> str:
        nonlocal number
        number += 1
        return f"{directory}/{name}/{number}"

    def by_dcp() -> Ended:
        return dcp.async_save(state, storage_writer=FileSystemWriter(place("dcp")), no_dist=True).result

    def by_dcp_reused() -> Ended:
        writer = FileSystemWriter(place("dcp"))
        return dcp.async_save(state, storage_writer=writer, no_dist=True, async_stager=stager).result

    def by_pyckpt() -> Ended:
        return pyckpt.save_async(place("run"), {"model": state}).wait

    ways = {"DCP async_save": by_dcp, "DCP, its stager reused": by_dcp_reused, "pyckpt.save_async": by_pyckpt}
    ended: list[Ended] = []

    def settle() -> None:
        while ended:
            ended.pop()()
        wipe(directory)
        os.makedirs(directory)

    settle()
    for save in ways.values():
        ended.append(save())
        settle()
    call = Arms("the call of an asynchronous save, 2 GB in 228 tensors, buffers warm")
    for name, save in ways.items():
        call.add(name, lambda save=save: ended.append(save()), settle)  # type: ignore[misc]
    call.run(repetitions)
    settle()
    trainer = Trainer()
    begin = time.perf_counter()
    trainer.train(100)
    steps = max(10, round(3.0 / (time.perf_counter() - begin) * 100))

    def loop(save: Callable[[], Ended] | None) -> None:
        for _ in range(LOOP_SAVES):
            if save is not None:
                while ended:
                    ended.pop()()
                ended.append(save())
            trainer.train(steps)

    beside = Arms(f"a loop of about {3 * LOOP_SAVES} s of training with {LOOP_SAVES} saves of 2 GB")
    beside.add("without saves", lambda: loop(None), settle)
    for name, save in ways.items():
        beside.add(name, lambda save=save: loop(save), settle)  # type: ignore[misc]
    beside.run(repetitions)
    settle()
    stager.close()
    return [(call, nbytes(state)), (beside, nbytes(state) * LOOP_SAVES)]
