"""Bodies of requests: plain, in the chunks of HTTP, and in the signed chunks of S3."""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedIOBase

from .s3_objects import S3Error

__all__ = ["BodyCut", "decode_aws_chunks", "read_body"]


class BodyCut(Exception):
    """The connection ended within the body."""


def read_body(stream: BufferedIOBase, headers: Mapping[str, str]) -> bytes:
    """Give the body of a request with these headers, named in lower case. BodyCut, S3Error."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        raw = _read_http_chunks(stream)
    else:
        raw = _exactly(stream, _number(headers.get("content-length", "0"), 10))
    streaming = headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
    if not streaming and "aws-chunked" not in headers.get("content-encoding", "").lower():
        return raw
    data = decode_aws_chunks(raw)
    stated = headers.get("x-amz-decoded-content-length")
    if stated is not None and _number(stated, 10) != len(data):
        raise S3Error(400, "IncompleteBody", f"{stated} bytes were announced, but {len(data)} were sent")
    return data


def decode_aws_chunks(raw: bytes) -> bytes:
    """Give the content of an ``aws-chunked`` body; signatures and trailing headers are passed over. S3Error."""
    parts: list[bytes] = []
    position = 0
    while True:
        end = raw.find(b"\r\n", position)
        if end < 0:
            raise _damaged()
        size = _number(raw[position:end].split(b";")[0].decode("latin-1"), 16)
        if size == 0:
            return b"".join(parts)
        begin = end + 2
        position = begin + size + 2
        if raw[begin + size : position] != b"\r\n":
            raise _damaged()
        parts.append(raw[begin : begin + size])


def _read_http_chunks(stream: BufferedIOBase) -> bytes:
    parts: list[bytes] = []
    while size := _number(_line(stream).split(";")[0], 16):
        parts.append(_exactly(stream, size))
        _line(stream)
    while _line(stream):
        pass
    return b"".join(parts)


def _line(stream: BufferedIOBase) -> str:
    line = stream.readline(65537)
    if not line.endswith(b"\n"):
        raise BodyCut
    return line.decode("latin-1").strip()


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) != size:
        raise BodyCut
    return data


def _number(text: str, base: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        raise _damaged() from None
    if value < 0:
        raise _damaged()
    return value


def _damaged() -> S3Error:
    return S3Error(400, "InvalidRequest", "the length or the chunks of the body can't be read")
