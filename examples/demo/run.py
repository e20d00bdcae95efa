"""The demo: train on 4 ranks, lose one in the middle of a save, go on with 2 otherwise, compare every bit, publish.

``make demo`` runs it. It ends with ``demo: OK`` and exit status 0, or with the reason and 1; ``build/demo/report.json``
holds the figures.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import pyckpt

HERE = Path(__file__).resolve().parent
EVERY, KILL_STEP, LAST_STEP, KILL_RANK = 8, 24, 40, 2
WITHIN = 20.0
"""Seconds in which the other ranks have to give up: 5 of silence, and room for a busy machine."""
LOSS_GAP = 0.02
"""Two layouts add in another order, so losses of the same step agree but for rounding."""
LOGIT_GAP = 1e-4
"""The same for logits, which are of the order of 10."""
PHASE_LIMIT = 240.0

console = Console(soft_wrap=True, highlight=False)


class DemoFailure(Exception):
    """What did not go as it must."""


def need(fact: object, otherwise: str) -> None:
    """Raises ``DemoFailure`` if ``fact`` is false."""
    if not fact:
        raise DemoFailure(otherwise)


def chapter(title: str) -> None:
    """A heading of the story."""
    console.print(f"\n[bold]{title}[/bold]")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the demo writes."""

    build: Path

    @property
    def store(self) -> Path:
        """The store that pyckpt saves to."""
        return self.build / "store"

    @property
    def reference(self) -> Path:
        """What was saved, as whole tensors, written without pyckpt."""
        return self.build / "reference"


def launch(places: Places, name: str, ranks: int, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    """Runs ``train.py`` under torchrun; gives the exit status and the result of every rank that left one."""
    results = places.build / name
    results.mkdir()
    command = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(ranks), str(HERE / "train.py")]
    command += ["--store", str(places.store), "--results", str(results), "--reference", str(places.reference)]
    command += ["--every", str(EVERY), "--until", str(LAST_STEP), "--schedule", str(2 * LAST_STEP)]
    command += [str(each) for each in arguments]
    status = follow(places.build / f"{name}.log", command)
    return status, [json.loads(path.read_text()) for path in sorted(results.glob("rank*.json"))]


