"""The buckets of the simulator: objects in memory, uploads in parts, and one clock for every time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["Clock", "Page", "S3Error", "S3Object", "S3Objects"]


class S3Error(Exception):
    """An answer that is an error: status, S3's code for it, a sentence, and the condition that did not hold."""

    def __init__(self, status: int, code: str, message: str, condition: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.condition = condition


@dataclass(slots=True)
class Clock:
    """The store's clock: this computer's, shifted by ``offset`` seconds."""

    offset: float = 0.0

    def now(self) -> float:
        """Give the time in seconds since 1970."""
        return time.time() + self.offset


@dataclass(frozen=True, slots=True)
class S3Object:
    """One object."""

    data: bytes
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a listing; ``token`` continues it and is empty at its end."""

    objects: tuple[tuple[str, S3Object], ...]
    prefixes: tuple[str, ...]
    token: str


@dataclass(slots=True)
class _Upload:
    bucket: str
    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _quoted(digest: bytes, suffix: str = "") -> str:
    return f'"{digest.hex()}{suffix}"'


class S3Objects:
    """Buckets of objects; each method is one step with regard to all the others."""

    def __init__(self, clock: Clock, *, least_part: int) -> None:
        self._clock = clock
        self._least_part = least_part
        self._lock = threading.Lock()
        self._buckets: dict[str, dict[str, S3Object]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._numbers = itertools.count(1)

    def add_bucket(self, name: str) -> None:
        """Create a bucket, unless it is there."""
        with self._lock:
            self._buckets.setdefault(name, {})

    def check_bucket(self, name: str) -> None:
        """S3Error unless there is such a bucket."""
        with self._lock:
            self._bucket(name)

    def _bucket(self, name: str) -> dict[str, S3Object]:
        try:
            return self._buckets[name]
        except KeyError:
            raise S3Error(404, "NoSuchBucket", f"there is no bucket {name!r}") from None

    def snapshot(self, bucket: str) -> dict[str, S3Object]:
        """Give all the objects of a bucket."""
        with self._lock:
            return dict(self._bucket(bucket))

    def get(self, bucket: str, key: str) -> S3Object:
        """Give an object. S3Error."""
        with self._lock:
            found = self._bucket(bucket).get(key)
        if found is None:
            raise S3Error(404, "NoSuchKey", f"there is no object {key!r}")
        return found

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool) -> tuple[S3Object, bool]:
        """Store an object; the flag tells whether it took the place of another. S3Error."""
        etag = _quoted(_md5(data))
        with self._lock:
            return self._store(bucket, key, data, etag, if_absent=if_absent)

    def _store(self, bucket: str, key: str, data: bytes, etag: str, *, if_absent: bool) -> tuple[S3Object, bool]:
        objects = self._bucket(bucket)
        there = key in objects
        if there and if_absent:
            raise S3Error(412, "PreconditionFailed", f"the object {key!r} exists", "If-None-Match")
        made = objects[key] = S3Object(data, etag, self._clock.now())
        return made, there

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object, if it is there."""
        with self._lock:
            self._bucket(bucket).pop(key, None)

    def set_time(self, bucket: str, key: str, modified: float) -> None:
        """Give an object another time of writing. S3Error."""
        found = self.get(bucket, key)
        with self._lock:
            self._buckets[bucket][key] = replace(found, modified=modified)

    def page(self, bucket: str, *, prefix: str, delimiter: str, after: str, token: str, limit: int) -> Page:
        """Give the next objects and common prefixes of a listing, ``limit`` of both together at most. S3Error."""
        mark = _decoded(token)
        objects: list[tuple[str, S3Object]] = []
        prefixes: list[str] = []
        last = ""
        for key, found in sorted(self.snapshot(bucket).items()):
            if not key.startswith(prefix) or key <= max(after, mark):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            common = key[: cut + len(delimiter)] if cut >= 0 else ""
            if common and common in (mark, last):
                continue
            if len(objects) + len(prefixes) == limit:
                return Page(tuple(objects), tuple(prefixes), _encoded(last) if limit else "")
            last = common or key
            if common:
                prefixes.append(common)
            else:
                objects.append((key, found))
        return Page(tuple(objects), tuple(prefixes), "")

    def begin_upload(self, bucket: str, key: str) -> str:
        """Begin an object in parts; give the upload's id. S3Error."""
        with self._lock:
            self._bucket(bucket)
            name = f"upload-{next(self._numbers)}"
            self._uploads[name] = _Upload(bucket, key)
            return name

    def put_part(self, bucket: str, key: str, upload: str, number: int, data: bytes) -> str:
        """Store one part; give its entity tag. S3Error."""
        if not 1 <= number <= 10_000:
            raise S3Error(400, "InvalidArgument", "a part number lies between 1 and 10000")
        with self._lock:
            self._upload(bucket, key, upload).parts[number] = data
        return _quoted(_md5(data))

    def complete(
        self, bucket: str, key: str, upload: str, named: Sequence[tuple[int, str]], *, if_absent: bool
    ) -> tuple[S3Object, bool]:
        """Make an object of the parts that are named by number and entity tag. S3Error."""
        with self._lock:
            parts = self._chosen(self._upload(bucket, key, upload).parts, named)
            etag = _quoted(_md5(b"".join(map(_md5, parts))), f"-{len(parts)}")
            made = self._store(bucket, key, b"".join(parts), etag, if_absent=if_absent)
            del self._uploads[upload]
            return made

    def _chosen(self, parts: Mapping[int, bytes], named: Sequence[tuple[int, str]]) -> list[bytes]:
        numbers = [number for number, _ in named]
        if not numbers or numbers != sorted(set(numbers)):
            raise S3Error(400, "InvalidPartOrder", "parts are named once each, in ascending order")
        for number, etag in named:
            if number not in parts or etag.strip('"') != _md5(parts[number]).hex():
                raise S3Error(400, "InvalidPart", f"part {number} was not uploaded so")
        chosen = [parts[number] for number in numbers]
        if any(len(part) < self._least_part for part in chosen[:-1]):
            raise S3Error(400, "EntityTooSmall", f"every part but the last has {self._least_part} bytes at least")
        return chosen

    def abort(self, bucket: str, key: str, upload: str) -> None:
        """Drop an upload. S3Error."""
        with self._lock:
            self._upload(bucket, key, upload)
            del self._uploads[upload]

    def _upload(self, bucket: str, key: str, upload: str) -> _Upload:
        found = self._uploads.get(upload)
        if found is None or (found.bucket, found.key) != (bucket, key):
            raise S3Error(404, "NoSuchUpload", f"there is no upload {upload!r} of {key!r}")
        return found

    def unfinished(self, bucket: str) -> tuple[str, ...]:
        """Give the keys of the uploads that were neither completed nor aborted."""
        with self._lock:
            return tuple(sorted(upload.key for upload in self._uploads.values() if upload.bucket == bucket))


def _encoded(mark: str) -> str:
    return base64.urlsafe_b64encode(mark.encode()).decode()


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error(400, "InvalidArgument", "this continuation token was not given by a listing") from None
