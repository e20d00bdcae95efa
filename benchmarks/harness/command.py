"""``python -m benchmarks run`` and ``python -m benchmarks report``."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib import import_module

from benchmarks.harness.arms import ArmSpec
from benchmarks.harness.case import Case
from benchmarks.harness.fleet import Fleet, fleet
from benchmarks.harness.machine import describe, load_average, uncontrolled
from benchmarks.harness.results import Run, write
from benchmarks.harness.suites import SUITES, cases

__all__ = ["run"]

MEMORY = "/dev/shm"
SHARED = (
    "torch",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.device_mesh",
    "torch.distributed.tensor",
    "pyckpt.facade",
    "pyckpt.torch.framework",
)
"""What most arms need; the first DTensor alone would bring in ``torch._dynamo``."""


def run(argv: Sequence[str]) -> int:
    """Measures a suite, and stores the result."""
    arguments = _parse(argv)
    own = fleet()
    if arguments.device == "cuda":
        _require_cuda()
    # Libraries are imported once, here; workers are forked from this process, which computes nothing with them.
    _import_shared(own)
    chosen = _choose(arguments, own)
    # What was begun is removed, too, when the run is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = _scratch(own)
    began, begin, load_begin = _now(), time.perf_counter(), load_average()
    results = []
    try:
        for case in chosen:
            directory = {
                "memory": os.path.join(scratch, "files"),
                "disk": os.path.abspath(arguments.dir),
                # Named like the scratch directory: what others keep in the store is not touched.
                "store": f"{arguments.store}/{os.path.basename(scratch)}",
            }[case.where]
            if own.lead:
                print(f"{case.name}: {case.title}", file=sys.stderr, flush=True)
            results.append(
                _run_case(case, own, directory, scratch, arguments)
            )
    finally:
        if own.tends_node:
            shutil.rmtree(scratch, ignore_errors=True)
    if not own.lead:
        return 0
    from benchmarks.harness.report import markdown

    machine = describe([os.path.abspath(arguments.dir), MEMORY], arguments.device)
    notes = uncontrolled(machine, load_begin)
    seconds = time.perf_counter() - begin
    done = Run(arguments.suite, began, _now(), seconds, machine, load_begin, load_average(), notes, results)
    if arguments.json:
        write(arguments.json, done)
    print(markdown([done]))
    return 0


def _run_case(case: Case, own: Fleet, directory: str, scratch: str, arguments: argparse.Namespace):
    from benchmarks.harness.rounds import run_case

    return run_case(
        case,
        own,
        directory=directory,
        scratch=scratch,
        device=arguments.device,
        repetitions=arguments.repetitions,
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks run", description=run.__doc__)
    parser.add_argument("--suite", choices=SUITES, default="quick")
    parser.add_argument("--cases", help="names or patterns of cases, with commas between")
    parser.add_argument("--ranks", type=int, default=4, help="of the cases with several, unless torchrun started them")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--store", metavar="URL", help="s3://bucket/prefix for the case of an object store")
    parser.add_argument("--bytes", type=float, help="of the model's state, for example 2e9")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--dir", default="build/benchmarks", help="where files are written and removed")
    parser.add_argument("--json", help="file for the result")
    parser.add_argument("--arms", help="patterns of the arms that take part, with commas between")
    parser.add_argument("--arm", action="append", default=[], metavar="MODULE:CLASS", help="one more arm")
    parser.add_argument("--exec-arm", action="append", default=[], metavar="COMMAND", help="one more, a program")
    parser.add_argument("--list", action="store_true", help="print cases and arms, and run nothing")
    return parser.parse_args(argv)


def _choose(arguments: argparse.Namespace, own: Fleet) -> list[Case]:
    ranks = getattr(own, "world", arguments.ranks)
    nbytes = int(arguments.bytes) if arguments.bytes else None
    every = cases(arguments.suite, ranks, nbytes, store=bool(arguments.store))
    more = [ArmSpec(target, target) for target in arguments.arm]
    more += [ArmSpec(command, command=command) for command in arguments.exec_arm]
    wanted = arguments.cases.split(",") if arguments.cases else ["*"]
    strangers = [each for each in wanted if not any(fnmatch.fnmatchcase(case.name, each) for case in every)]
    if strangers:
        names = ", ".join(case.name for case in every)
        raise SystemExit(f"no such case: {', '.join(strangers)}; the suite {arguments.suite} has {names}")
    found = []
    for case in every:
        if not any(fnmatch.fnmatchcase(case.name, each) for each in wanted):
            continue
        arms = case.arms
        if arguments.arms:
            patterns = arguments.arms.split(",")
            arms = tuple(arm for arm in arms if any(fnmatch.fnmatchcase(arm.name, each) for each in patterns))
        case = replace(case, arms=(*arms, *more))
        if hasattr(own, "world") and not _fits(case, own):
            continue
        found.append(case)
    if arguments.list:
        for case in found:
            print(f"{case.name}: {case.title}\n    {'; '.join(arm.name for arm in case.arms)}")
        raise SystemExit(0)
    return found


def _fits(case: Case, own: Fleet) -> bool:
    """Under torchrun: cases that have its ranks, and, over several machines, a place that all of them see."""
    world = getattr(own, "world", 1)
    return case.save.ranks == world and not (own.nodes > 1 and case.where == "memory")


def _require_cuda() -> None:
    # Without it, the question alone would keep forked processes from using a device.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no CUDA device here; leave --device out to run on the CPU")


def _import_shared(own: Fleet) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not hasattr(own, "world") and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    for module in SHARED:
        import_module(module)


def _scratch(own: Fleet) -> str:
    """Memory for states that processes share: the same directory on all drivers of one machine."""
    home = MEMORY if os.path.isdir(MEMORY) else tempfile.gettempdir()
    made = tempfile.mkdtemp(prefix="pyckpt-benchmarks-", dir=home) if own.lead else None
    path = own.share(made)[0]
    os.makedirs(path, exist_ok=True)
    return str(path)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
