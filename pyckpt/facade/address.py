"""Where a call goes: the store that a URL names, and the checkpoint in it."""

from __future__ import annotations

import os

from pyckpt.storage.base import Store
from pyckpt.storage.url import Place, open_store, split_url

__all__ = ["Url", "locate", "store_at"]

Url = str | os.PathLike[str]


def locate(url: Url | Place, *, io: str = "auto") -> tuple[Store, str]:
    """The store of a checkpoint's URL, and the checkpoint's name there."""
    if isinstance(url, Place):
        return url.store, url.name
    store_url, name = split_url(url)
    return open_store(store_url, io=io), name


def store_at(url: Url) -> Store:
    """The store of a store's URL."""
    return open_store(url)
