"""The demo with a real model: published weights, sharded fine-tuning, a checkpoint, and back to what everybody loads.

``make demo-model`` runs it. It ends with ``demo-model: OK`` and exit status 0, or with the reason and 1;
``build/demo-model/report.json`` holds the figures. It needs about 12 GB of memory and no network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
RANKS = 4
SHARE = 1.1
"""What a rank may read, in parts of its fair share: edges of shards are read in blocks."""
LIMIT = 1800.0
"""Seconds for one step, on the slowest machine that is worth a try."""

console = Console(soft_wrap=True, highlight=False)


class DemoFailure(Exception):
    """What did not go as it must."""


def need(fact: object, otherwise: str) -> None:
    """Raises ``DemoFailure`` if ``fact`` is false."""
    if not fact:
        raise DemoFailure(otherwise)


def follow(log_file: Path, *arguments: object) -> None:
    """Runs Python; lines that begin with ``>`` are part of the story, all else goes to the log."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, *(str(each) for each in arguments)]
    with log_file.open("w") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
    ) as process:
        timer = threading.Timer(LIMIT, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            for line in process.stdout or ():
                if line.startswith("> "):
                    console.print(f"    {line[2:].rstrip()}", markup=False)
                else:
                    log.write(line)
            status = process.wait()
        finally:
            timer.cancel()
    need(status == 0, f"a step failed; see {log_file}")


def run_step(build: Path, name: str, title: str) -> dict[str, Any]:
    """Figures of one step that is a process of its own."""
    console.print(f"\n[bold]{title}[/bold]")
    result = build / f"{name}.json"
    follow(build / f"{name}.log", HERE / f"{name}.py", "--build", build, "--result", result)
    return json.loads(result.read_text())


def train(build: Path) -> dict[str, Any]:
    """Figures of the ranks, together."""
    console.print(f"\n[bold]2  Fine-tuning on {RANKS} ranks with FSDP2[/bold]")
    begin = time.monotonic()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    follow(build / "train.log", *launcher, "--nproc-per-node", RANKS, HERE / "train.py", "--build", build)
    ranks = [json.loads((build / f"rank{rank}.json").read_text()) for rank in range(RANKS)]
    return {"ranks": ranks, "seconds": time.monotonic() - begin, "peak_mb": max(rank["peak_mb"] for rank in ranks)}


def check(report: dict[str, Any]) -> None:
    """What has to be true in the end."""
    base, ranks = report["base"], report["train"]["ranks"]
    for number, rank in enumerate(ranks):
        read, share = rank["load"]["read"], base["bytes"] / RANKS
        need(read < SHARE * share, f"rank {number} read {read:,} bytes, its share is {share:,.0f}")
    answered = report["transformers"]
    need(answered["gap_to_base"] > 0, "the fine-tuning changed nothing")
    need(answered["equal_bits"], f"logits of transformers differ by {answered['largest_gap']} from the ranks'")
    for engine in ("transformers", "mistralrs"):
        need(report[engine]["right"], f"{engine} answers {report[engine]['text']!r}")


def show(report: dict[str, Any]) -> None:
    """The table of figures."""
    base, ranks, out = report["base"], report["train"]["ranks"], report["publish"]
    first = ranks[0]
    table = Table("step", "seconds", "MB", "peak memory, MB", box=None)
    rows = [
        ("GGUF to a plain directory", base["seconds"], base["bytes"], base["peak_mb"]),
        ("load_into, largest read of a rank", first["load"]["seconds"], max(r["load"]["read"] for r in ranks), None),
        ("fine-tuning", first["train"]["seconds"], None, report["train"]["peak_mb"]),
        ("save, model and optimizer", first["save"]["seconds"], first["save"]["bytes"], None),
        ("export", out["export_seconds"], out["bytes"], out["peak_mb"]),
        ("transformers", report["transformers"]["seconds"], None, report["transformers"]["peak_mb"]),
        ("mistralrs", report["mistralrs"]["seconds"], None, report["mistralrs"]["peak_mb"]),
    ]
    for name, seconds, size, peak in rows:
        table.add_row(
            name, f"{seconds:.2f}", "" if size is None else f"{size / 1e6:,.1f}", "" if peak is None else f"{peak:,.0f}"
        )
    console.print()
    console.print(table)
    console.print(f"peak memory of the fine-tuning is that of one of {RANKS} ranks")


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "demo-model")
    build = parser.parse_args().build
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    begin = time.monotonic()
    report: dict[str, Any] = {"ok": False}
    reason = ""
    try:
        report["base"] = run_step(build, "base", "1  SmolLM2-135M as it is published")
        report["train"] = train(build)
        report["publish"] = run_step(build, "publish", "3  From the checkpoint to a directory")
        report["transformers"] = run_step(build, "transformers_answers", "4  transformers")
        report["mistralrs"] = run_step(build, "mistralrs_answers", "5  mistralrs, an engine written in Rust")
        check(report)
        show(report)
        report["ok"] = True
    except DemoFailure as error:
        report["reason"] = reason = str(error)
    report["seconds"] = time.monotonic() - begin
    (build / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"{report['seconds']:.0f} s; figures in {build / 'report.json'}", markup=False)
    console.print(f"demo-model: {'OK' if not reason else 'FAILED: ' + reason}", markup=False)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
