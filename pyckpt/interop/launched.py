"""The process group of a command that a launcher such as torchrun has started on several ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pyckpt.errors import UsageError

__all__ = ["launched_ranks"]


@contextmanager
def launched_ranks() -> Iterator[int]:
    """Gives this process's rank; makes a gloo group first, and ends it after, if the environment speaks of several.

    Raises UsageError if it does and torch is not installed.
    """
    ranks = os.environ.get("WORLD_SIZE", "1")
    if "RANK" not in os.environ or ranks == "1":
        yield 0
        return
    if find_spec("torch") is None:
        raise UsageError("usage.invalid", f"WORLD_SIZE is {ranks}, and several ranks need torch", hint="install torch")
    import torch.distributed as dist

    if dist.is_initialized():
        yield dist.get_rank()
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()
