"""What each request of the S3 subset does to the objects, and what it is answered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final

from .s3_objects import S3Error, S3Object, S3Objects
from .s3_xml import (
    completed_xml,
    deleted_xml,
    error_xml,
    initiated_xml,
    listing_xml,
    location_xml,
    parse_complete,
    parse_delete,
)

__all__ = ["Answer", "Incoming", "Service", "error_answer", "operation_of"]

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request as it was read; names of headers are in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, headers and body, and beside them what was done; see ``Outcome`` for the names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stored: str | None = None
    replaced: bool = False
    removed: tuple[str, ...] = ()
    span: tuple[int, int] | None = None


def operation_of(method: str, key: str, query: Mapping[str, str]) -> str:
    """Give S3's name of what a request asks for; ``NotImplemented`` for what lies outside the subset."""
    if not key:
        if method == "GET" and "location" in query:
            return "GetBucketLocation"
        if method == "GET" and query.get("list-type") == "2":
            return "ListObjectsV2"
        if method == "POST" and "delete" in query:
            return "DeleteObjects"
        return "HeadBucket" if method == "HEAD" else "NotImplemented"
    if "uploadId" in query:
        uploads = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return uploads.get(method, "NotImplemented")
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "NotImplemented"
    plain = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
    return plain.get(method, "NotImplemented")


def error_answer(error: S3Error, resource: str, request: int) -> Answer:
    """Give the answer that reports an error."""
    body = error_xml(error, resource, request)
    return Answer(status=error.status, headers={"Content-Type": "application/xml"}, body=body)


