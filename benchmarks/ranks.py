"""Benchmarks of several ranks: launched by torchrun, run in turn with barriers between, collected on rank 0."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.counters import CallCounter, PeakMemory, loopback_bytes

__all__ = ["RankArms", "launch", "start", "under_torchrun"]


def under_torchrun() -> bool:
    """True in a process that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(ranks: int, arguments: Sequence[str]) -> None:
    """Runs ``python -m benchmarks`` with these arguments on so many ranks of this machine, and waits for them.

    In a network of their own where the system allows it, so that the loopback's counters count nobody else.
    """
    environment = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", TOKENIZERS_PARALLELISM="false")
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    torchrun += ["--standalone", "--local-addr=127.0.0.1", "-m", "benchmarks", *arguments]
    if _can_isolate():
        shell = 'ip link set lo up && exec "$@"'
        torchrun = ["unshare", "--map-root-user", "--net", "sh", "-c", shell, "sh", *torchrun]
    subprocess.run(torchrun, check=True, env=environment)


def _can_isolate() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    trial = ["unshare", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(trial, check=False, capture_output=True).returncode == 0


def start(device: str) -> torch.device:
    """Joins the process group: gloo for ``cpu``, nccl for ``cuda``. SystemExit where there is no such device."""
    if device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("--device cuda: torch finds no CUDA device here; leave --device out to run on the CPU")
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise SystemExit(f"--device cuda: {torch.cuda.device_count()} devices, one for each rank is needed")
        torch.cuda.set_device(local)
        dist.init_process_group("cpu:gloo,cuda:nccl")
        return torch.device("cuda", local)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    return torch.device("cpu")


@dataclass(slots=True)
class Sample:
    """One execution of one arm, by all ranks."""

    seconds: float
    """Of the slowest rank."""
    called: int
    """Bytes handed to the process group's functions by all ranks; 0 where the arm does not call them by name."""
    loopback: int
    """Bytes that the loopback interface sent meanwhile."""
    extra: int
    """Peak memory of the worst rank above what it held before and what the arm made."""
    tally: int = 0
    """What ``RankArms.tally`` gave, of all ranks together."""


@dataclass
class RankArms:
    """Several ways to do one thing on all ranks, run in turn; the first is what the others are compared with.

    A body gives the tensors that it made, whose memory is not counted as its own need.
    """

    title: str
    minimum: int | None = None
    """Bytes that have to move, whatever the way."""
    body: dict[str, Callable[[], Sequence[torch.Tensor]]] = field(default_factory=dict)
    setup: dict[str, Callable[[], None]] = field(default_factory=dict)
    check: Callable[[Sequence[torch.Tensor]], None] | None = None
    tally: tuple[str, Callable[[], int]] | None = None
    """A heading and bytes to count after each execution, on every rank."""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(
        self, name: str, body: Callable[[], Sequence[torch.Tensor]], setup: Callable[[], None] = lambda: None
    ) -> None:
        """Adds an arm; ``setup`` is not measured."""
        self.body[name], self.setup[name] = body, setup

    def run(self, repetitions: int) -> None:
        """One round to warm up and check, then all arms in turn, again and again."""
        for number in range(repetitions + 1):
            for name in self.body:
                sample, made = self._once(name)
                if number == 0 and self.check is not None:
                    self.check(made)
                del made
                if number > 0:
                    self.samples.setdefault(name, []).append(sample)

    def _once(self, name: str) -> tuple[Sample, Sequence[torch.Tensor]]:
        self.setup[name]()
        memory = PeakMemory()
        accelerated = torch.cuda.is_available()
        if accelerated:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        counter = CallCounter()
        dist.barrier()
        sent = loopback_bytes()
        dist.barrier()
        with counter.counting():
            begin = time.perf_counter()
            made = self.body[name]()
            if accelerated:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begin
        dist.barrier()
        sent = loopback_bytes() - sent
        growth = torch.cuda.max_memory_allocated() - held if accelerated else memory.growth()
        tally = self.tally[1]() if self.tally is not None else 0
        own = (seconds, counter.sent, max(0, growth - _own_bytes(made)), tally)
        all_ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(all_ranks, own)
        seconds_by_rank, called, extra, tallies = zip(*all_ranks, strict=True)
        return Sample(max(seconds_by_rank), sum(called), sent, max(extra), sum(tallies)), made

    def table(self) -> str:
        """Medians, spreads, paired ratios, bytes and memory as text."""
        lines = [self.title]
        if self.minimum is not None:
            lines[0] += f"; at least {self.minimum / 1e6:.1f} MB have to move"
        heading = f"{'arm':<42}{'median s':>9}{'min':>8}{'max':>8}{'ratio':>7}"
        heading += f"{'sent MB':>9}{'lo MB':>9}{'extra MB':>10}"
        lines.append(heading + (f"{self.tally[0]:>10}" if self.tally is not None else ""))
        first = next(iter(self.samples.values()))
        for name, samples in self.samples.items():
            seconds = [each.seconds for each in samples]
            ratio = statistics.median(a.seconds / b.seconds for a, b in zip(first, samples, strict=True))
            called = statistics.median(each.called for each in samples)
            line = f"{name:<42}{statistics.median(seconds):>9.3f}{min(seconds):>8.3f}{max(seconds):>8.3f}{ratio:>7.2f}"
            line += f"{called / 1e6:>9.1f}" if called else f"{'-':>9}"
            line += f"{min(each.loopback for each in samples) / 1e6:>9.1f}"
            line += f"{max(each.extra for each in samples) / 1e6:>10.1f}"
            if self.tally is not None:
                line += f"{statistics.median(each.tally for each in samples) / 1e6:>10.1f}"
            lines.append(line)
        return "\n".join([*lines, *self.remarks])

    def record(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "title": self.title,
            "ranks": dist.get_world_size(),
            "minimum_bytes": self.minimum,
            "remarks": self.remarks,
            "arms": {
                name: {
                    "seconds": [each.seconds for each in samples],
                    "called_bytes": [each.called for each in samples],
                    "loopback_bytes": [each.loopback for each in samples],
                    "extra_bytes": [each.extra for each in samples],
                    "tally_bytes": [each.tally for each in samples],
                }
                for name, samples in self.samples.items()
            },
        }


def _own_bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Memory of the tensors, what several share counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
