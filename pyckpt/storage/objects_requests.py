"""Requests about small objects of one bucket, each with its retries and within the deadline."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import obstore

from pyckpt.storage.objects_errors import was_cut_off
from pyckpt.storage.objects_loop import wait
from pyckpt.storage.objects_options import ObjectOptions

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureStore, GCSStore, S3Store

__all__ = ["Requests", "pause"]

_T = TypeVar("_T")


def pause(attempt: int) -> float:
    """Give seconds before the next attempt, drawn by lot."""
    return random.uniform(0.05, 0.2) * float(2**attempt)  # noqa: S311  a pause, not a secret


class Requests:
    """What is asked of a server, by paths within the bucket; raises what the engine raises."""

    def __init__(self, store: S3Store | AzureStore | GCSStore, options: ObjectOptions) -> None:
        self.store = store
        self.deadline = options.deadline
        self._longest = options.deadline + options.timeout
        self._retries = options.retries

    def ask(self, begin: Callable[[], Coroutine[Any, Any, _T]], *, several: bool = False) -> _T:
        """Carry out a request that may be repeated, and wait for it; ``several`` requests have no bound together."""
        return wait(lambda: self.repeated(begin, several=several))

    async def repeated(self, begin: Callable[[], Coroutine[Any, Any, _T]], *, several: bool = False) -> _T:
        """Carry out a request that may be repeated, in the loop of requests."""
        # The engine looks at its deadline between requests only: the last one may take its own time.
        longest = None if several else self._longest
        end = time.monotonic() + self.deadline
        attempt = 0
        while True:
            try:
                return await asyncio.wait_for(begin(), longest)
            except Exception as error:
                seconds = pause(attempt)
                attempt += 1
                if not was_cut_off(error) or attempt > self._retries or time.monotonic() + seconds > end:
                    raise
            await asyncio.sleep(seconds)

    def write(self, path: str, content: bytes) -> None:
        """Store an object, over one that is there."""
        self.ask(lambda: obstore.put_async(self.store, path, content, use_multipart=False))

    def create(self, path: str, content: bytes) -> None:
        """Store an object if there is none; the engine may repeat the request, and then meets its own object."""

        async def create() -> None:
            request = obstore.put_async(self.store, path, content, mode="create", use_multipart=False)
            await asyncio.wait_for(request, self._longest)

        wait(create)

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