def follow(log_file: Path, arguments: list[str]) -> int:
    """Runs Python; lines that begin with ``>`` are part of the story, all else goes to the log. The exit status."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, *arguments]
    with log_file.open("w") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
    ) as process:
        # Ranks that hang must not hang the demo: the whole session that was started here goes.
        timer = threading.Timer(PHASE_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            for line in process.stdout or ():
                if line.startswith("> "):
                    console.print(f"    {line[2:].rstrip()}", markup=False)
                else:
                    log.write(line)
            return process.wait()
        finally:
            timer.cancel()


def names(urls: list[str]) -> list[str]:
    """Checkpoints of the store without the store."""
    return [url.rpartition("/")[2] for url in urls]


def lose_a_rank(places: Places) -> dict[str, Any]:
    """First part: training on 4 ranks, which ends in a save that one of them does not survive."""
    chapter("1  Training on 4 ranks with FSDP2")
    status, results = launch(
        places, "fsdp2", 4, "--layout", "fsdp2", "--kill-step", KILL_STEP, "--kill-rank", KILL_RANK, "--seed", 1
    )
    killed_file = places.build / "fsdp2" / "killed.json"
    need(killed_file.exists(), f"rank {KILL_RANK} was not killed; see {places.build / 'fsdp2.log'}")
    killed = json.loads(killed_file.read_text())
    console.print(
        f"    [red]rank {KILL_RANK} killed itself with SIGKILL[/red] in the save of step {KILL_STEP}, "
        f"{killed['written']:,} of its {killed['of']:,} bytes written"
    )
    survivors = [result for result in results if result["rank"] != KILL_RANK]
    answered = f"{len(survivors)} of 3 other ranks answered"
    need(status != 0 and len(survivors) == 3, f"{answered}; see {places.build / 'fsdp2.log'}")
    for result in survivors:
        error = result["error"]
        need(error, f"rank {result['rank']} noticed nothing")
        need(f"rank {KILL_RANK}" in error["text"], f"rank {result['rank']} does not name the culprit: {error['text']}")
        need(error["seconds"] < WITHIN, f"rank {result['rank']} took {error['seconds']:.0f} s to give up")
        console.print(f"    rank {result['rank']} after {error['seconds']:.1f} s: {error['text']}", markup=False)
    return {
        "layout": "FSDP2 over 4 ranks",
        "killed": {**killed, "step": KILL_STEP, "signal": "SIGKILL"},
        "survivors": [{"rank": result["rank"], **result["error"]} for result in survivors],
        "saves": survivors[0]["saves"],
        "losses": survivors[0]["losses"],
    }


def look_at_store(places: Places) -> dict[str, Any]:
    """Second part: what the store has after the crash."""
    chapter("2  What is in the store now")
    torn = places.store / f"step-{KILL_STEP:04}"
    left = [path for path in torn.rglob("*") if path.is_file()] if torn.exists() else []
    listed = names(pyckpt.list(places.store))
    expected = [f"step-{step:04}" for step in range(KILL_STEP - EVERY, 0, -EVERY)]
    console.print(f"    {torn.name}/ holds {len(left)} files of the torn save and no root: it is no checkpoint")
    console.print(f"    listed: {', '.join(listed)}")
    need(listed == expected, f"the store lists {listed}, expected {expected}")
    newest = pyckpt.latest(places.store)
    need(newest is not None and newest.endswith(expected[0]), f"the newest checkpoint is {newest}")
    report = pyckpt.verify(str(newest), deep=True)
    need(report.ok, f"{newest} is damaged: {[str(finding) for finding in report.findings]}")
    console.print(f"    {expected[0]} verified: {report.bytes:,} bytes in {report.objects} objects, every digest right")
    return {"listed": listed, "torn_files": len(left), "newest": newest, "verified_bytes": report.bytes}


def resume(places: Places, newest: str) -> dict[str, Any]:
    """Third part: two ranks with tensor parallelism load what four with FSDP2 saved."""
    chapter("3  Resuming on 2 ranks with tensor parallelism")
    status, results = launch(places, "tp", 2, "--layout", "tp", "--resume", newest, "--seed", 2)
    need(status == 0 and len(results) == 2, f"the resumed training failed; see {places.build / 'tp.log'}")
    first = results[0]
    compared = first["compared"]
    need(compared["step"] == KILL_STEP - EVERY, f"resumed at step {compared['step']}")
    need(compared["tensors"] > 0 and not compared["differing"], f"not as saved: {compared['differing']}")
    console.print(f"    [green]all bits of {compared['tensors']} tensors equal[/green] those gathered at save time")
    return {
        "layout": "tensor parallel over 2 ranks",
        "load": first["load"],
        "compared": compared,
        "saves": first["saves"],
        "losses": first["losses"],
    }


def finish(places: Places, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Fourth part: losses of steps that both runs took, and the store at the end."""
    chapter("4  Afterwards")
    both = sorted(before["losses"].keys() & after["losses"].keys(), key=int)
    gap = max(abs(before["losses"][step] - after["losses"][step]) for step in both)
    start, last = before["losses"]["1"], after["losses"][str(LAST_STEP)]
    console.print(f"    steps {both[0]} to {both[-1]}, taken by both runs: losses differ by {gap:.1e} at most")
    console.print(f"    loss {start:.3f} at step 1, {last:.3f} at step {LAST_STEP}")
    need(gap < LOSS_GAP, f"the resumed run is another one: losses differ by {gap}")
    need(last < 0.7 * start, "the loss does not fall")
    swept = pyckpt.gc(places.store, grace=0.0)
    listed = names(pyckpt.list(places.store))
    expected = [f"step-{step:04}" for step in range(LAST_STEP, 0, -EVERY)]
    need(listed == expected, f"the store lists {listed}, expected {expected}")
    for name in listed:
        need(pyckpt.verify(places.store / name).ok, f"{name} does not verify")
    console.print(f"    gc removed {len(swept.keys)} leftovers; {', '.join(listed)} listed, all verified")
    return {"largest_loss_gap": gap, "listed": listed, "leftovers_removed": len(swept.keys)}


def publish(places: Places) -> dict[str, Any]:
    """Last part: the newest checkpoint as a directory from which transformers computes the same."""
    chapter("5  For everybody else")
    result_file, log = places.build / "published.json", places.build / "publish.log"
    command = [str(HERE / "publish.py"), "--checkpoint", str(pyckpt.latest(places.store))]
    command += ["--out", str(places.build / "published"), "--result", str(result_file)]
    command += ["--logits", str(places.build / "tp" / "logits.safetensors")]
    need(follow(log, command) == 0, f"the export failed; see {log}")
    result = json.loads(result_file.read_text())
    need(result["equal_bits"], "transformers computes other logits than the demo's own model in one process")
    need(result["gap_to_ranks"] < LOGIT_GAP, f"logits of the ranks differ by {result['gap_to_ranks']}")
    console.print("    transformers loads it: [green]all bits of the logits equal[/green] those of the demo's own code")
    console.print(f"    the 2 ranks, which add in another order, had the same but for {result['gap_to_ranks']:.1e}")
    console.print(f"    it writes: {result['sentence']!r}", markup=False)
    return result


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "demo", help="emptied, then filled")
    places = Places(parser.parse_args().build)
    begun = time.monotonic()
    shutil.rmtree(places.build, ignore_errors=True)
    places.reference.mkdir(parents=True)
    report: dict[str, Any] = {"pyckpt": pyckpt.__version__, "ok": False}
    reason = ""
    try:
        report["first_run"] = lose_a_rank(places)
        report["after_the_crash"] = look_at_store(places)
        report["second_run"] = resume(places, report["after_the_crash"]["newest"])
        report["end"] = finish(places, report["first_run"], report["second_run"])
        report["published"] = publish(places)
        report["ok"] = True
    except (DemoFailure, pyckpt.PyckptError) as error:
        report["reason"] = reason = str(error)
    report["seconds"] = time.monotonic() - begun
    (places.build / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"\n{report['seconds']:.0f} s; figures in {places.build / 'report.json'}", markup=False)
    if reason:
        console.print(f"demo: FAILED: {reason}", markup=False)
        return 1
    console.print("demo: OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
