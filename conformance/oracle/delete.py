"""Deleting a checkpoint by the four steps of section 13.4 (SCF-DEL-001); only its root is removed (SCF-DEL-003)."""

from __future__ import annotations

from . import names
from .errors import Rejected
from .limits import MAX_ROOT_BYTES
from .opening import check_checkpoint_name
from .reach import tombstone_key
from .root import read_root, root_digest, too_large
from .store import NoSuchKey, TooLarge
from .writable import WritableStore

_TRIES = 3


def delete(store: WritableStore, checkpoint: str) -> None:
    """Delete a checkpoint; its objects are left to collection."""
    check_checkpoint_name(checkpoint)
    key = f"{checkpoint}/{names.ROOT}"
    try:
        data = store.get(key, MAX_ROOT_BYTES)
    except NoSuchKey:  # SCF-DEL-004
        message = f"there is no checkpoint {checkpoint}"
        raise Rejected("checkpoint.missing", message, subject=checkpoint, phase="delete") from None
    except TooLarge as large:
        raise too_large(checkpoint, large.size) from None
    digest = read_root(data, checkpoint, writing=True).digest
    store.put(tombstone_key(checkpoint, digest), data)  # SCF-DEL-002
    try:
        again = store.get(key)
    except NoSuchKey:
        return
    if root_digest(again) != digest:
        message = f"{checkpoint} became another checkpoint meanwhile"
        raise Rejected("usage.invalid", message, subject=checkpoint, phase="delete")
    _remove(store, key)


def _remove(store: WritableStore, key: str) -> None:
    """Remove the root; what is ambiguous is repeated."""
    for left in reversed(range(_TRIES)):
        try:
            store.delete(key)
            return
        except Rejected:
            if not left:
                raise
