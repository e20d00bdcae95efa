"""Files that are kept with an item, given back byte for byte."""

from __future__ import annotations

from difflib import get_close_matches

from pyckpt.engine.open import OpenCheckpoint, descriptor_key, missing
from pyckpt.errors import Corrupt, LimitExceeded, NotFound
from pyckpt.format.digest import sha256_hex

__all__ = ["read_asset"]


def read_asset(opened: OpenCheckpoint, item: str, name: str) -> bytes:
    """An asset's bytes, checked against size and SHA-256 of the root.

    Raises NotFound ``item.missing`` or ``asset.missing``, Corrupt ``asset.size`` or ``asset.digest``.
    """
    assets = opened.entry(item).assets
    if name not in assets:
        near = get_close_matches(name, assets, n=3) or sorted(assets)[:3]
        hint = f"there are {', '.join(near)}" if near else "the item has no assets"
        raise NotFound("asset.missing", "the item has no asset of this name", key=f"{item}/{name}", hint=hint)
    stated = assets[name]
    key = descriptor_key(opened.name, stated)
    try:
        data = opened.store.get(key, limit=stated.size)
    except FileNotFoundError as error:
        raise missing("asset", stated.store_key is not None, f"the asset {name!r} of {item!r}", key) from error
    except LimitExceeded as error:
        raise Corrupt("asset.size", f"expected {stated.size} bytes, found more", key=key) from error
    if len(data) != stated.size:
        raise Corrupt("asset.size", f"expected {stated.size} bytes, found {len(data)}", key=key)
    found = sha256_hex(data)
    if found != stated.sha256:
        raise Corrupt("asset.digest", f"expected sha256 {stated.sha256}, found {found}", key=key)
    return data
