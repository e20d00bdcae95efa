"""How many threads a process uses where the caller doesn't say."""

from __future__ import annotations

import os

__all__ = ["default_threads"]


def default_threads() -> int:
    """Threads for one rank: its share of the cores, from 2 to 8."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1)
    return max(2, min(8, (os.cpu_count() or 2) // max(1, ranks)))
