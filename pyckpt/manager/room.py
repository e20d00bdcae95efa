"""Says when a local disk is nearly full, before the save that does not fit."""

from __future__ import annotations

import shutil
from contextlib import suppress

from pyckpt.storage.base import Store
from pyckpt.storage.local import LocalStore

__all__ = ["tight"]


def tight(store: Store, needed: int) -> str:
    """What is to be said if a local store has fewer than ``needed`` bytes free; empty for any other store."""
    if needed and isinstance(store, LocalStore):
        # The directory may not exist yet; whatever else is wrong with it, the save will say.
        with suppress(OSError):
            free = shutil.disk_usage(store.root).free
            if free < needed:
                return f"only {free} bytes are free in {store.root}"
    return ""
