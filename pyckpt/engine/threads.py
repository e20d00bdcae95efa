"""How many threads a process uses where the caller doesn't say."""

from __future__ import annotations

import os

__all__ = ["default_threads"]


def default_threads() -> int:
    """Threads for one rank: twice its share of the cores, from 2 to 16, so that some digest while others wait."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1)
    return max(2, min(16, 2 * (os.cpu_count() or 1) // max(1, ranks)))
