"""One rank of the demo's training, started by torchrun; ``run.py`` tells the story around it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from assets import assets
from model import CONTEXT, ByteModel, shard_fsdp2, shard_tensor_parallel
from reference import compare, plain_values, whole_tensors, write_reference
from safetensors.torch import save_file
from text import TextBatches, read_tokens
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional

import pyckpt

SILENCE = 5.0
TIMEOUT = 60.0
"""Seconds: short, so that the demo is; the defaults fit clusters."""


@dataclass
class Result:
    """What this rank has to tell, as JSON."""

    rank: int
    losses: dict[int, float] = field(default_factory=dict)
    saves: list[dict[str, Any]] = field(default_factory=list)
    load: dict[str, Any] | None = None
    compared: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    called: float = 0.0
    """When pyckpt was last called, on this process's own clock."""

    def write(self, folder: Path) -> None:
        (folder / f"rank{self.rank}.json").write_text(json.dumps(vars(self), indent=1))


class Training:
    """Model, optimizer, scheduler and data on this rank, in one of the two layouts."""

    def __init__(self, layout: str, *, seed: int, last_step: int) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        torch.manual_seed(seed)
        self.model = ByteModel()
        if layout == "fsdp2":
            shard_fsdp2(self.model, init_device_mesh("cpu", (self.ranks,), mesh_dim_names=("dp",)))
            self.part, self.parts = self.rank, self.ranks
        else:
            shard_tensor_parallel(self.model, init_device_mesh("cpu", (self.ranks,), mesh_dim_names=("tp",)))
            self.part, self.parts = 0, 1
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=4e-3, weight_decay=0.01)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, last_step, 4e-4)
        self.batches = TextBatches(read_tokens(), rows=16, context=CONTEXT, seed=7)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; the very same mapping is what it is loaded into."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "data": self.batches,
            "rng": pyckpt.RNG(on_resize="reseed"),
        }

    def step(self) -> float:
        """One step; the mean loss over all ranks."""
        inputs, targets = self.batches.take(self.part, self.parts)
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        return mean.item() / self.ranks

    def answer(self) -> dict[str, torch.Tensor]:
        """A batch and its logits, for whoever wants to prove that it has the same model (a collective call)."""
        tokens, _ = TextBatches(self.batches.tokens, rows=4, context=CONTEXT, seed=11).take(0, 1)
        with torch.no_grad():
            return {"tokens": tokens.contiguous(), "logits": self.model(tokens).contiguous()}


def kill_halfway(folder: Path, rank: int) -> pyckpt.SaveOptions:
    """Save options by which this rank ends itself, hard, once a part of its bytes is written."""

    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            (folder / "killed.json").write_text(json.dumps({"rank": rank, "written": done, "of": total}))
            os.kill(os.getpid(), signal.SIGKILL)

    return pyckpt.SaveOptions(silence=SILENCE, timeout=TIMEOUT, threads=1, progress=stop)


def run(arguments: argparse.Namespace, result: Result) -> None:
    """Trains and saves as told; raises what a save or load raises."""
    training = Training(arguments.layout, seed=arguments.seed, last_step=arguments.schedule)
    say = print if result.rank == 0 else lambda *_, **__: None
    done = 0
    if arguments.resume:
        options = pyckpt.LoadOptions(silence=SILENCE, timeout=TIMEOUT)
        result.called = time.monotonic()
        loaded = pyckpt.load_report(arguments.resume, into=training.state(), options=options)
        result.load = {"bytes": loaded.report.bytes, "read": loaded.report.read, "seconds": loaded.report.seconds}
        done = loaded.root.metadata["step"]
        tensors = whole_tensors(training.model, training.optimizer)
        values = plain_values(training.optimizer, training.scheduler, training.batches)
        count, size, differing = compare(arguments.reference / f"step-{done:04}.safetensors", tensors, values)
        result.compared = {"step": done, "tensors": count, "bytes": size, "differing": differing}
        say(f"> loaded step {done}: {count} tensors, {size / 1e6:.1f} MB compared, {len(differing)} differ", flush=True)
    for step in range(done + 1, arguments.until + 1):
        result.losses[step] = loss = training.step()
        if step % arguments.every:
            continue
        say(f"> step {step:3}  loss {loss:.4f}", flush=True)
        tensors = whole_tensors(training.model, training.optimizer)
        if result.rank == 0:
            values = plain_values(training.optimizer, training.scheduler, training.batches)
            write_reference(arguments.reference / f"step-{step:04}.safetensors", tensors, values)
        options = pyckpt.SaveOptions(silence=SILENCE, timeout=TIMEOUT)
        if (step, result.rank) == (arguments.kill_step, arguments.kill_rank):
            options = kill_halfway(arguments.results, result.rank)
        result.called = time.monotonic()
        report = pyckpt.save(
            f"{arguments.store}/step-{step:04}",
            training.state(),
            metadata={"step": step, "loss": loss},
            assets={"model": assets()},
            options=options,
        )
        result.saves.append({"step": step, "bytes": report.bytes, "seconds": report.seconds, "digest": report.digest})
        say(f"> saved  step {step}: {report.bytes / 1e6:.1f} MB in {report.seconds:.2f} s", flush=True)
    answer = training.answer()
    if result.rank == 0:
        save_file(answer, arguments.results / "logits.safetensors")


def main() -> int:
    """Exit status 0, or 3 after an error of pyckpt, which the result file then has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--layout", choices=("fsdp2", "tp"), required=True)
    parser.add_argument("--until", type=int, required=True, help="last step")
    parser.add_argument("--schedule", type=int, required=True, help="length of the learning rate's schedule")
    parser.add_argument("--every", type=int, required=True, help="steps between two saves")
    parser.add_argument("--resume", help="URL of a checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the fresh weights")
    parser.add_argument("--kill-step", type=int)
    parser.add_argument("--kill-rank", type=int)
    arguments = parser.parse_args()
    # torchrun asks the others to end as soon as one rank dies, and waits 30 s; the demo wants to hear what they find.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    result = Result(dist.get_rank())
    try:
        run(arguments, result)
    except pyckpt.PyckptError as error:
        result.error = {"code": error.code, "text": str(error), "seconds": time.monotonic() - result.called}
    result.write(arguments.results)
    if result.error is not None:
        sys.stdout.flush()
        # A process group that has lost a rank can't be taken down in good order.
        os._exit(3)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
