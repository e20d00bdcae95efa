"""Plans alone: seconds and memory for more ranks than there are, all of them in one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.counters import PeakMemory
from benchmarks.state import llama_shapes
from benchmarks.timing import Arms
from pyckpt.engine.exchange_moves import Route
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.exchange_waves import schedule_of
from pyckpt.format.geometry import Box, Region

__all__ = ["plan"]

SHAPES = llama_shapes(hidden=4096, inner=14336, layers=33, vocab=32000)
"""300 tensors."""
RANKS = (8, 64, 256, 1024)
NODE = 8
"""Ranks of a machine, and the width of tensor parallelism."""
BUDGET = 256 << 20


def plan(directory: str, repetitions: int) -> list[tuple[Arms, int]]:
    """FSDP over N ranks to tensor parallel over 8, N / 8 times; a process for each plan, to see its memory."""
    del directory
    arms = Arms(f"plan for {len(SHAPES)} tensors, FSDP over N to tensor parallel 8 x data parallel N / 8")
    for ranks in RANKS:
        times = repetitions if ranks <= 64 else 1
        for _ in range(times):
            program = [sys.executable, "-m", "benchmarks.planning", str(ranks)]
            result = subprocess.run(program, check=True, capture_output=True, text=True, env=dict(os.environ))
            seconds, peak, what = result.stdout.strip().split(maxsplit=2)
            name = f"{ranks} ranks"
            arms.seconds.setdefault(name, []).append(float(seconds))
            arms.extra.setdefault(name, []).append(int(peak))
        print(f"{ranks} ranks: {what}", flush=True)
    return [(arms, 0)]


@dataclass(slots=True)
class _Cuts:
    """Equal regions are one object, as they are after ranks have told each other of them."""

    known: dict[Region, Region]

    def part(self, shape: tuple[int, ...], dim: int, count: int, index: int) -> Region:
        """What ``torch.chunk`` gives."""
        step = -(-shape[dim] // count)
        first, behind = min(shape[dim], index * step), min(shape[dim], (index + 1) * step)
        offset, size = [0] * len(shape), list(shape)
        offset[dim], size[dim] = first, behind - first
        region = Region.of_box(Box(tuple(offset), tuple(size)))
        return self.known.setdefault(region, region)


def routes(ranks: int) -> list[Route]:
    """Rows over all ranks to tensor parallel within every node."""
    cuts = _Cuts({})
    made = []
    for name, shape in SHAPES.items():
        whole = cuts.part(shape, 0, 1, 0)
        dim = 1 if "o_proj" in name or "down_proj" in name else 0
        have = tuple((cuts.part(shape, 0, ranks, rank),) for rank in range(ranks))
        want = tuple((whole if len(shape) == 1 else cuts.part(shape, dim, NODE, rank % NODE),) for rank in range(ranks))
        made.append(Route(name, shape, have, want, 16))
    return made


def _measure(ranks: int) -> None:
    listed = routes(ranks)
    memory = PeakMemory()
    begin = time.perf_counter()
    made = plan_exchange(listed, nodes=[rank // NODE for rank in range(ranks)], budget=BUDGET)
    middle = time.perf_counter()
    schedule = schedule_of(made, ranks - 1)
    end = time.perf_counter()
    messages = sum(map(len, schedule.sends))
    print(
        end - begin,
        memory.growth(),
        f"plan {middle - begin:.2f} s, one rank's schedule {end - middle:.2f} s; {made.waves} waves; "
        f"the last rank sends {messages:,} messages",
    )


if __name__ == "__main__":
    _measure(int(sys.argv[1]))
