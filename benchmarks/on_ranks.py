"""The suite ``reshard``: starts as many ranks as its cases need, or runs as it is on those that torchrun started."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.ranks import launch, start, under_torchrun
from benchmarks.reshard import CASES

__all__ = ["on_ranks"]


def on_ranks(names: str | None, ranks: int, device: str, repetitions: int, directory: str) -> list[dict[str, object]]:
    """Prints a table for each case and gives the records; ``names`` are cases with commas between, None: all."""
    cases = names.split(",") if names else list(CASES)
    unknown = [name for name in cases if name not in CASES]
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    if not under_torchrun():
        return _launch_all(cases, ranks, device, repetitions, directory)
    records = []
    place = start(device)
    for name in cases:
        for arms in CASES[name](place, directory):
            arms.run(repetitions)
            if dist.get_rank() == 0:
                print(arms.table(), end="\n\n", flush=True)
            records.append(arms.record())
            del arms
    dist.barrier()
    dist.destroy_process_group()
    return records


def _launch_all(cases: list[str], ranks: int, device: str, repetitions: int, directory: str) -> list[dict[str, object]]:
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no CUDA device here; leave --device out to run on the CPU")
    records: list[dict[str, object]] = []
    # Ranks that hold and ranks that want are different ones there.
    for count, some in ((ranks, [c for c in cases if c != "disjoint"]), (ranks + ranks // 2, ["disjoint"])):
        chosen = [case for case in some if case in cases]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            figures = os.path.join(scratch, "figures.json")
            options = [f"--cases={','.join(chosen)}", f"--device={device}", f"--repetitions={repetitions}"]
            launch(count, ["reshard", *options, f"--dir={directory}", f"--json={figures}"])
            records += json.loads(Path(figures).read_text())
    return records
