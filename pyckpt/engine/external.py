"""Other checkpoints of the store: which one a caller means, and whether it may still be referenced.

A checkpoint stands if its root is there with the expected digest and its deletion has not begun. The root is read
first and the tombstone looked for after it, so that an answer holds for the moment of that second look.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import root_bytes
from pyckpt.errors import Corrupt, NotFound, PyckptError, StoreError, UsageError
from pyckpt.format.keys import check_checkpoint_name, tombstone_key
from pyckpt.format.manifest import Manifest
from pyckpt.format.root import Root, decode_root
from pyckpt.storage.base import Store
from pyckpt.storage.url import checkpoint_url, open_store, split_url

__all__ = ["NEWEST", "Where", "lost_externals", "name_in", "newest_standing", "referenced_size", "standing_root"]

Where = str | os.PathLike[str]
"""A checkpoint of the store at hand: its URL or path, its name alone, or ``newest``."""
NEWEST = "newest"
LOOKS = 8
"""Checkpoints that are looked at at a time."""


def name_in(store: Store, where: Where) -> str:
    """The name that ``where``, a URL or a plain name, has in this store. UsageError if it is of another store."""
    text = os.fspath(where)
    if "/" not in text and os.sep not in text:
        check_checkpoint_name(text)
        return text
    parent, name = split_url(text)
    if open_store(parent).url != store.url:
        raise UsageError(
            "usage.invalid",
            f"a checkpoint of another store than {store.url!r}, to which a reference can't lead",
            key=text,
            hint="name one of the same store, or save without the reference",
        )
    return name


def newest_standing(store: Store) -> tuple[Root, str] | None:
    """Root and name of the newest checkpoint that may be referenced; None if there is none. StoreError."""
    for listed in list_checkpoints(store):
        if listed.root is not None:
            try:
                return standing_root(store, listed.name, listed.root.digest), listed.name
            except StoreError:
                raise
            except PyckptError:
                continue
    return None


def standing_root(store: Store, name: str, digest: str | None = None) -> Root:
    """The root of a checkpoint that may be referenced, which has ``digest`` where one is given.

    Raises NotFound ``checkpoint.missing``, Corrupt ``external.digest``, ``external.missing`` (its deletion has begun)
    or ``root.*``, Unsupported for features that whoever references must know.
    """
    root = decode_root(root_bytes(store, name), for_writing=True, checkpoint=name)
    if digest is not None and root.digest != digest:
        raise Corrupt(
            "external.digest",
            f"expected the checkpoint {digest}, found {root.digest}: the name was deleted and saved again",
            key=checkpoint_url(store.url, name),
        )
    if store.info(tombstone_key(name, root.digest)) is not None:
        raise Corrupt("external.missing", "its deletion has begun", key=checkpoint_url(store.url, name))
    return root


def lost_externals(store: Store, checkpoint: str, external: Mapping[str, str]) -> dict[str, PyckptError]:
    """Of the checkpoints (name -> root digest) that a new one named ``checkpoint`` uses, those that it may not.

    What the store fails to say is raised: StoreError.
    """
    with ThreadPoolExecutor(LOOKS, thread_name_prefix="pyckpt-look") as pool:
        found = list(pool.map(lambda each: _why_lost(store, checkpoint, *each), external.items()))
    return {name: error for name, error in zip(external, found, strict=True) if error is not None}


def _why_lost(store: Store, checkpoint: str, name: str, digest: str) -> PyckptError | None:
    if name == checkpoint:
        return Corrupt(
            "external.missing",
            "the new checkpoint has the name of the one that it would reference, which was deleted",
            key=checkpoint_url(store.url, name),
            hint="save it under another name",
        )
    try:
        standing_root(store, name, digest)
    except StoreError:
        raise
    except NotFound:
        return Corrupt("external.missing", "its root is gone", key=checkpoint_url(store.url, name))
    except PyckptError as error:
        return error
    return None


def referenced_size(manifests: Mapping[str, Manifest]) -> tuple[int, int]:
    """(bytes as stored, shards) that lie in objects of other checkpoints."""
    size = count = 0
    for manifest in manifests.values():
        elsewhere = np.array([row.store_key is not None for row in manifest.objects] or [False])
        rows = elsewhere[manifest.shards.object]
        size += int(manifest.shards.stored[rows].sum())
        count += int(rows.sum())
    return size, count
