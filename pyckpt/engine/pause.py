"""Holds the cyclic garbage collector off while thousands of small objects are made.

Planning 20,000 tensors allocates a few hundred thousand objects that all live until the end. The collector would walk
them, and every object of the training program, again and again: half of the time of such a save.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["no_cycle_collection"]

_lock = Lock()
_state = {"depth": 0, "enabled": False}


@contextmanager
def no_cycle_collection() -> Iterator[None]:
    """Turns automatic collection off for the block, in all threads; nests; restores what was there before."""
    with _lock:
        if _state["depth"] == 0:
            _state["enabled"] = gc.isenabled()
            gc.disable()
        _state["depth"] += 1
    try:
        yield
    finally:
        with _lock:
            _state["depth"] -= 1
            if _state["depth"] == 0 and _state["enabled"]:
                gc.enable()
