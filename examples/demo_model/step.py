"""One step of the demo as a process of its own: it reads arguments, works, and leaves its figures as JSON."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = Callable[[Path], dict[str, Any]]

QUESTION = "What is the capital of France?"
EXPECTED = "Paris"


def run_step(step: Step, description: str | None) -> None:
    """Calls ``step`` with the build directory and writes what it gives, with seconds and peak memory (MB)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    arguments = parser.parse_args()
    begin = time.monotonic()
    result = step(arguments.build)
    result["seconds"] = time.monotonic() - begin
    result["peak_mb"] = peak_mb()
    arguments.result.write_text(json.dumps(result, indent=1))


def peak_mb() -> float:
    """The most memory that this process has had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
