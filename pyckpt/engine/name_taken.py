"""What becomes of a commit whose checkpoint's name is taken already, or seems to be."""

from __future__ import annotations

from pyckpt.engine.open import root_bytes
from pyckpt.errors import AlreadyExists, PyckptError, SaveAborted
from pyckpt.format.keys import root_key
from pyckpt.storage.base import AlreadyThere, Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["check_own_root", "exists"]


def check_own_root(store: Store, checkpoint: str, data: bytes, error: AlreadyThere) -> None:
    """Makes sure that the root that is in the way has just these bytes.

    Raises AlreadyExists for another one; SaveAborted if it can't be got, because somebody has deleted it perhaps: it
    may have been one's own, or a request that is still under way may create it yet.
    """
    try:
        found = root_bytes(store, checkpoint)
    except PyckptError as lost:
        raise SaveAborted(
            "save.aborted",
            f"another root was in the way, or this one from a first try, and can't be got to see which: {lost.message}",
            key=root_key(checkpoint),
            hint="nothing was removed; see with pyckpt.list whether the checkpoint exists, then try again",
        ) from error
    if found != data:
        raise exists(store, checkpoint) from error


def exists(store: Store, checkpoint: str) -> AlreadyExists:
    """The error of a name that is taken."""
    return AlreadyExists(
        "checkpoint.exists",
        "a committed checkpoint has this name already, and a checkpoint never changes",
        key=checkpoint_url(store.url, checkpoint),
        hint="choose another name, or delete it first",
    )
