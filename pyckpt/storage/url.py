"""From what a user types to a store, and to the name of a checkpoint in it."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from pyckpt.errors import InvalidKey, UsageError
from pyckpt.storage.base import Store
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from pyckpt.storage.objects_options import SCHEMES, ObjectOptions

__all__ = ["Place", "checkpoint_url", "names_store", "open_store", "split_url"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://")
_CHECKPOINT: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class Place:
    """A checkpoint in a store that is open already, where a URL would lead to it."""

    store: Store
    name: str


def open_store(
    url: str | os.PathLike[str], *, io: str = "auto", objects: ObjectOptions | None = None, **options: Any
) -> Store:
    """Give the store of a directory path, ``file:``, ``memory:``, ``s3:``, ``az:``, ``gs:`` or a URL that fsspec knows.

    ``io`` is how a local store writes large objects; ``objects`` how an object store is reached, before what its URL
    says; ``options`` are fsspec's storage options, which make it the engine of object stores too. UsageError.
    """
    text = _text(url)
    scheme, rest = _split_scheme(text)
    if objects is not None and (scheme not in SCHEMES or options):
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UsageError("usage.invalid", f"options of object stores go with {known} and with no others", key=text)
    if scheme in SCHEMES and not options:
        if importlib.util.find_spec("obstore") is not None:
            from pyckpt.storage.objects import ObjectStore

            return ObjectStore(f"{scheme}://{rest}", objects)
        if objects is not None or "?" in rest:
            raise UsageError(
                "usage.invalid", "these options take the package obstore", key=text, hint="pip install 'pyckpt[s3]'"
            )
    if scheme not in ("", "file", "memory"):
        from pyckpt.storage.fsspec_store import FsspecStore

        return FsspecStore(text, **options)
    if options:
        raise UsageError("usage.invalid", f"a local store takes no storage options, found {sorted(options)}", key=text)
    if scheme == "memory":
        return MemoryStore(_strip(rest))
    return LocalStore(_file_path(rest, text) if scheme == "file" else text, io)


def split_url(url: str | os.PathLike[str]) -> tuple[str, str]:
    """Give the store and the checkpoint name that a checkpoint's URL or path is made of.

    ``run/step_10`` -> (``run``, ``step_10``); a bare name is in the current directory; trailing slashes do not count.
    What follows ``?`` in the URL of an object store belongs to the store.
    UsageError if the URL has no room for both; InvalidKey if the last part is no checkpoint name.
    """
    text = _text(url)
    scheme, rest = _split_scheme(text)
    rest, query = _split_query(scheme, rest)
    store, slash, name = rest.rstrip("/").rpartition("/")
    if not _CHECKPOINT.fullmatch(name) or name in (".", ".."):
        raise InvalidKey(
            "key.invalid",
            f"expected a checkpoint name of 1 to 128 letters, digits, '.', '_' and '-', found {name!r}",
            key=text,
            hint="the last part of the path or URL names the checkpoint, what is before it the store",
        )
    store = store.rstrip("/")
    if not scheme:
        return (store or ("/" if slash else ".")), name
    if not slash or (not store and scheme != "file"):
        raise UsageError("usage.invalid", "expected a store and a checkpoint: s3://bucket/run/step_10", key=text)
    return f"{scheme}://{store or '/'}{query}", name


def checkpoint_url(store: str, name: str) -> str:
    """Give the URL of a checkpoint in a store: what ``split_url`` takes apart."""
    scheme, rest = _split_scheme(store)
    rest, query = _split_query(scheme, rest)
    return f"{store[: len(store) - len(rest) - len(query)]}{rest.rstrip('/')}/{name}{query}"


def names_store(url: str | os.PathLike[str]) -> bool:
    """Whether a URL ends with ``/``: where a checkpoint is to be put, that is a store, and the name is open."""
    path, _ = _split_query(*_split_scheme(_text(url)))
    return path.endswith("/")


def _text(url: str | os.PathLike[str]) -> str:
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        hint = "pyckpt.latest gives None where a store has no checkpoint" if url is None else ""
        raise UsageError("usage.invalid", f"expected a path or URL, found {url!r}", hint=hint)
    return text


def _split_scheme(text: str) -> tuple[str, str]:
    match = _SCHEME.match(text)
    return (match[1].lower(), text[match.end() :]) if match else ("", text)


def _split_query(scheme: str, rest: str) -> tuple[str, str]:
    """Give what is before ``?``, and the rest with it; keys of other schemes may contain one."""
    path, mark, query = rest.partition("?") if scheme in SCHEMES else (rest, "", "")
    return path, mark + query


def _strip(rest: str) -> str:
    return rest.strip("/")


def _file_path(rest: str, text: str) -> str:
    path = unquote(rest.removeprefix("localhost"))
    if not path.startswith("/"):
        raise UsageError("usage.invalid", "expected an absolute path, as in file:///data/run", key=text)
    return path
