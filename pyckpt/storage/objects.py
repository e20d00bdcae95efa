"""A store in a bucket of any server that speaks the S3 protocol, with obstore as the engine."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from pyckpt.errors import LimitExceeded, StoreError, UsageError
from pyckpt.storage.base import (
    AlreadyThere,
    Bytes,
    ObjectInfo,
    ObjectMissing,
    check_key,
    check_prefix,
    is_reserved,
    read_whole,
)
from pyckpt.storage.objects_errors import refuses_conditions, translated
from pyckpt.storage.objects_loop import wait
from pyckpt.storage.objects_options import ObjectOptions, connect, with_query
from pyckpt.storage.objects_read import RangeReader
from pyckpt.storage.objects_write import Memory, PartMemory, PartWriter

__all__ = ["ObjectStore"]

_T = TypeVar("_T")
_SCHEME: Final = "s3://"
_PAGE: Final = 1000
_TAKEN: Final = (AlreadyExistsError, PreconditionError)
_ATTEMPTS: Final = 4
"""Of a conditional create that gets no clear answer: servers refuse some when several come at the same moment."""


class ObjectStore:
    """A prefix of a bucket as a store: ``s3://bucket/run``, with fields of ``ObjectOptions`` after ``?``.

    Create-if-absent is probed once, when first needed: some servers answer a conditional write with success and
    overwrite. Where it is not honoured, a look and then a plain write take its place.
    """

    parallel_writes = False

    def __init__(self, url: str, options: ObjectOptions | None = None) -> None:
        if not url.startswith(_SCHEME):
            raise UsageError("usage.invalid", f"expected a URL that begins with {_SCHEME}", key=url)
        path, mark, query = url.partition("?")
        path = path.rstrip("/")
        bucket, _, base = path[len(_SCHEME) :].partition("/")
        if not bucket:
            raise UsageError("usage.invalid", "expected a bucket: s3://bucket/run", key=url)
        check_prefix(f"{base}/" if base else "")
        self.url = path + mark + query
        self._base = f"{base}/" if base else ""
        self._options = with_query(options or ObjectOptions(), query, url)
        self._store = connect(bucket, self._options)
        self._memory = PartMemory(self._options.part_bytes, self._options.parts_in_flight)
        self._reads = asyncio.Semaphore(self._options.ranges_in_flight)
        self._lock = threading.Lock()
        self._conditional: str | None = None

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def _path(self, key: str) -> str:
        return self._base + "/".join(check_key(key))

    def _ask(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Carry out one request with its retries, within the deadline."""
        return wait(lambda: self._bounded(begin))

    async def _bounded(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        # The engine looks at its deadline between requests only: the last one may take its own time.
        return await asyncio.wait_for(begin(), self._options.deadline + self._options.timeout)

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing, LimitExceeded."""
        path = self._path(key)

        async def small() -> bytes | int:
            found = await obstore.get_async(self._store, path)
            size = found.meta["size"]
            return size if size > min(limit, self._options.range_bytes) else bytes(await found.bytes_async())

        with translated(key, "reading the object"):
            data = self._ask(small)
        if isinstance(data, bytes):
            return data
        if data > limit:
            raise LimitExceeded("limit.exceeded", f"expected at most {limit} bytes, found {data}", key=key)
        return read_whole(self._reader(path, key, data), key, limit)

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectMissing, ObjectShort."""
        self.open_reader(key).read_into(offset, views)

    def open_reader(self, key: str) -> RangeReader:
        """Open an object for many reads. ObjectMissing."""
        found = self.info(key)
        if found is None:
            raise ObjectMissing(key)
        return self._reader(self._path(key), key, found.size)

    def _reader(self, path: str, key: str, size: int) -> RangeReader:
        async def fetch(start: int, stop: int) -> memoryview:
            async with self._reads:
                data = await self._bounded(lambda: obstore.get_range_async(self._store, path, start=start, end=stop))
            return memoryview(data)

        return RangeReader(fetch, key, size, piece=self._options.range_bytes, window=self._options.ranges_in_flight)

    def create_writer(self, key: str, size: int | None) -> PartWriter:
        """Begin a new object, written in ascending order; replaces silently what was there."""
        path = self._path(key)

        async def upload(content: Memory | AsyncIterator[Memory], part: int) -> None:
            whole = isinstance(content, np.ndarray)
            await obstore.put_async(
                self._store,
                path,
                content,  # type: ignore[arg-type]
                use_multipart=not whole,
                chunk_size=max(1, part),
                max_concurrency=self._options.parts_in_flight,
            )

        return PartWriter(upload, key, size, self._memory, self._options.part_bytes)

    def replace_writer(self, key: str, size: int | None) -> PartWriter:
        """Begin an object that takes the key when it is closed."""
        return self.create_writer(key, size)

    @property
    def conditional_put(self) -> str:
        """``native`` if the server honours create-if-absent, else ``emulated``; the first look probes it."""
        with self._lock:
            if self._conditional is None:
                self._conditional = self._probe()
            return self._conditional

    def _probe(self) -> str:
        path = f"{self._base}.probe-{secrets.token_hex(8)}"
        try:
            return "native" if self._honours_condition(path) else "emulated"
        finally:
            with contextlib.suppress(Exception):
                self._ask(lambda: obstore.delete_async(self._store, path))

    def _honours_condition(self, path: str) -> bool:
        first, second = b"first", b"second"
        with translated(path, "the probe of create-if-absent", writing=True):
            try:
                self._write(path, first, create=True)
            except Exception as error:
                # The answer may have been lost. Nothing there: an outage says nothing of conditions, a refusal does.
                if self._content(path) != first:
                    if refuses_conditions(error):
                        return False
                    raise
            try:
                self._write(path, second, create=True)
            except _TAKEN:
                return self._read(path) == first
            except Exception as error:
                if refuses_conditions(error):
                    return False
                raise
        return False

    def put_new(self, key: str, data: Bytes) -> None:
        """Create a small object if the key is free. AlreadyThere."""
        path = self._path(key)
        content = bytes(data)
        try:
            native = self.conditional_put == "native"
        except StoreError as error:
            raise StoreError(error.code, error.message, key=key, hint=error.hint) from error
        if native:
            self._create(path, key, content)
            return
        # At least our own threads take turns.
        with self._lock:
            if self.info(key) is not None:
                raise AlreadyThere(key)
            with translated(key, "writing the object", writing=True):
                self._write(path, content)

    def _create(self, path: str, key: str, content: bytes) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._write(path, content, create=True)
                return
            except _TAKEN:
                raise AlreadyThere(key) from None
            except Exception as error:
                # The request may have been carried out and only its answer lost: what is stored there decides.
                stored = self._content(path)
                if stored == content:
                    return
                if stored is not None:
                    raise AlreadyThere(key) from error
                if " 409 " not in str(error) or attempt == _ATTEMPTS - 1:
                    with translated(key, "creating the object", writing=True):
                        raise
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311  a pause, not a secret

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace a small object."""
        path = self._path(key)
        content = bytes(data)
        with translated(key, "writing the object", writing=True):
            self._write(path, content)

    def _write(self, path: str, content: bytes, *, create: bool = False) -> None:
        mode = "create" if create else "overwrite"
        self._ask(lambda: obstore.put_async(self._store, path, content, mode=mode, use_multipart=False))  # type: ignore[arg-type]

    def _read(self, path: str) -> bytes:
        async def read() -> bytes:
            return bytes(await (await obstore.get_async(self._store, path)).bytes_async())

        return self._ask(read)

    def _content(self, path: str) -> bytes | None:
        """Give what is stored there, None if it can't be read."""
        with contextlib.suppress(Exception):
            return self._read(path)
        return None

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if there is none."""
        return self._info(self._path(key), key)

    def _info(self, path: str, key: str) -> ObjectInfo | None:
        try:
            with translated(key, "looking up the object"):
                found = self._ask(lambda: obstore.head_async(self._store, path))
        except ObjectMissing:
            return None
        return ObjectInfo(key, found["size"], found["last_modified"].timestamp())

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, sorted, by one delimited listing."""
        check_prefix(prefix)
        base = self._base + prefix
        with translated(prefix, "listing the store"):
            found = self._ask(lambda: obstore.list_with_delimiter_async(self._store, base or None))
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        names = {path.removeprefix(base).rstrip("/") for path in paths if path.startswith(base)}
        return sorted(name for name in names if name and not is_reserved(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Give all the objects below a prefix, sorted by key."""
        check_prefix(prefix)
        base = self._base + prefix

        async def pages() -> list[ObjectInfo]:
            infos = []
            async for page in obstore.list(self._store, base or None, chunk_size=_PAGE):
                for each in page:
                    key = each["path"].removeprefix(self._base)
                    if each["path"].startswith(base) and not is_reserved(key.rpartition("/")[2]):
                        infos.append(ObjectInfo(key, each["size"], each["last_modified"].timestamp()))
            return infos

        # As many pages as there are: each request has the engine's deadline, the whole has none.
        with translated(prefix, "listing the store"):
            return iter(sorted(wait(pages), key=lambda info: info.key))

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent is no error."""
        path = self._path(key)
        with contextlib.suppress(ObjectMissing), translated(key, "deleting the object"):
            self._ask(lambda: obstore.delete_async(self._store, path))

    def now(self) -> float:
        """Give the server's clock, told by an object made for that."""
        name = f".probe-{secrets.token_hex(8)}"
        path = self._base + name
        with translated(name, "asking for the time", writing=True):
            self._write(path, b"now")
        try:
            found = self._info(path, name)
        finally:
            with contextlib.suppress(Exception):
                self._ask(lambda: obstore.delete_async(self._store, path))
        if found is None:
            raise StoreError("store.io", "the object just written is not there", key=name)
        return found.modified
