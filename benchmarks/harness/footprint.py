"""What a process and its children used: peak memory, processor seconds, bytes by calls and of the device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Footprint", "Usage", "resident"]

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of a process tree, or the growth between two readings of them."""

    cpu: float = 0.0
    """Seconds of user and system time."""
    calls_read: int = 0
    """Bytes returned by read calls, from cache or device."""
    calls_written: int = 0
    device_read: int = 0
    """Bytes that the process caused to be read from a device, mapped files too."""
    device_written: int = 0
    peak: int = 0
    """Bytes of resident memory at its highest, above what the process held when the arm was opened."""

    def since(self, before: Usage) -> Usage:
        """Growth of the counters; the peak as it is."""
        return Usage(
            self.cpu - before.cpu,
            self.calls_read - before.calls_read,
            self.calls_written - before.calls_written,
            self.device_read - before.device_read,
            self.device_written - before.device_written,
            self.peak,
        )


class Footprint:
    """Watches one process from outside, so that arms of any language are measured alike."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.base = resident(pid)

    def begin(self) -> Usage:
        """Starts a new high-water mark; the counters now."""
        for pid in tree(self.pid):
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                continue
        return self.now()

    def now(self) -> Usage:
        """The counters of the process and its living descendants; peaks of children are added to the parent's."""
        cpu = 0.0
        counts = dict.fromkeys(("rchar", "wchar", "read_bytes", "write_bytes"), 0)
        peak = _status(self.pid, "VmHWM") - self.base
        for pid in tree(self.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
            except OSError:
                continue
            # utime, stime and those of children that were waited for.
            cpu += sum(int(fields[at]) for at in (11, 12, 13, 14)) * TICK
            for line in lines:
                name, _, value = line.partition(": ")
                if name in counts:
                    counts[name] += int(value)
            if pid != self.pid:
                peak += _status(pid, "RssAnon")
        return Usage(cpu, counts["rchar"], counts["wchar"], counts["read_bytes"], counts["write_bytes"], max(0, peak))


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for each in found:
        try:
            for task in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    """Bytes of resident memory of one process."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0
