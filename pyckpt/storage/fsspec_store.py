"""A store behind any fsspec filesystem: S3, GCS, Azure, SFTP, HDFS and others."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.base import (
    AlreadyThere,
    Bytes,
    ObjectInfo,
    ObjectMissing,
    ObjectShort,
    check_key,
    check_prefix,
    is_reserved,
    read_whole,
)
from pyckpt.storage.fsspec_files import FsspecReader, FsspecWriter, object_info, translated

__all__ = ["FsspecStore"]

_LEAST_PART: Final = 16 << 20
_UNKNOWN_PART: Final = 64 << 20
_PARTS: Final = 9000
"""Multipart uploads of S3 take 10,000 parts; some room is left for short ones."""
_ONE_REQUEST: Final = 32 << 20
"""What filesystems certainly write in one request; servers that honour a condition there may ignore it for uploads."""


class FsspecStore:
    """A prefix of an fsspec filesystem as a store.

    ``where`` is a URL, for which ``options`` are fsspec's storage options, or a pair (filesystem, path).
    Create-if-absent is probed once, when first needed: some servers answer a conditional write with success and
    overwrite. Where it is not honoured, a look and then a plain write take its place.
    """

    parallel_writes = False

    def __init__(self, where: str | tuple[AbstractFileSystem, str], **options: Any) -> None:
        if isinstance(where, str):
            try:
                self._fs, path = fsspec.core.url_to_fs(where, **options)
            except (ImportError, ValueError) as error:
                raise UsageError(
                    "usage.invalid",
                    f"fsspec cannot open {where!r}: {error}",
                    hint="install the package that has this scheme, or register your own with fsspec",
                ) from error
            self.url = where.rstrip("/")
        else:
            if options:
                raise UsageError("usage.invalid", f"options {sorted(options)} go with a URL, not with a filesystem")
            self._fs, path = where
            self.url = str(self._fs.unstrip_protocol(path)).rstrip("/")
        self._base = path.rstrip("/")
        if isinstance(self._fs, LocalFileSystem):
            self._fs.auto_mkdir = True
        self._lock = threading.Lock()
        self._conditional: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"FsspecStore({self.url!r})"

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self._base}/{key}"

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing, LimitExceeded."""
        with self.open_reader(key) as reader:
            return read_whole(reader, key, limit)

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectMissing, ObjectShort."""
        self.open_reader(key).read_into(offset, views)

    def open_reader(self, key: str) -> FsspecReader:
        """Open an object for many reads. ObjectMissing."""
        found = self.info(key)
        if found is None:
            raise ObjectMissing(key)
        return FsspecReader(self._fs, self._path(key), key, found.size)

    def create_writer(self, key: str, size: int | None) -> FsspecWriter:
        """Begin a new object, written in ascending order; replaces silently what was there."""
        part = _UNKNOWN_PART if size is None else max(_LEAST_PART, -(-size // _PARTS))
        path = self._path(key)
        with translated(key, "beginning the object", writing=True):
            return FsspecWriter(self._fs, path, key, self._fs.open(path, "wb", block_size=part))

    def replace_writer(self, key: str, size: int | None) -> FsspecWriter:
        """Begin an object that takes the key when it is closed."""
        return self.create_writer(key, size)

    @property
    def conditional_put(self) -> str:
        """``native`` if the filesystem honours create-if-absent, else ``emulated``; the first look probes it."""
        with self._lock:
            return self._probed(0)

    def put_new(self, key: str, data: Bytes) -> None:
        """Create a small object if the key is free. AlreadyThere."""
        path = self._path(key)
        content = bytes(data)
        with self._lock:
            native = self._probed(len(content)) == "native"
        if native and isinstance(self._fs, AsyncFileSystem):
            self._put_new_native(path, key, content)
            return
        # Filesystems without a server of their own look before they write; at least our threads take turns.
        with self._lock:
            if native:
                self._put_new_native(path, key, content)
                return
            if self.info(key) is not None:
                raise AlreadyThere(key)
            with translated(key, "writing the object", writing=True):
                self._fs.pipe_file(path, content)

    def _put_new_native(self, path: str, key: str, content: bytes) -> None:
        try:
            self._create(path, content)
        except FileExistsError:
            raise AlreadyThere(key) from None
        except Exception as error:
            # The request may have been carried out and only its answer lost: what is stored there decides.
            stored = self._stored(key, len(content))
            if stored is None:
                raise StoreError("store.io", f"creating the object failed: {error}", key=key) from error
            if stored != content:
                raise AlreadyThere(key) from error
        self._fs.invalidate_cache()

    def _stored(self, key: str, size: int) -> bytes | None:
        """Give what is stored under a key, cut to one byte more than ``size``; None if nothing can be read there."""
        try:
            with self.open_reader(key) as reader:
                data = bytearray(min(reader.size, size + 1))
                reader.read_into(0, [memoryview(data)])
                return bytes(data)
        except (ObjectMissing, ObjectShort, StoreError):
            return None

    def _create(self, path: str, content: bytes) -> None:
        # The pipe_file that fsspec itself provides looks first and then writes; an exclusive open is one step.
        if isinstance(self._fs, AsyncFileSystem) or type(self._fs).pipe_file is not AbstractFileSystem.pipe_file:
            self._fs.pipe_file(path, content, mode="create")
        else:
            with self._fs.open(path, "xb") as file:
                file.write(content)

    def _probed(self, size: int) -> str:
        """What was found for objects of a size; large ones, which few are, have a probe of their own."""
        size = size if size > _ONE_REQUEST else 0
        if size not in self._conditional:
            path = f"{self._base}/.probe-{secrets.token_hex(8)}"
            try:
                self._conditional[size] = "native" if self._honours_condition(path, size) else "emulated"
            finally:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(path)
                self._fs.invalidate_cache()
        return self._conditional[size]

    def _honours_condition(self, path: str, size: int) -> bool:
        first, second = b"first".ljust(size), b"second".ljust(size)
        try:
            self._create(path, first)
        except Exception:  # noqa: BLE001  whatever it says: this way is not open, or only the answer was lost
            if self._content(path) != first:
                return False
        try:
            self._create(path, second)
        except FileExistsError:
            pass
        except Exception:  # noqa: BLE001  refused, though in words of its own
            return False
        else:
            return False
        try:
            return bool(self._fs.cat_file(path) == first)
        except Exception as error:
            raise StoreError("store.condition", f"the probe of create-if-absent failed: {error}", key=path) from error

    def _content(self, path: str) -> bytes | None:
        with contextlib.suppress(Exception):
            return bytes(self._fs.cat_file(path))
        return None

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace a small object."""
        path = self._path(key)
        with translated(key, "writing the object", writing=True):
            self._fs.pipe_file(path, bytes(data))
        self._fs.invalidate_cache()

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if there is none."""
        return self._info(self._path(key), key)

    def _info(self, path: str, key: str) -> ObjectInfo | None:
        self._fs.invalidate_cache()
        try:
            with translated(key, "looking up the object"):
                found = self._fs.info(path)
        except ObjectMissing:
            return None
        return object_info(key, found) if found.get("type") == "file" else None

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, sorted, by one delimited listing."""
        directory = self._directory(prefix)
        self._fs.invalidate_cache()
        try:
            with translated(prefix, "listing the store"):
                found = self._fs.ls(directory, detail=True)
        except ObjectMissing:
            return []
        names = (self._below(directory, entry) for entry in found)
        return sorted({name for name in names if name and not is_reserved(name)})

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Give all the objects below a prefix, sorted by key."""
        directory = self._directory(prefix)
        self._fs.invalidate_cache()
        try:
            with translated(prefix, "listing the store"):
                found: Mapping[str, Mapping[str, Any]] = self._fs.find(directory, detail=True)
        except ObjectMissing:
            return iter(())
        infos = []
        for entry in found.values():
            if entry.get("type") != "file" or str(entry["name"]).endswith("/"):
                continue
            name = self._below(directory, entry)
            if name and not is_reserved(name.rpartition("/")[2]):
                infos.append(object_info(prefix + name, entry))
        return iter(sorted(infos, key=lambda info: info.key))

    def _directory(self, prefix: str) -> str:
        return "/".join((self._base, *check_prefix(prefix)))

    def _below(self, directory: str, entry: Mapping[str, Any]) -> str:
        name = str(entry["name"]).rstrip("/")
        return name[len(directory) + 1 :] if name.startswith(directory + "/") else ""

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent is no error."""
        path = self._path(key)
        try:
            with translated(key, "deleting the object"):
                self._fs.rm_file(path)
        except ObjectMissing:
            pass
        self._fs.invalidate_cache()

    def now(self) -> float:
        """Give the server's clock, told by an object made for that; this computer's if the listing shows no times."""
        name = f".probe-{secrets.token_hex(8)}"
        path = f"{self._base}/{name}"
        with translated(name, "asking for the time", writing=True):
            self._fs.pipe_file(path, b"now")
        try:
            found = self._info(path, name)
        finally:
            with contextlib.suppress(Exception):
                self._fs.rm_file(path)
        return time.time() if found is None else found.modified
