"""What writers, committers and collectors need of a store (chapter 4), and what they build on it."""

from __future__ import annotations

import contextlib
import secrets
from typing import Literal, Protocol

from .errors import Rejected
from .store import NoSuchKey, Store, TooLarge

_TRIES = 3
Claim = Literal["created", "same", "taken"]


class Ambiguous(Exception):
    """A create-if-absent that failed, or that succeeded and failed on the way back (section 4.5)."""


class WritableStore(Store, Protocol):
    """The operations that change a store; each failure is `store.io`."""

    certain: bool
    """Whether create-if-absent is honoured by construction (section 4.4)."""

    def create(self, key: str, data: bytes) -> None:
        """A new object under a key that was never used; durable (SCF-STORE-003)."""

    def create_if_absent(self, key: str, data: bytes) -> bool:
        """Whether a new object was created; False if the key is taken (SCF-STORE-004). Ambiguous."""

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object."""

    def delete(self, key: str) -> None:
        """Remove an object; an absent one is no failure (SCF-STORE-008)."""

    def clock(self) -> float:
        """The store's time, in seconds, comparable with the times in listings (SCF-STORE-009)."""


def claim(store: WritableStore, key: str, data: bytes, *, weak: bool = False) -> Claim:
    """Create an object if its key is free; ambiguous outcomes are cleared up by a look (SCF-STORE-017).

    `created`: this call did it. `same`: there is one with these bytes, made by this call or not. `taken`: there is one
    with other bytes. `weak` is the guarantee of a store without the condition: a plain put, after the key was found
    absent (SCF-STORE-015).
    """
    if weak and not exists(store, key):
        store.put(key, data)
        return "created"
    clear = True
    for _ in range(_TRIES):
        try:
            clear = True
            if not weak and store.create_if_absent(key, data):
                return "created"
        except Ambiguous:
            clear = False
        there = holds(store, key, data)
        if there is not None:
            return "same" if there else "taken"
    if clear:
        return "taken"
    raise Rejected("store.io", f"{_TRIES} tries to create the object had no clear outcome", subject=key)


def exists(store: Store, key: str) -> bool:
    """Whether there is an object under the key; no other failure is absence (SCF-STORE-013)."""
    try:
        store.size(key)
    except NoSuchKey:
        return False
    return True


def holds(store: Store, key: str, data: bytes) -> bool | None:
    """Whether the object has these bytes; None if there is none."""
    try:
        return store.get(key, len(data)) == data
    except TooLarge:
        return False
    except NoSuchKey:
        return None


def honours_condition(store: WritableStore, checkpoint: str) -> bool:
    """Whether the store refuses to create a key twice, found out by the probe of section 4.4."""
    if store.certain:
        return True
    key = f"{checkpoint}/.probe-{secrets.token_hex(8)}"
    first, second = secrets.token_bytes(16), secrets.token_bytes(16)
    if claim(store, key, first) == "taken":
        return False
    try:
        return not _created(store, key, second) and holds(store, key, first) is True
    finally:
        discard(store, key)


def _created(store: WritableStore, key: str, data: bytes) -> bool:
    """The answer of the probe's second call; an ambiguous one says nothing about the condition."""
    for _ in range(_TRIES):
        with contextlib.suppress(Ambiguous):
            return store.create_if_absent(key, data)
    raise Rejected("store.io", "the probe of create-if-absent had no clear outcome", subject=key)


def discard(store: WritableStore, key: str) -> None:
    """Remove an object as far as that works; what stays is collected (SCF-LAYOUT-011, SCF-COMMIT-010)."""
    with contextlib.suppress(Rejected):
        store.delete(key)
