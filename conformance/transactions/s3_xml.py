"""The XML of the S3 protocol: what the simulator answers, and the two bodies that it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from .s3_objects import Page, S3Error

__all__ = [
    "completed_xml",
    "deleted_xml",
    "error_xml",
    "initiated_xml",
    "iso_time",
    "listing_xml",
    "location_xml",
    "parse_complete",
    "parse_delete",
]

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def _element(name: str, *content: str) -> str:
    return f"<{name}>{''.join(content)}</{name}>"


def _text(name: str, value: object) -> str:
    return _element(name, escape(str(value)))


def _document(name: str, *content: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{_NAMESPACE}">{"".join(content)}</{name}>'.encode()


def iso_time(seconds: float) -> str:
    """Write a time as listings do, in whole seconds."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def error_xml(error: S3Error, resource: str, request: int) -> bytes:
    """Give the body of an error."""
    content = [
        _text("Code", error.code),
        _text("Message", error.message),
        _text("Resource", resource),
        _text("RequestId", request),
    ]
    if error.condition:
        content.append(_text("Condition", error.condition))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_element("Error", *content)}'.encode()


def location_xml() -> bytes:
    """Give the region of a bucket: the nameless first one."""
    return _document("LocationConstraint")


def initiated_xml(bucket: str, key: str, upload: str) -> bytes:
    """Give the answer to the beginning of an upload in parts."""
    content = (_text("Bucket", bucket), _text("Key", key), _text("UploadId", upload))
    return _document("InitiateMultipartUploadResult", *content)


def completed_xml(bucket: str, key: str, etag: str) -> bytes:
    """Give the answer to the completion of an upload in parts."""
    content = (_text("Bucket", bucket), _text("Key", key), _text("ETag", etag))
    return _document("CompleteMultipartUploadResult", *content)


def deleted_xml(keys: Sequence[str]) -> bytes:
    """Give the answer to the deletion of several objects."""
    return _document("DeleteResult", *(_element("Deleted", _text("Key", key)) for key in keys))


def listing_xml(
    page: Page, *, bucket: str, prefix: str, delimiter: str, after: str, limit: int, token: str, encode: bool
) -> bytes:
    """Give one page of a listing; ``encode`` writes keys percent-encoded."""

    def name(key: str) -> str:
        return quote(key, safe="/") if encode else key

    content = [
        _text("Name", bucket),
        _text("Prefix", name(prefix)),
        _text("MaxKeys", limit),
        _text("KeyCount", len(page.objects) + len(page.prefixes)),
        _text("IsTruncated", "true" if page.token else "false"),
    ]
    optional = (
        ("Delimiter", name(delimiter)),
        ("StartAfter", name(after)),
        ("ContinuationToken", token),
        ("NextContinuationToken", page.token),
        ("EncodingType", "url" if encode else ""),
    )
    content += [_text(label, value) for label, value in optional if value]
    content += [
        _element(
            "Contents",
            _text("Key", name(key)),
            _text("LastModified", iso_time(found.modified)),
            _text("ETag", found.etag),
            _text("Size", len(found.data)),
            _text("StorageClass", "STANDARD"),
        )
        for key, found in page.objects
    ]
    content += [_element("CommonPrefixes", _text("Prefix", name(common))) for common in page.prefixes]
    return _document("ListBucketResult", *content)


def parse_complete(body: bytes) -> list[tuple[int, str]]:
    """Give number and entity tag of each part that a completion names. S3Error."""
    parts = [child for child in _parsed(body) if _local(child) == "Part"]
    try:
        return [(int(_child(part, "PartNumber")), _child(part, "ETag")) for part in parts]
    except ValueError:
        raise _malformed() from None


def parse_delete(body: bytes) -> tuple[list[str], bool]:
    """Give the keys that a deletion names, and whether it wants no list of them in return. S3Error."""
    top = _parsed(body)
    keys = [_child(child, "Key") for child in top if _local(child) == "Object"]
    quiet = any(_local(child) == "Quiet" and (child.text or "").strip().lower() == "true" for child in top)
    return keys, quiet


def _parsed(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314  sent by the implementation that is tested, on this computer
    except ET.ParseError:
        raise _malformed() from None


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ET.Element, name: str) -> str:
    for child in element:
        if _local(child) == name and child.text:
            return child.text
    raise _malformed()


def _malformed() -> S3Error:
    return S3Error(400, "MalformedXML", "the body is not the XML that this request takes")