class Service:
    """The operations; ``ignore_conditions`` and ``ignore_multipart_conditions`` make a server that overwrites."""

    def __init__(
        self, objects: S3Objects, *, ignore_conditions: bool, ignore_multipart_conditions: bool, page: int
    ) -> None:
        self._objects = objects
        self._ignore_put = ignore_conditions
        self._ignore_complete = ignore_conditions or ignore_multipart_conditions
        self._page = page
        self._operations: dict[str, Callable[[Incoming], Answer]] = {
            "GetBucketLocation": self._location,
            "HeadBucket": self._head_bucket,
            "ListObjectsV2": self._list,
            "DeleteObjects": self._delete_several,
            "GetObject": self._get,
            "HeadObject": self._get,
            "PutObject": self._put,
            "DeleteObject": self._delete,
            "CreateMultipartUpload": self._begin_upload,
            "UploadPart": self._put_part,
            "CompleteMultipartUpload": self._complete,
            "AbortMultipartUpload": self._abort,
        }

    def answer(self, incoming: Incoming) -> Answer:
        """Carry out a request. S3Error."""
        operation = operation_of(incoming.method, incoming.key, incoming.query)
        if operation not in self._operations:
            raise S3Error(501, "NotImplemented", "this request lies outside the subset of this server")
        return self._operations[operation](incoming)

    def _location(self, incoming: Incoming) -> Answer:
        self._objects.check_bucket(incoming.bucket)
        return _xml(location_xml())

    def _head_bucket(self, incoming: Incoming) -> Answer:
        self._objects.check_bucket(incoming.bucket)
        return Answer(status=200)

    def _list(self, incoming: Incoming) -> Answer:
        query = incoming.query
        prefix, delimiter, after = (query.get(name, "") for name in ("prefix", "delimiter", "start-after"))
        token = query.get("continuation-token", "")
        limit = min(self._page, _whole(query.get("max-keys", "1000")))
        page = self._objects.page(
            incoming.bucket, prefix=prefix, delimiter=delimiter, after=after, token=token, limit=limit
        )
        return _xml(
            listing_xml(
                page,
                bucket=incoming.bucket,
                prefix=prefix,
                delimiter=delimiter,
                after=after,
                limit=limit,
                token=token,
                encode=query.get("encoding-type") == "url",
            )
        )

    def _get(self, incoming: Incoming) -> Answer:
        found = self._objects.get(incoming.bucket, incoming.key)
        wanted = incoming.headers.get("if-match")
        if wanted is not None and wanted not in ("*", found.etag):
            raise S3Error(412, "PreconditionFailed", "the object has another entity tag", "If-Match")
        if found.etag == incoming.headers.get("if-none-match"):
            return Answer(status=304, headers=_described(found))
        span = _span(incoming.headers.get("range"), len(found.data))
        headers = {**_described(found), "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
        if span is None:
            return Answer(status=200, headers=headers, body=found.data, span=(0, len(found.data)))
        first, end = span
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(found.data)}"
        return Answer(status=206, headers=headers, body=found.data[first:end], span=span)

    def _put(self, incoming: Incoming) -> Answer:
        if "x-amz-copy-source" in incoming.headers:
            raise S3Error(501, "NotImplemented", "this server copies no objects")
        made, replaced = self._objects.put(
            incoming.bucket, incoming.key, incoming.body, if_absent=_if_absent(incoming) and not self._ignore_put
        )
        return Answer(status=200, headers={"ETag": made.etag}, stored=_sha256(made.data), replaced=replaced)

    def _delete(self, incoming: Incoming) -> Answer:
        self._objects.delete(incoming.bucket, incoming.key)
        return Answer(status=204, removed=(incoming.key,))

    def _delete_several(self, incoming: Incoming) -> Answer:
        keys, quiet = parse_delete(incoming.body)
        for key in keys:
            self._objects.delete(incoming.bucket, key)
        return _xml(deleted_xml([] if quiet else keys), removed=tuple(keys))

    def _begin_upload(self, incoming: Incoming) -> Answer:
        upload = self._objects.begin_upload(incoming.bucket, incoming.key)
        return _xml(initiated_xml(incoming.bucket, incoming.key, upload))

    def _put_part(self, incoming: Incoming) -> Answer:
        number = _whole(incoming.query.get("partNumber", ""))
        etag = self._objects.put_part(
            incoming.bucket, incoming.key, incoming.query["uploadId"], number, incoming.body
        )
        return Answer(status=200, headers={"ETag": etag})

    def _complete(self, incoming: Incoming) -> Answer:
        made, replaced = self._objects.complete(
            incoming.bucket,
            incoming.key,
            incoming.query["uploadId"],
            parse_complete(incoming.body),
            if_absent=_if_absent(incoming) and not self._ignore_complete,
        )
        body = completed_xml(incoming.bucket, incoming.key, made.etag)
        return _xml(body, stored=_sha256(made.data), replaced=replaced)

    def _abort(self, incoming: Incoming) -> Answer:
        self._objects.abort(incoming.bucket, incoming.key, incoming.query["uploadId"])
        return Answer(status=204)


def _xml(body: bytes, *, stored: str | None = None, replaced: bool = False, removed: tuple[str, ...] = ()) -> Answer:
    headers = {"Content-Type": "application/xml"}
    return Answer(status=200, headers=headers, body=body, stored=stored, replaced=replaced, removed=removed)


def _described(found: S3Object) -> dict[str, str]:
    return {"ETag": found.etag, "Last-Modified": formatdate(found.modified, usegmt=True)}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise S3Error(400, "InvalidArgument", f"{text!r} is no whole number")
    return int(text)


def _if_absent(incoming: Incoming) -> bool:
    condition = incoming.headers.get("if-none-match")
    if condition not in (None, "*") or "if-match" in incoming.headers:
        raise S3Error(501, "NotImplemented", "the one condition of a write is If-None-Match: *")
    return condition is not None


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """Give the bytes [a, b) that a Range header asks for; None for the whole object. S3Error."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[1] + found[2] == "":
        return None
    if not found[1]:
        first, end = max(0, size - int(found[2])), size
    else:
        first, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < first:
            return None
    if first >= end:
        raise S3Error(416, "InvalidRange", f"the object has {size} bytes")
    return first, end
