"""Finds the checkpoints of a store by listing roots; there is no pointer file that could be wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pyckpt.engine.open import root_bytes
from pyckpt.errors import NotFound, PyckptError
from pyckpt.format.keys import check_checkpoint_name
from pyckpt.format.root import Root, decode_root
from pyckpt.storage.base import Store

_log = logging.getLogger("pyckpt")

__all__ = ["Listed", "list_checkpoints", "newest"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One name of a store that has a root; either ``root`` or ``error`` is given."""

    name: str
    root: Root | None
    error: PyckptError | None


def list_checkpoints(store: Store) -> list[Listed]:
    """All names with a root, readable roots first, newest first; damaged ones last, with what is wrong."""
    found = list(_listed(store))
    found.sort(key=lambda listed: listed.name)
    found.sort(key=_order, reverse=True)
    return found


def _order(listed: Listed) -> tuple[int, str]:
    return (0, "") if listed.root is None else (listed.root.sequence, listed.root.digest)


def _listed(store: Store) -> Iterator[Listed]:
    for name in store.list_names(""):
        try:
            check_checkpoint_name(name)
            data = root_bytes(store, name)
        except NotFound:
            continue
        except PyckptError as error:
            if error.code == "key.invalid":
                continue
            yield Listed(name, None, error)
            continue
        try:
            yield Listed(name, decode_root(data, checkpoint=name), None)
        except PyckptError as error:
            yield Listed(name, None, error)


def newest(store: Store) -> Listed | None:
    """The checkpoint with the highest sequence among the readable roots, ties by digest; None if there is none.

    Logs a warning for every root that can't be read: one of them may have been the newest.
    """
    found = list_checkpoints(store)
    for listed in found:
        if listed.error is not None:
            _log.warning("the root of %r can't be read, so it is passed over: %s", listed.name, listed.error)
    return next((listed for listed in found if listed.root is not None), None)
