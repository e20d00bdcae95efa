"""A store in a bucket of S3 and what speaks its protocol, of Azure or of Google, with obstore as the engine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import numpy as np
import obstore

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
from pyckpt.storage.objects_create import create, honours_condition
from pyckpt.storage.objects_errors import translated
from pyckpt.storage.objects_options import ObjectOptions, with_query
from pyckpt.storage.objects_read import RangeReader
from pyckpt.storage.objects_requests import Requests
from pyckpt.storage.objects_services import SERVICES, connect
from pyckpt.storage.objects_write import Memory, PartMemory, PartWriter

__all__ = ["ObjectStore"]

_PAGE: Final = 1000


class ObjectStore:
    """A prefix of a bucket as a store: ``s3://bucket/run``, with fields of ``ObjectOptions`` after ``?``.

    ``az://container/run`` and ``gs://bucket/run`` likewise. Create-if-absent is probed once, when first needed: some
    servers answer a conditional write with success and overwrite. Where it is not honoured, a look and then a plain
    write take its place.
    """

    parallel_writes = False

    def __init__(self, url: str, options: ObjectOptions | None = None) -> None:
        path, mark, query = url.partition("?")
        path = path.rstrip("/")
        scheme, _, rest = path.partition("://")
        if scheme not in SERVICES:
            raise UsageError("usage.invalid", f"expected a URL of {', '.join(SERVICES)}", key=path)
        self._service = SERVICES[scheme]
        bucket, _, base = rest.partition("/")
        if not bucket:
            raise UsageError("usage.invalid", f"expected {scheme}://{self._service.bucket}/run", key=path)
        check_prefix(f"{base}/" if base else "")
        self._where = path
        self.url = path + mark + query
        self._base = f"{base}/" if base else ""
        self._options = with_query(options or ObjectOptions(), query, url)
        self._store = connect(self._service, bucket, self._options)
        self._requests = Requests(self._store, self._options)
        self._memory = PartMemory(self._options.part_bytes, self._options.parts_in_flight)
        self._reads = asyncio.Semaphore(self._options.ranges_in_flight)
        self._lock = threading.Lock()
        self._conditional: str | None = None

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def _path(self, key: str) -> str:
        return self._base + "/".join(check_key(key))

    def _translated(self, key: str, doing: str, *, writing: bool = False) -> contextlib.AbstractContextManager[None]:
        return translated(self._service, key, doing, writing=writing)

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing, LimitExceeded."""
        path = self._path(key)

        async def small() -> bytes | int:
            found = await obstore.get_async(self._store, path)
            size = found.meta["size"]
            return size if size > min(limit, self._options.range_bytes) else bytes(await found.bytes_async())

        with self._translated(key, "reading the object"):
            data = self._requests.ask(small)
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
                data = await self._requests.repeated(
                    lambda: obstore.get_range_async(self._store, path, start=start, end=stop)
                )
            return memoryview(data)

        return RangeReader(
            self._service, fetch, key, size, piece=self._options.range_bytes, window=self._options.ranges_in_flight
        )

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

        return PartWriter(self._service, upload, key, size, self._memory, self._options.part_bytes)

    def replace_writer(self, key: str, size: int | None) -> PartWriter:
        """Begin an object that takes the key when it is closed."""
        return self.create_writer(key, size)

    @property
    def conditional_put(self) -> str:
        """``native`` if the server honours create-if-absent, else ``emulated``; the first look probes it."""
        with self._lock:
            if self._conditional is None:
                with self._translated(self._where, "the probe of create-if-absent", writing=True):
                    honoured = honours_condition(self._requests, self._base)
                self._conditional = "native" if honoured else "emulated"
            return self._conditional

    def put_new(self, key: str, data: Bytes) -> None:
        """Create a small object if the key is free. AlreadyThere."""
        path = self._path(key)
        content = bytes(data)
        try:
            native = self.conditional_put == "native"
        except StoreError as error:
            raise StoreError(error.code, error.message, key=key, hint=error.hint) from error
        if native:
            with self._translated(key, "creating the object", writing=True):
                create(self._requests, path, key, content)
            return
        # At least our own threads take turns.
        with self._lock:
            if self.info(key) is not None:
                raise AlreadyThere(key)
            with self._translated(key, "writing the object", writing=True):
                self._requests.write(path, content)

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace a small object."""
        path = self._path(key)
        content = bytes(data)
        with self._translated(key, "writing the object", writing=True):
            self._requests.write(path, content)

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if there is none."""
        return self._info(self._path(key), key)

    def _info(self, path: str, key: str) -> ObjectInfo | None:
        try:
            with self._translated(key, "looking up the object"):
                found = self._requests.head(path)
        except ObjectMissing:
            return None
        return ObjectInfo(key, found["size"], found["last_modified"].timestamp())

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, sorted, by one delimited listing."""
        check_prefix(prefix)
        base = self._base + prefix
        with self._translated(prefix or self._where, "listing the store"):
            found = self._requests.ask(lambda: obstore.list_with_delimiter_async(self._store, base or None))
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
        with self._translated(prefix or self._where, "listing the store"):
            return iter(sorted(self._requests.ask(pages, several=True), key=lambda info: info.key))

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent is no error."""
        path = self._path(key)
        with contextlib.suppress(ObjectMissing), self._translated(key, "deleting the object"):
            self._requests.delete(path)

    def now(self) -> float:
        """Give the server's clock, told by an object made for that."""
        name = f".probe-{secrets.token_hex(8)}"
        path = self._base + name
        with self._translated(name, "asking for the time", writing=True):
            self._requests.write(path, b"now")
        try:
            found = self._info(path, name)
        finally:
            self._requests.forget(path)
        if found is None:
            raise StoreError("store.io", "the object just written is not there", key=name)
        return found.modified
