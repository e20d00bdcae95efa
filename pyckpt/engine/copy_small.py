"""Brings manifests and assets over, each read whole and checked by its SHA-256."""

from __future__ import annotations

from pyckpt.engine.copy_plan import SmallObject
from pyckpt.engine.open import missing
from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.format.digest import sha256_hex
from pyckpt.storage.base import AlreadyThere, Store

__all__ = ["holds", "read_small", "send_small", "taken"]


def read_small(source: Store, what: SmallObject) -> bytes:
    """The object's bytes, checked. Raises Corrupt and NotFound ``manifest.*``, ``asset.*``, ``external.missing``."""
    try:
        data = source.get(what.key, limit=what.size)
    except FileNotFoundError as error:
        raise missing(what.kind, what.is_external, f"the {what.kind}", what.key) from error
    except LimitExceeded as error:
        raise Corrupt(f"{what.kind}.size", f"expected {what.size} bytes, found more", key=what.key) from error
    if len(data) != what.size:
        raise Corrupt(f"{what.kind}.size", f"expected {what.size} bytes, found {len(data)}", key=what.key)
    found = sha256_hex(data)
    if found != what.sha256:
        raise Corrupt(f"{what.kind}.digest", f"expected sha256 {what.sha256}, found {found}", key=what.key)
    return data


def send_small(source: Store, target: Store, what: SmallObject, *, renew: bool = False) -> None:
    """Copies the object. An asset's key may be anybody's: it is created if it is free, never replaced.

    ``renew`` writes the same bytes over those that were seen to lie there. Raises Corrupt ``asset.digest`` if others
    lie there.
    """
    data = read_small(source, what)
    if what.kind == "manifest" or renew:
        target.put(what.target, data)
        return
    try:
        target.put_new(what.target, data)
    except AlreadyThere as error:
        if not holds(target, what):
            raise taken(what) from error


def holds(target: Store, what: SmallObject) -> bool:
    """Whether the target has exactly this object at its key."""
    try:
        data = target.get(what.target, limit=what.size)
    except (FileNotFoundError, LimitExceeded):
        return False
    return len(data) == what.size and sha256_hex(data) == what.sha256


def taken(what: SmallObject) -> Corrupt:
    """The error of another file at the key of an asset."""
    return Corrupt(
        "asset.digest",
        f"the target has another file there, expected sha256 {what.sha256}",
        key=what.target,
        hint="a copy keeps the keys: remove that file after a look, or copy under another name",
    )
