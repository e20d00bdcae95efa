"""An arm as a program of its own, with Python's library alone: writes the state's bytes to one file, and reads them.

python -m benchmarks run --exec-arm 'python benchmarks/exec_arm_example.py'
"""

import json
import mmap
import os
import sys
import time
from typing import Any


def main() -> None:
    """Answers one line for each line; the first one describes the work."""
    described = json.loads(sys.stdin.readline())
    if described["protocol"] != 1 or described["ranks"] > 1 or described["device"] != "cpu":
        answer({"unavailable": "knows protocol 1, one rank and the CPU"})
        return
    state, target = (mapped(described[which]["file"]) for which in ("state", "target"))
    answer(
        {
            "ready": True,
            "durable": True,
            "settings": {"about": "one file, written and synced by one thread"},
            "ways": {"save": [""], "load": [""]},
        }
    )
    for line in sys.stdin:
        command = json.loads(line)
        begin = time.perf_counter()
        if command["do"] == "close":
            return
        if command["do"] == "save":
            save(command["at"], state)
        elif command["do"] == "load":
            load(command["at"], target)
        answer({"seconds": time.perf_counter() - begin})


def mapped(path: str) -> memoryview:
    """The memory of all tensors of this rank; ``tensors`` in the description says where each lies."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0))


def save(path: str, state: memoryview) -> None:
    """Writes, and syncs."""
    with open(path, "wb") as file:
        file.write(state)
        file.flush()
        os.fsync(file.fileno())


def load(path: str, target: memoryview) -> None:
    """Reads into place."""
    with open(path, "rb", buffering=0) as file:
        at = 0
        while at < len(target):
            at += file.readinto(target[at:]) or 0


def answer(values: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
