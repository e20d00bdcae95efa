"""The operation `write` of the protocol."""

from __future__ import annotations

from collections.abc import Callable

from .commit import commit
from .dtypes import DTYPES
from .given import GivenWrite, read_write
from .messages import Message
from .operations import Unsupported, member
from .writable import WritableStore
from .writer import tensors_of


def write(request: Message, opened: Callable[[Message], WritableStore]) -> Message:
    """Save what a request gives; `opened` gives the store of a message."""
    given = read_write(request)
    _check_dtypes(given)
    store = opened(member(request, "store", dict))
    stores = [store if writer.store is None else opened(writer.store) for writer in given.writers]
    done = commit(given, store, stores)
    warnings = ["unchanged"] if done.unchanged else []
    return {"digest": done.digest, "attempt": done.attempt, "weak": done.weak, "warnings": warnings}


def _check_dtypes(given: GivenWrite) -> None:
    for writer in given.writers:
        for tree in writer.trees.values():
            for _, tensor in tensors_of(tree).values():
                if tensor.dtype not in DTYPES:
                    raise Unsupported(f"write-dtype:{tensor.dtype}")
