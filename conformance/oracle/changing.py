"""The operations of the protocol that change stores, and restore: they join those that read."""

from __future__ import annotations

from collections.abc import Callable

from .collect import collect
from .copying import copy
from .delete import delete
from .dir_writer import WritableDirectory
from .dtypes import DTYPES
from .given_tree import READERS
from .messages import Message, usage
from .operations import OPERATIONS, OPTIONS, PROFILES, STORES, Unsupported, member, open_store
from .restore import restore
from .s3_store import S3Store
from .store import Store
from .writable import WritableStore
from .write import write

_PROFILES = ["write", "sharded-write", "transaction", "lifecycle", "state"]
_OPTIONS = [
    "s3",
    "carry",
    "copy",
    "weak-store",
    "dry-run",
    "write-codec:zstd",
    "write-codec:planes",
    "write-digest:blake3",
    "write-digest:sha256",
    "write-block",
    "restore:optimizer",
    "restore:model",
    "restore:value",
    "restore:rng",
    *(f"write-node:{node}" for node in READERS if node != "unsupported"),
    *(f"write-dtype:{dtype}" for dtype in DTYPES),
]


def _directory(message: Message) -> WritableStore:
    return WritableDirectory(member(message, "path", str))


def _s3(message: Message) -> WritableStore:
    endpoint, bucket, prefix = (member(message, name, str) for name in ("endpoint", "bucket", "prefix"))
    return S3Store(endpoint, bucket, prefix)


_STORES: dict[str, Callable[[Message], WritableStore]] = {"directory": _directory, "s3": _s3}


def _opened(message: Message) -> WritableStore:
    kind = member(message, "kind", str)
    if kind not in _STORES:
        raise Unsupported(kind)
    return _STORES[kind](message)


def _store(request: Message, name: str = "store") -> WritableStore:
    return _opened(member(request, name, dict))


def _reading(request: Message) -> Store:
    return open_store(member(request, "store", dict))


def _delete(request: Message) -> Message:
    delete(_store(request), member(request, "checkpoint", str))
    return {}


def _gc(request: Message) -> Message:
    grace = request.get("grace")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, (int, float)) or grace < 0):
        raise usage(f"grace is {grace!r}")
    dry_run = member(request, "dry_run", bool, default=False)
    return {"removed": collect(_store(request), grace, dry_run=dry_run)}


def _copy(request: Message) -> Message:
    names = (member(request, name, str) for name in ("checkpoint", "as"))
    checkpoint, name = names
    return {"digest": copy(_reading(request), checkpoint, _store(request, "to"), name)}


def register() -> None:
    """Let the executable claim all profiles."""
    STORES.update(_STORES)
    PROFILES.extend(profile for profile in _PROFILES if profile not in PROFILES)
    OPTIONS.extend(option for option in _OPTIONS if option not in OPTIONS)
    OPERATIONS.update(
        {
            "write": lambda request: write(request, _opened),
            "delete": _delete,
            "gc": _gc,
            "copy": _copy,
            "restore": lambda request: restore(request, _reading(request)),
        },
    )
