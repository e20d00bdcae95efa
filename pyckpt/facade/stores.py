"""Calls on whole checkpoints and stores: verify, list, latest, copy, delete, gc, diff."""

from __future__ import annotations

import os

from pyckpt.engine.collect import GRACE_SECONDS, Collected, collect_garbage
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.delete import delete as delete_checkpoint
from pyckpt.engine.diff import DiffReport
from pyckpt.engine.diff import diff as diff_checkpoints
from pyckpt.engine.listing import list_checkpoints, newest
from pyckpt.engine.open import open_root
from pyckpt.engine.options import Progress
from pyckpt.engine.report import CopyReport, VerifyReport
from pyckpt.engine.threads import default_threads
from pyckpt.engine.verify import verify as verify_checkpoint
from pyckpt.facade.address import Url, locate, store_at
from pyckpt.storage.url import Place, checkpoint_url, names_store

__all__ = ["copy", "delete", "diff", "gc", "latest", "list_", "verify"]


def verify(url: Url | Place, *, deep: bool = True, progress: Progress | None = None) -> VerifyReport:
    """Checks a checkpoint; ``deep`` reads and checks every byte. Damage is listed in the report, never raised."""
    store, name = locate(url)
    return verify_checkpoint(store, name, deep=deep, threads=default_threads(), progress=progress)


def list_(store: Url) -> list[str]:
    """URLs of the committed checkpoints of a store, newest first. Those with a damaged root are not listed."""
    opened = store_at(store)
    return [checkpoint_url(opened.url, each.name) for each in list_checkpoints(opened) if each.root is not None]


def latest(store: Url) -> str | None:
    """URL of the newest committed checkpoint (highest sequence), or None."""
    opened = store_at(store)
    found = newest(opened)
    return None if found is None else checkpoint_url(opened.url, found.name)


def copy(
    src: Url,
    dst: Url,
    *,
    standalone: bool = False,
    verify: bool = True,
    accept_weak_store: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CopyReport:
    """Copies a checkpoint to another store or name, byte for byte: the copy has the same root digest.

    What it uses of other checkpoints comes along under the same names. Every digest is checked on the way. A copy that
    was broken off goes on where it stopped; ``verify=False`` believes what it finds there by its size. ``dst`` names
    the copy, such as ``s3://bucket/run/step_10``; one that ends with ``/`` is a store, and the name stays.
    """
    source, name = locate(src)
    target, target_name = locate(checkpoint_url(os.fspath(dst), name) if names_store(dst) else dst)
    return copy_checkpoint(
        source,
        name,
        target,
        target_name=target_name,
        standalone=standalone,
        verify=verify,
        accept_weak_store=accept_weak_store,
        threads=threads,
        progress=progress,
    )


def delete(url: Url, *, grace: float | None = None) -> None:
    """Deletes a checkpoint: it is gone at once; its bytes go with garbage collection after the grace period.

    With ``grace`` in seconds, its unreachable bytes that are older than this are collected right away.
    """
    store, name = locate(url)
    delete_checkpoint(store, name)
    if grace is not None:
        collect_garbage(store, grace=grace, only=lambda each: each == name)


def gc(store: Url, *, grace: float = GRACE_SECONDS, dry_run: bool = False) -> Collected:
    """Removes what no checkpoint of the store reaches and what is older than ``grace`` seconds."""
    return collect_garbage(store_at(store), grace=grace, dry_run=dry_run)


def diff(a: Url, b: Url, *, values: bool = False) -> DiffReport:
    """What differs between two checkpoints; ``values`` reads tensors that digests can't compare."""
    one, two = locate(a), locate(b)
    return diff_checkpoints(open_root(*one), open_root(*two), values=values)
