"""Peak resident memory of processes, where the system tells (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["PeakMemory"]

_PROC = Path("/proc")
_RESET_PEAK = "5"
_LINE = re.compile(r"^(VmHWM|VmRSS):\s+([0-9]+) kB$", re.MULTILINE)


class PeakMemory:
    """Growth of the peak of all processes of a session since this was made; of those that still run."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._before: dict[int, int] = {}
        self._known = True
        for pid in _members(session):
            try:
                (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)
            except OSError:
                self._known = False
            self._before[pid] = _peak(pid) or 0
        self._known = self._known and bool(self._before)

    def growth(self) -> int | None:
        """Bytes; None if the system does not tell."""
        if not self._known:
            return None
        grown = [(_peak(pid) or 0) - self._before.get(pid, 0) for pid in _members(self._session)]
        return sum(max(0, each) for each in grown)


def _members(session: int) -> list[int]:
    """The processes of a session."""
    try:
        names = [name for name in os.listdir(_PROC) if name.isdecimal()]
    except OSError:
        return []
    return [int(name) for name in names if _session_of(int(name)) == session]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _peak(pid: int) -> int | None:
    """The highest resident size since the peak was reset, in bytes."""
    try:
        text = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    found = {name: int(size) << 10 for name, size in _LINE.findall(text)}
    return found.get("VmHWM", found.get("VmRSS"))
