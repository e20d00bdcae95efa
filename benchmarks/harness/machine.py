"""The machine that a run was made on, and what could not be controlled there."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from benchmarks.harness.cold import filesystem

__all__ = ["describe", "load_average", "uncontrolled"]

PACKAGES = (
    "torch", "numpy", "safetensors", "blake3", "zstandard", "obstore", "torchsnapshot", "orbax-checkpoint", "jax",
    "tensorstore", "bytecheckpoint", "torch-checkpointing",
)  # fmt: skip
IDLE = 0.5
"""Load average above which other work is assumed to disturb."""


def describe(places: Iterable[str], device: str) -> dict[str, object]:
    """Processor, memory, kernel, file systems and versions, for the result."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) << 10,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_systems": {path: filesystem(path) for path in places},
        "huge_pages": _text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": "hypervisor" in (_field("/proc/cpuinfo", "flags") or ""),
        "device": device,
        "devices": _devices() if device == "cuda" else [],
        "versions": versions,
    }


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def uncontrolled(machine: dict[str, object], load_begin: float) -> list[str]:
    """Sentences on what may have disturbed the run."""
    said = []
    if load_begin > IDLE:
        said.append(f"the load average was {load_begin:.1f} when the run began: other work shared the machine")
    if machine["virtual"]:
        said.append("a virtual machine: the host's caches of the disk, and its other guests, were not controlled")
    if machine["governor"] is None:
        said.append("the processor's frequency was not controlled, and the system doesn't show its governor")
    elif machine["governor"] != "performance":
        said.append(f"the processor's governor is {machine['governor']}: its frequency varies")
    return said


def _devices() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def _field(path: str, name: str) -> str | None:
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
