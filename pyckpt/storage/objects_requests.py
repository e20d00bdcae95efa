"""Requests about small objects of one bucket, each with its retries and within the deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import obstore

from pyckpt.storage.objects_loop import wait
from pyckpt.storage.objects_options import ObjectOptions

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureStore, GCSStore, S3Store

__all__ = ["Requests"]

_T = TypeVar("_T")


class Requests:
    """What is asked of a server, by paths within the bucket; raises what the engine raises."""

    def __init__(self, store: S3Store | AzureStore | GCSStore, options: ObjectOptions) -> None:
        self.store = store
        self.deadline = options.deadline
        self._longest = options.deadline + options.timeout

    def ask(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Carry out one request and wait for it."""
        return wait(lambda: self.bounded(begin))

    async def bounded(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Carry out one request in the loop of requests."""
        # The engine looks at its deadline between requests only: the last one may take its own time.
        return await asyncio.wait_for(begin(), self._longest)

    def write(self, path: str, content: bytes, *, create: bool = False) -> None:
        """Store an object; with ``create``, only if there is none."""
        mode = "create" if create else "overwrite"
        self.ask(lambda: obstore.put_async(self.store, path, content, mode=mode, use_multipart=False))  # type: ignore[arg-type]

    def read(self, path: str) -> bytes:
        """Give a whole object."""

        async def read() -> bytes:
            return bytes(await (await obstore.get_async(self.store, path)).bytes_async())

        return self.ask(read)

    def content(self, path: str) -> bytes | None:
        """Give a whole object, None if it can't be read."""
        with contextlib.suppress(Exception):
            return self.read(path)
        return None

    def head(self, path: str) -> ObjectMeta:
        """Give size and time of an object."""
        return self.ask(lambda: obstore.head_async(self.store, path))

    def delete(self, path: str) -> None:
        """Remove an object."""
        self.ask(lambda: obstore.delete_async(self.store, path))

    def forget(self, path: str) -> None:
        """Remove an object that nobody will miss if it stays."""
        with contextlib.suppress(Exception):
            self.delete(path)
