"""``python -m benchmarks run`` and ``report``: the harness. ``python -m benchmarks SUITE …``: figures that notes quote.

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from functools import partial

from benchmarks.background import background
from benchmarks.copies import copies
from benchmarks.harness import command, report_command
from benchmarks.incremental import incremental
from benchmarks.metadata import metadata
from benchmarks.on_ranks import on_ranks
from benchmarks.planning import plan
from benchmarks.reshard import CASES
from benchmarks.single import big, load, small
from benchmarks.timing import wipe, write_json

SUITES = {
    "small": small,
    "big": big,
    "load": load,
    "metadata": metadata,
    "plan": plan,
    "async": background,
    "copy": copies,
}
"""Of one process."""


def main() -> None:
    """Runs the suites that are named and prints a table each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, "incremental", "reshard", []], default=[])
    parser.add_argument("--dir", default="build/benchmarks", help="where checkpoints are written and removed")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the suite incremental: size of the model")
    parser.add_argument("--json", help="file for the raw figures")
    parser.add_argument("--ranks", type=int, default=4, help="of the suite reshard, unless torchrun has started it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the suite reshard")
    parser.add_argument("--cases", help=f"of the suite reshard, with commas between: {', '.join(CASES)}")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    records: list[dict[str, object]] = []
    suites = {**SUITES, "incremental": partial(incremental, megabytes=arguments.megabytes)}
    for suite in arguments.suites or suites:
        if suite == "reshard":
            records += on_ranks(
                arguments.cases, arguments.ranks, arguments.device, arguments.repetitions, arguments.dir
            )
            continue
        directory = os.path.abspath(os.path.join(arguments.dir, suite))
        for arms, size in suites[suite](directory, arguments.repetitions):
            print(arms.table(size), end="\n\n", flush=True)
            records.append(arms.record(size))
        wipe(directory)
    if int(os.environ.get("RANK", "0")) == 0:
        write_json(arguments.json, records)


HARNESS = {"run": command.run, "report": report_command.report}
"""What has arguments of its own."""

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in HARNESS:
        sys.exit(HARNESS[sys.argv[1]](sys.argv[2:]))
    main()
